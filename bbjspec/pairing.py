"""Two sets of results on the same prompts, paired: differences, their intervals and tests, what got better and worse.

`a` is what is compared with (a baseline, the parent, the first of two experiments) and `b` what is judged; a difference
is b minus a, prompt by prompt. Results are the documents of `results.json`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

from bbjspec.metrics import gate, holm, mcnemar_exact, paired_interval, pass_at_k, sign_flip, wilson

SCHEMA_VERSION = 1  # of results.json and of comparisons
HEADLINE = "compile@1"
DIGITS = 9  # of rounded figures: more are noise of the machine's arithmetic
ALIKE = ("suite_hash", "compiler", "extractor_version", "sampling")
ENVIRONMENT = ("backend", "quantization", "dtype", "batch_size")


@dataclass(frozen=True)
class Side:
    """One of the two: its role or name, its results, and of each prompt the failure that `first_failures` chose."""

    name: str
    results: Mapping[str, Any]
    failures: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def prompts(self) -> Mapping[str, Any]:
        """Per prompt: tier, category, n, strict, raw."""
        return cast("Mapping[str, Any]", self.results["by_prompt"])

    def who(self) -> dict[str, Any]:
        """What of its results stands in the comparison, besides figures."""
        return {"role": self.name, "model": self.results["model"]}

    def of_tier(self, tier: str, without: Iterable[str] = ()) -> list[str]:
        """Its prompts of one tier, by id, but for those left out."""
        out = set(without)
        return sorted(name for name, entry in self.prompts.items() if entry["tier"] == tier and name not in out)


def unlike(a: Side, b: Side, *, environment: bool = True) -> str | None:
    """Why the two may not be compared: another suite, judge, extraction, sampling or set of samples; None if they may.

    With `environment` also another back end, quantization, dtype or batch; unknown (null) is like anything.
    """
    for name in ALIKE:
        ours, theirs = (_asked(side.results.get(name)) for side in (a, b))
        if ours != theirs:
            return f"{name} differs: {_difference(a.name, ours, b.name, theirs)}; score both alike"
    if environment and (found := environment_differences(a, b)):
        return f"{found[0]}; generate both alike"
    counts = [{name: entry["n"] for name, entry in side.prompts.items()} for side in (a, b)]
    if counts[0] != counts[1]:
        return f"{a.name} and {b.name} have not the same samples of the same prompts; score both again"
    return None


def _asked(value: Any) -> Any:
    """A sampling block without the examples that a few-shot baseline is given: that is how it differs."""
    return {k: v for k, v in value.items() if k != "few_shot"} if isinstance(value, Mapping) else value


def environment_differences(a: Side, b: Side) -> list[str]:
    """What differs of the way in which the answers were made, where it is known of both."""
    found = []
    for name in ENVIRONMENT:
        ours, theirs = a.results["env"].get(name), b.results["env"].get(name)
        if ours != theirs and ours is not None and theirs is not None:
            found.append(f"{name} differs: {a.name} {ours}, {b.name} {theirs}")
    return found


def _difference(one: str, ours: Any, other: str, theirs: Any) -> str:
    """Of two mappings only the fields that differ: whole sampling blocks side by side tell nobody anything."""
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        names = [name for name in sorted({*ours, *theirs}) if ours.get(name) != theirs.get(name)]
        ours, theirs = ({name: side.get(name) for name in names} for side in (ours, theirs))
    return f"{one} {_short(ours)}, {other} {_short(theirs)}"


def _short(value: Any) -> str:
    if isinstance(value, Mapping):
        value = ", ".join(f"{name} {content!r}" for name, content in value.items())
    text = " ".join(str(value).split())
    return text if len(text) <= 80 else text[:77] + "..."


def shares(side: Side, names: Iterable[str], k: int, what: str) -> list[Fraction]:
    """pass@k of each prompt; for k = 1 the exact share, so that ties are ties."""
    found = []
    for name in names:
        entry = side.prompts[name]
        share = Fraction(entry[what], entry["n"]) if k == 1 else Fraction(pass_at_k(entry["n"], entry[what], k))
        found.append(share)
    return found


def differences(a: Side, b: Side, names: list[str], k: int, what: str) -> list[Fraction]:
    """b minus a, per prompt."""
    return [y - x for x, y in zip(shares(a, names, k, what), shares(b, names, k, what), strict=True)]


def paired(a: Side, b: Side, names: list[str], k: int, what: str) -> dict[str, Any]:
    """Both means with their intervals, and the paired difference with its interval and exact p.

    `what` is `strict` or `raw`. With one sample a prompt the test is McNemar's.
    """
    both = [shares(side, names, k, what) for side in (a, b)]
    return {
        **of_shares(both[0], both[1], greedy=a.prompts[names[0]]["n"] == 1),
        "n_samples": a.prompts[names[0]]["n"],
        "k": k,
    }


def of_shares(a: list[Fraction], b: list[Fraction], *, greedy: bool) -> dict[str, Any]:
    """The same of two lists of shares, a prompt each, in one order. `greedy`: each is 0 or 1."""
    change = [y - x for x, y in zip(a, b, strict=True)]
    return {
        "a": mean(a, greedy=greedy),
        "b": mean(b, greedy=greedy),
        **of_differences(change, greedy=greedy),
        "n_prompts": len(change),
    }


def of_differences(change: list[Fraction], *, greedy: bool) -> dict[str, Any]:
    """Mean, 95 % interval and exact p of per-prompt differences. No difference of two shares lies outside [-1, 1]."""
    middle, low, high = paired_interval(change) if len(change) > 1 else (float(change[0]), -math.inf, math.inf)
    if greedy:
        p, test = mcnemar_exact(sum(x < 0 for x in change), sum(x > 0 for x in change)), "McNemar"
    else:
        p, test = sign_flip(change), "sign-flip"
    return {
        "diff": round(middle, DIGITS),
        "ci": [round(max(-1.0, low), DIGITS), round(min(1.0, high), DIGITS)],
        "p": float(f"{p:.9g}"),
        "test": test,
    }


def mean(values: list[Fraction], *, greedy: bool) -> dict[str, Any]:
    """A side's mean and its interval, as in results.json: t over prompts, Wilson for one sample a prompt."""
    if len(values) < 2:
        return {"value": round(float(values[0]), DIGITS), "ci": [None, None]}
    middle, low, high = paired_interval(values)
    if greedy:
        low, high = wilson(int(sum(values)), len(values))
    return {"value": round(middle, DIGITS), "ci": [round(max(0.0, low), DIGITS), round(min(1.0, high), DIGITS)]}


