"""Stage `compare`: is the tuned model better than its base, on the same prompts?

Config: gate {min_effect}, k. Inputs: base and tuned (score stages), contamination. Output: `comparison.json`. In it `a`
is the base and `b` the tuned model, a difference is b minus a, and the decision rests on strict compile@1 without the
prompts that the training data gives away.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from statistics import fmean
from typing import Any

from bbjspec.errors import StageFailed
from bbjspec.metrics import (
    Decision,
    effect_for_power,
    gate,
    non_inferior,
    paired_interval,
    pass_at_k,
    pass_power,
    sign_flip,
    wilson,
)
from bbjspec.stage import StageRun
from bbjspec.stages.results import DIGITS, SCHEMA_VERSION
from bbjspec.store import read_json, write_json

HEADLINE = "compile@1"
MARGIN = 0.10  # so much less on the general prompts counts as forgotten
POWER = 0.8
POWER_METHOD = (
    "normal approximation with the standard deviation of the differences seen here: PASS needs the mean to reach "
    "max(min_effect, t(n-1) * sd / sqrt(n))"
)


@dataclass(frozen=True)
class Side:
    """One of the two score stages: its results and how often each prompt passed."""

    name: str
    results: Mapping[str, Any]

    @property
    def prompts(self) -> Mapping[str, Any]:
        """Per prompt: tier, category, n, strict, raw."""
        return dict(self.results["by_prompt"])

    def who(self) -> dict[str, Any]:
        """What of its results stands in the comparison, besides figures."""
        return {"role": self.name, "model": self.results["model"]}


def run(stage: StageRun) -> None:
    """Compare. Raises StageFailed when the two are not comparable."""
    base, tuned = (Side(role, _read(stage.input(role), role)) for role in ("base", "tuned"))
    refuse_unlike(base, tuned)
    leaks = read_json(stage.input("contamination") / "contamination.json")
    if not isinstance(leaks, dict) or not isinstance(leaks.get("leaked"), list):
        raise StageFailed("contamination.json is not readable; remove that stage's directory and run again")
    leaked = {str(entry["id"]) for entry in leaks["leaked"]} & set(base.prompts)
    document = compare(base, tuned, leaked, float(stage.config["gate"]["min_effect"]), stage.config["k"])
    write_json(stage.directory / "comparison.json", document)
    stage.log.info("%s: %s", document["decision"], document["reason"])


def _read(directory: Path, role: str) -> Mapping[str, Any]:
    results = read_json(directory / "results.json")
    if not isinstance(results, dict) or results.get("schema_version") != SCHEMA_VERSION:
        raise StageFailed(f"compare: results.json of {role} is not readable; remove that stage's directory")
    return results


def refuse_unlike(base: Side, tuned: Side) -> None:
    """Raise StageFailed when the two were not made and judged in the same way. Unknown (null) is like anything."""
    for name in ("suite_hash", "compiler", "extractor_version", "sampling"):
        ours, theirs = base.results[name], tuned.results[name]
        if ours != theirs:
            raise StageFailed(f"compare: {name} differs: base {_short(ours)}, tuned {_short(theirs)}; score both alike")
    for name in ("backend", "quantization", "dtype", "batch_size"):
        ours, theirs = base.results["env"].get(name), tuned.results["env"].get(name)
        if ours != theirs and ours is not None and theirs is not None:
            raise StageFailed(f"compare: {name} differs: base {ours}, tuned {theirs}; generate both alike")
    counts = [{name: entry["n"] for name, entry in side.prompts.items()} for side in (base, tuned)]
    if counts[0] != counts[1]:
        raise StageFailed("compare: base and tuned have not the same samples of the same prompts; score both again")


def _short(value: Any) -> str:
    return str(value)[:80]


def compare(base: Side, tuned: Side, leaked: Iterable[str], min_effect: float, ks: Iterable[int]) -> dict[str, Any]:
    """The document of comparison.json. `leaked` prompts are left out of everything but the figures named so."""
    out = set(leaked)
    syntax = [name for name, entry in base.prompts.items() if entry["tier"] == "syntax"]
    factual = [name for name, entry in base.prompts.items() if entry["tier"] == "factual" and name not in out]
    general = [name for name, entry in base.prompts.items() if entry["tier"] == "general" and name not in out]
    clean = [name for name in syntax if name not in out]
    if not clean:
        raise StageFailed("compare: no syntax prompt is left that the training data does not give away; add prompts")
    decision = gate(differences(base, tuned, clean, 1, "strict"), min_effect)
    provisional = base.results["compiler"]["name"] == "builtin"
    shown = f"{decision.decision} (provisional)" if decision.decision == "PASS" and provisional else decision.decision
    metrics: dict[str, Any] = {}
    for k in ks:
        metrics[f"compile@{k}"] = paired(base, tuned, clean, k, "strict")
        metrics[f"compile@{k}_raw"] = paired(base, tuned, clean, k, "raw")
    if factual:
        metrics["factual_accuracy"] = paired(base, tuned, factual, 1, "strict")
    if general:
        metrics["general_pass@1"] = paired(base, tuned, general, 1, "strict")
    headline = paired(base, tuned, clean, 1, "strict")
    changed = [_change(base, tuned, name) for name in sorted(clean)]
    return {
        "schema_version": SCHEMA_VERSION,
        "metric": HEADLINE,
        "a": {**base.who(), **headline["a"]},
        "b": {**tuned.who(), **headline["b"]},
        **{name: headline[name] for name in ("diff", "ci", "p", "n_prompts", "n_samples")},
        "min_effect": min_effect,
        "decision": shown,
        "provisional": provisional,
        "reason": decision.reason,
        "forgetting": forgetting(base, tuned, general) if general else None,
        "regressions": sorted((c for c in changed if c["diff"] < 0), key=lambda c: (c["diff"], c["id"])),
        "improvements": sorted((c for c in changed if c["diff"] > 0), key=lambda c: (-c["diff"], c["id"])),
        "metrics": metrics,
        "by_category": _categories(base, tuned, clean),
        "leaked": {
            "excluded": sorted(out),
            "without": _summary(headline, decision),
            "with": _summary(
                paired(base, tuned, syntax, 1, "strict"),
                gate(differences(base, tuned, syntax, 1, "strict"), min_effect),
            ),
        },
        "power": power(differences(base, tuned, clean, 1, "strict"), min_effect),
        "suite_hash": base.results["suite_hash"],
        "compiler": base.results["compiler"],
        "sampling": base.results["sampling"],
        "env": base.results["env"],
    }


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


def shares(side: Side, names: Iterable[str], k: int, what: str) -> list[Fraction]:
    """pass@k of each prompt; for k = 1 the exact share, so that ties are ties."""
    found = []
    for name in names:
        entry = side.prompts[name]
        share = Fraction(entry[what], entry["n"]) if k == 1 else Fraction(pass_at_k(entry["n"], entry[what], k))
        found.append(share)
    return found


def differences(base: Side, tuned: Side, names: list[str], k: int, what: str) -> list[Fraction]:
    """Tuned minus base, per prompt."""
    return [b - a for a, b in zip(shares(base, names, k, what), shares(tuned, names, k, what), strict=True)]


def paired(base: Side, tuned: Side, names: list[str], k: int, what: str) -> dict[str, Any]:
    """Both means with their intervals, and the paired difference with its interval and exact p."""
    both = [shares(side, names, k, what) for side in (base, tuned)]
    change = differences(base, tuned, names, k, what)
    mean, low, high = paired_interval(change) if len(names) > 1 else (float(change[0]), -math.inf, math.inf)
    greedy = base.prompts[names[0]]["n"] == 1
    return {
        "a": _mean(both[0], greedy),
        "b": _mean(both[1], greedy),
        "diff": round(mean, DIGITS),
        "ci": [round(max(-1.0, low), DIGITS), round(min(1.0, high), DIGITS)],  # no difference of shares lies outside
        "p": float(f"{sign_flip(change):.9g}"),
        "n_prompts": len(names),
        "n_samples": base.prompts[names[0]]["n"],
        "k": k,
    }


def _mean(values: list[Fraction], greedy: bool) -> dict[str, Any]:
    """A side's mean and its interval, as in results.json: t over prompts, Wilson for one sample a prompt."""
    if len(values) < 2:
        return {"value": round(float(values[0]), DIGITS), "ci": [None, None]}
    mean, low, high = paired_interval(values)
    if greedy:
        low, high = wilson(int(sum(values)), len(values))
    return {"value": round(mean, DIGITS), "ci": [round(max(0.0, low), DIGITS), round(min(1.0, high), DIGITS)]}


def _summary(figures: Mapping[str, Any], decision: Decision) -> dict[str, Any]:
    kept = {name: figures[name] for name in ("diff", "ci", "p", "n_prompts")}
    return {**kept, "a": figures["a"]["value"], "b": figures["b"]["value"], "decision": decision.decision}


def _change(base: Side, tuned: Side, name: str) -> dict[str, Any]:
    a, b = (Fraction(side.prompts[name]["strict"], side.prompts[name]["n"]) for side in (base, tuned))
    entry = base.prompts[name]
    return {"id": name, "category": entry["category"], "a": float(a), "b": float(b), "diff": float(b - a)}


def _categories(base: Side, tuned: Side, names: Iterable[str]) -> dict[str, Any]:
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(base.prompts[name]["category"], []).append(name)
    return {category: paired(base, tuned, members, 1, "strict") for category, members in groups.items()}


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
