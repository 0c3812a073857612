"""Stage `compare`: is the tuned model better than its base, on the same prompts?

Config: gate {min_effect}, k. Inputs: base and tuned (score stages), contamination; few_shot, where the plan has it, is
the base again, asked with examples. Output: `comparison.json`. In it `a` is the base and `b` the tuned model, a
difference is b minus a, and the decision rests on strict compile@1 without the prompts that the training data gives
away. The tuned model must beat every baseline: each has its own gate, and none is picked, so nothing is corrected
(Berger 1982, "Multiparameter Hypothesis Testing and Acceptance Sampling", Technometrics 24: intersection-union).

The parent experiment is not compared with here (docs/decisions/0011): `bbjspec.parent` does it at publishing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from statistics import fmean
from typing import Any

from bbjspec.errors import StageFailed
from bbjspec.metrics import Decision, effect_for_power, gate, non_inferior, pass_power
from bbjspec.pairing import (
    DIGITS,
    HEADLINE,
    SCHEMA_VERSION,
    Side,
    all_metrics,
    categories,
    changes,
    differences,
    of_differences,
    of_shares,
    paired,
    read_leaks,
    read_side,
    shares,
    unlike,
)
from bbjspec.stage import StageRun
from bbjspec.store import write_json

MARGIN = 0.10  # so much less on the general prompts counts as forgotten
BASELINES = {"base": "base, zero-shot", "few_shot": "base, few-shot"}  # roles and what a card calls them
POWER = 0.8
POWER_METHOD = (
    "normal approximation with the standard deviation of the differences seen here: PASS needs the mean to reach "
    "max(min_effect, t(n-1) * sd / sqrt(n)); simulated, it is right to 2 points"
)


def run(stage: StageRun) -> None:
    """Compare. Raises StageFailed when two of them are not comparable."""

    def side(role: str) -> Side:
        return read_side(role, stage.input(role) / "results.json", stage.input(role) / "scores.jsonl")

    try:
        tuned = side("tuned")
        baselines = [side(role) for role in BASELINES if role in stage.inputs]
        leaked = read_leaks("contamination", stage.input("contamination") / "contamination.json") & set(tuned.prompts)
    except ValueError as error:
        raise StageFailed(f"compare: {error}; remove that stage's directory and run again") from error
    document = compare(baselines, tuned, leaked, float(stage.config["gate"]["min_effect"]), stage.config["k"])
    write_json(stage.directory / "comparison.json", document)
    stage.log.info("%s: %s", document["decision"], document["reason"])


def compare(
    baselines: Sequence[Side], tuned: Side, leaked: Iterable[str], min_effect: float, ks: Iterable[int]
) -> dict[str, Any]:
    """The document of comparison.json; the first baseline is `a`.

    `leaked` prompts are left out of everything but the figures named so. Raises StageFailed when a baseline was not
    made and judged as the tuned model was, and when no prompt is left.
    """
    for side in baselines:
        if why := unlike(side, tuned):
            raise StageFailed(f"compare: {why}")
    base, out = baselines[0], set(leaked)
    syntax, clean = base.of_tier("syntax"), base.of_tier("syntax", out)
    general = base.of_tier("general", out)
    if not clean:
        raise StageFailed("compare: no syntax prompt is left that the training data does not give away; add prompts")
    gates = {side.name: gate(differences(side, tuned, clean, 1, "strict"), min_effect) for side in baselines}
    decision, reason = overall(gates)
    provisional = base.results["compiler"]["name"] == "builtin"
    headline = paired(base, tuned, clean, 1, "strict")
    change = differences(base, tuned, clean, 1, "strict")
    return {
        "schema_version": SCHEMA_VERSION,
        "metric": HEADLINE,
        "a": {**base.who(), **headline["a"]},
        "b": {**tuned.who(), **headline["b"]},
        **{name: headline[name] for name in ("diff", "ci", "p", "test", "n_prompts", "n_samples")},
        "min_effect": min_effect,
        "decision": f"{decision} (provisional)" if decision == "PASS" and provisional else decision,
        "provisional": provisional,
        "reason": reason,
        "baselines": {
            side.name: {
                "name": BASELINES.get(side.name, side.name),
                "decision": gates[side.name].decision,
                "reason": gates[side.name].reason,
                **paired(side, tuned, clean, 1, "strict"),
            }
            for side in baselines
        },
        "forgetting": forgetting(base, tuned, general) if general else None,
        **changes(base, tuned, clean),
        "metrics": all_metrics(base, tuned, out, ks),
        "formatting": formatting(base, tuned, clean),
        "by_category": categories(base, tuned, clean),
        "leaked": {
            "excluded": sorted(out),
            "without": _summary(headline, gates[base.name]),
            "with": _summary(
                paired(base, tuned, syntax, 1, "strict"),
                gate(differences(base, tuned, syntax, 1, "strict"), min_effect),
            ),
        },
        "power": power(change, min_effect),
        "suite_hash": base.results["suite_hash"],
        "compiler": base.results["compiler"],
        "sampling": tuned.results["sampling"],
        "env": base.results["env"],
    }


def overall(gates: Mapping[str, Decision]) -> tuple[str, str]:
    """(decision, reason): PASS when every baseline's gate passes, FAIL when any fails, else INCONCLUSIVE."""
    if len(gates) == 1:
        (only,) = gates.values()
        return only.decision, only.reason
    found = [one.decision for one in gates.values()]
    decision = "FAIL" if "FAIL" in found else "PASS" if set(found) == {"PASS"} else "INCONCLUSIVE"
    told = [f"{one.decision} against the {BASELINES[name]} ({one.reason})" for name, one in gates.items()]
    return decision, "; ".join(told)