def all_metrics(a: Side, b: Side, leaked: Iterable[str], ks: Iterable[int]) -> dict[str, Any]:
    """Every metric that both have, without the leaked prompts: compile@k strict and raw, factual accuracy, general."""
    out, found = set(leaked), {}
    syntax, factual, general = (a.of_tier(tier, out) for tier in ("syntax", "factual", "general"))
    for k in sorted(ks) if syntax else ():
        found[f"compile@{k}"] = paired(a, b, syntax, k, "strict")
        found[f"compile@{k}_raw"] = paired(a, b, syntax, k, "raw")
    if factual:
        found["factual_accuracy"] = paired(a, b, factual, 1, "strict")
    if general:
        found["general_pass@1"] = paired(a, b, general, 1, "strict")
    return found


def categories(a: Side, b: Side, names: Iterable[str]) -> dict[str, Any]:
    """Strict compile@1 of each category. Several tests stand side by side, so `p_holm` is the p that counts."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(a.prompts[name]["category"], []).append(name)
    found = {category: paired(a, b, members, 1, "strict") for category, members in sorted(groups.items())}
    adjusted = holm([figures["p"] for figures in found.values()])
    return {
        category: {**figures, "p_holm": float(f"{p:.9g}")}
        for (category, figures), p in zip(found.items(), adjusted, strict=True)
    }


def changes(a: Side, b: Side, names: Iterable[str]) -> dict[str, list[dict[str, Any]]]:
    """`regressions` and `improvements` among these prompts, the largest change first: both rates and both failures."""
    found = [_change(a, b, name) for name in sorted(names)]
    return {
        "regressions": sorted((c for c in found if c["diff"] < 0), key=lambda c: (c["diff"], c["id"])),
        "improvements": sorted((c for c in found if c["diff"] > 0), key=lambda c: (-c["diff"], c["id"])),
    }


def _change(a: Side, b: Side, name: str) -> dict[str, Any]:
    entry, sides = a.prompts[name], (a, b)
    before, after = (Fraction(side.prompts[name]["strict"], side.prompts[name]["n"]) for side in sides)
    return {
        "id": name,
        "category": entry["category"],
        "a": float(before),
        "b": float(after),
        "diff": float(after - before),
        "failures": {which: side.failures.get(name) for which, side in zip("ab", sides, strict=True)},
    }


def first_failures(path: Path) -> dict[str, dict[str, Any]]:
    """Of each prompt of a `scores.jsonl` the first sample with a compiler error, else the first that failed.

    {id: {sample, outcome, line, source, message}}; the last three are null without a compiler error. Raises OSError
    and ValueError for a file that cannot be read.
    """
    found: dict[str, dict[str, Any]] = {}
    for text in path.read_text(encoding="utf-8").split("\n"):
        if not text:
            continue
        row = json.loads(text)
        errors = (row["compiler"] or {}).get("errors")
        known = found.get(row["task_id"])
        if row["strict_pass"] or (known and (known["line"] is not None or not errors)):
            continue
        first = errors[0] if errors else {"line": None, "source": None, "message": None}
        found[row["task_id"]] = {"sample": row["sample_idx"], "outcome": row["outcome"], **first}
    return found


def compare_two(a: Side, b: Side, leaked: Iterable[str]) -> dict[str, Any]:
    """Two experiments side by side, without the prompts that either one's training data gives away.

    `verdict` is by strict compile@1: `better` when the 95 % interval of b minus a lies above 0, `worse` when it lies
    below, else `not told apart`, and so with fewer than 20 prompts (`bbjspec.metrics.gate` at an effect of 0). Raises
    ValueError when they are not comparable, or have no syntax prompt left.
    """
    if why := unlike(a, b, environment=False):
        raise ValueError(why)
    out = set(leaked) & set(a.prompts)
    clean = a.of_tier("syntax", out)
    if not clean:
        raise ValueError("no syntax prompt is left that the training data does not give away")
    headline = paired(a, b, clean, 1, "strict")
    decision = gate(differences(a, b, clean, 1, "strict"), 0.0).decision
    return {
        "schema_version": SCHEMA_VERSION,
        "metric": HEADLINE,
        "a": {**a.who(), **headline["a"]},
        "b": {**b.who(), **headline["b"]},
        **{name: headline[name] for name in ("diff", "ci", "p", "test", "n_prompts", "n_samples")},
        "verdict": {"PASS": "better", "FAIL": "worse"}.get(decision, "not told apart"),
        "metrics": all_metrics(a, b, out, _ks(a) & _ks(b)),
        **changes(a, b, clean),
        "excluded": sorted(out),
        "notes": environment_differences(a, b),
        "suite_hash": a.results["suite_hash"],
        "compiler": a.results["compiler"],
        "sampling": a.results["sampling"],
    }


def _ks(side: Side) -> set[int]:
    return {entry["k"] for name, entry in side.results["metrics"].items() if name == f"compile@{entry['k']}"}


def read_side(name: str, results: Path, scores: Path) -> Side:
    """Results and failures from a `results.json` and a `scores.jsonl`. Raises ValueError that names the bad file."""
    try:
        document = json.loads(results.read_bytes())
        version = document["schema_version"]
        known = all(key in document for key in ("by_prompt", "metrics", "env", "model", *ALIKE))
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{results.name} of {name} is not readable") from error
    if version != SCHEMA_VERSION or not known:
        raise ValueError(f"{results.name} of {name} was written by another version of bbjspec")
    try:
        return Side(name, document, first_failures(scores))
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{scores.name} of {name} is not readable") from error


def read_leaks(name: str, path: Path) -> set[str]:
    """The ids in a `contamination.json`. Raises ValueError."""
    try:
        return {str(entry["id"]) for entry in json.loads(path.read_bytes())["leaked"]}
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{path.name} of {name} is not readable") from error
