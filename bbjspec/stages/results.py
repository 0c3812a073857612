"""From judged samples to results.json: metrics with their intervals, the funnel, and every group's figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from bbjspec.metrics import clustered_error, clustered_interval, pass_at_k, wilson
from bbjspec.pairing import DIGITS
from bbjspec.stages.verdicts import FUNNEL, TIER_OUTCOMES, Judged

T = TypeVar("T")


def by_prompt(judged: Iterable[Judged], tier: str) -> dict[str, list[Judged]]:
    """The samples of one tier, grouped by prompt."""
    groups: dict[str, list[Judged]] = {}
    for one in judged:
        if one.sample.prompt.tier == tier:
            groups.setdefault(one.sample.prompt.id, []).append(one)
    return groups


def metric(
    groups: Mapping[str, Sequence[T]], k: int, temperature: float, passed: Callable[[T], bool]
) -> dict[str, Any]:
    """One metric of samples grouped by prompt: the mean over prompts of pass@k, with a 95 % interval.

    Several samples a prompt: clustered by prompt, t with one degree of freedom less than prompts. One sample: Wilson.
    Both are cut to [0, 1]. `se` and `ci` are null for a single prompt. Near 0 and 1 the t interval covers less than it
    says, so the share of prompts that ever passed stands beside it with its Wilson interval.
    """
    counts = {name: sum(map(passed, samples)) for name, samples in groups.items()}
    n = len(next(iter(groups.values())))  # the same for all: read_generations sees to it
    rows: list[list[float]]
    if k == 1:
        rows = [[float(passed(one)) for one in samples] for samples in groups.values()]
    else:
        rows = [[pass_at_k(len(groups[name]), count, k)] for name, count in counts.items()]
    value, error = sum(rows[0]) / len(rows[0]), None
    interval: list[float] | None = None
    method = None
    if len(rows) > 1:
        value, error = clustered_error(rows)
        _, low, high = clustered_interval(rows)
        method = "t, clustered by prompt"
        if n == 1:
            low, high = wilson(sum(counts.values()), len(rows))
            method = "Wilson"
        interval = [round(max(0.0, low), DIGITS), round(min(1.0, high), DIGITS)]
    ever = sum(count > 0 for count in counts.values())
    return {
        "value": round(value, DIGITS),
        "se": None if error is None else round(error, DIGITS),
        "ci": interval,
        "interval": method,
        "k": k,
        "n": n,
        "n_prompts": len(groups),
        "temperature": temperature,
        "ever": {"passed": ever, "of": len(groups), "ci": [round(x, DIGITS) for x in wilson(ever, len(groups))]},
    }


def tier_metrics(judged: Sequence[Judged], ks: Sequence[int], temperature: float) -> dict[str, Any]:
    """Every metric of the samples: compile@k strict and raw, and those of the other tiers that people do not rate."""
    found: dict[str, Any] = {}
    if syntax := by_prompt(judged, "syntax"):
        for k in ks:
            found[f"compile@{k}"] = metric(syntax, k, temperature, lambda one: one.strict_pass)
            found[f"compile@{k}_raw"] = metric(syntax, k, temperature, lambda one: one.raw_pass)
    if factual := by_prompt(judged, "factual"):
        found["factual_accuracy"] = metric(factual, 1, temperature, lambda one: one.strict_pass)
    if general := by_prompt(judged, "general"):
        found["general_pass@1"] = metric(general, 1, temperature, lambda one: one.strict_pass)
    return found


def funnel(judged: Iterable[Judged]) -> dict[str, int]:
    """How many syntax samples are left after each step; `compiles` is the raw pass, `strict` the strict one."""
    outcomes = Counter(one.outcome for one in judged if one.sample.prompt.tier == "syntax")
    left, steps = sum(outcomes.values()), {}
    for step, lost in FUNNEL.items():
        left -= sum(outcomes[outcome] for outcome in lost)
        steps[step] = left
    return steps


def grouped(judged: Sequence[Judged], field: str, ks: Sequence[int], temperature: float) -> dict[str, Any]:
    """{tier: {value of the prompt's field: {n_prompts, metrics}}}."""
    groups: dict[str, dict[str, list[Judged]]] = {}
    for one in judged:
        prompt = one.sample.prompt
        groups.setdefault(prompt.tier, {}).setdefault(str(getattr(prompt, field)), []).append(one)
    return {
        tier: {
            value: {
                "n_prompts": len({one.sample.prompt.id for one in members}),
                "metrics": tier_metrics(members, ks, temperature),
            }
            for value, members in values.items()
        }
        for tier, values in groups.items()
    }


def prompts_table(judged: Iterable[Judged]) -> dict[str, Any]:
    """Per prompt what it asked, how many samples it got, how many passed, and the outcomes."""
    table: dict[str, Any] = {}
    for one in judged:
        prompt = one.sample.prompt
        entry = table.setdefault(
            prompt.id,
            {
                "tier": prompt.tier,
                "category": prompt.category,
                "difficulty": prompt.difficulty,
                "generation": prompt.generation,
                "input": prompt.input,
                "n": 0,
                "strict": 0,
                "raw": 0,
                "outcomes": Counter(),
            },
        )
        entry["n"] += 1
        entry["strict"] += one.strict_pass
        entry["raw"] += one.raw_pass
        entry["outcomes"][one.outcome] += 1
    return table


def outcome_counts(judged: Iterable[Judged]) -> dict[str, dict[str, int]]:
    """{tier: {outcome: samples}}, those that never occurred included."""
    counts = {tier: dict.fromkeys(outcomes, 0) for tier, outcomes in TIER_OUTCOMES.items()}
    for one in judged:
        counts[one.sample.prompt.tier][one.outcome] += 1
    return {tier: found for tier, found in counts.items() if sum(found.values())}