def forgetting(base: Side, tuned: Side, names: list[str]) -> dict[str, Any]:
    """Whether the tuned model lost the general prompts: a check of non-inferiority, which decides nothing else."""
    change = differences(base, tuned, names, 1, "strict")
    found = non_inferior(change, MARGIN)
    if (known := fmean(map(float, shares(base, names, 1, "strict")))) < MARGIN:
        reason = f"the base passes {known:.3f} of these tasks: too little to see {MARGIN:g} of it go"
        found = replace(found, decision="not settled", reason=reason)
    return {
        "decision": found.decision,
        "reason": found.reason,
        "diff": round(found.mean, DIGITS),
        "ci": [round(max(-1.0, found.low), DIGITS), round(min(1.0, found.high), DIGITS)],
        "margin": MARGIN,
        "n_prompts": len(change),
    }


def formatting(base: Side, tuned: Side, names: list[str]) -> dict[str, Any]:
    """The raw gain of compile@1, told apart: how much of it is left when extraction is forgiven.

    `lenient` is an upper bound of what extraction costs: of a few ways to cut the program out, the one that compiles
    counts. What the raw gain has beyond the lenient gain is `formatting`: programs that were there before training, but
    were not found.
    """
    greedy = base.prompts[names[0]]["n"] == 1
    raw = [shares(side, names, 1, "raw") for side in (base, tuned)]
    lenient = [_lenient(side, names) for side in (base, tuned)]
    apart = [(t - b) - (lt - lb) for b, t, lb, lt in zip(*raw, *lenient, strict=True)]
    return {
        "strict": paired(base, tuned, names, 1, "strict"),
        "raw": of_shares(*raw, greedy=greedy),
        "lenient": of_shares(*lenient, greedy=greedy),
        "formatting": of_differences(apart, greedy=False),
    }


def _lenient(side: Side, names: list[str]) -> list[Fraction]:
    passed = side.results["sensitivity"]["lenient"]["by_prompt"]
    return [Fraction(passed[name], side.prompts[name]["n"]) for name in names]


def _summary(figures: Mapping[str, Any], decision: Decision) -> dict[str, Any]:
    kept = {name: figures[name] for name in ("diff", "ci", "p", "n_prompts")}
    return {**kept, "a": figures["a"]["value"], "b": figures["b"]["value"], "decision": decision.decision}


def power(change: list[Fraction], min_effect: float) -> dict[str, Any]:
    """How probable PASS is at true effects of min_effect and more, and the effect that passes with 80 %."""
    n = len(change)
    if n < 2:
        return {"method": POWER_METHOD, "sd": None, "n_prompts": n, "effect_80": None, "pass_at": []}
    mean = fmean(map(float, change))
    sd = math.sqrt(math.fsum((float(x) - mean) ** 2 for x in change) / (n - 1))
    needed = effect_for_power(POWER, sd, n, min_effect)
    effects = [round(min_effect + step, 6) for step in (0.0, 0.05, 0.1)]
    return {
        "method": POWER_METHOD,
        "sd": round(sd, DIGITS),
        "n_prompts": n,
        "effect_80": None if needed is None else round(needed, DIGITS),
        "pass_at": [{"effect": x, "power": round(pass_power(x, sd, n, min_effect), DIGITS)} for x in effects],
    }
