"""Words of the model card: the verdict in one sentence, and which failures to show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bbjspec.figures import exists, interval, plain, signed
from bbjspec.markdown import span
from bbjspec.stages.verdicts import OUTCOMES, PASS

MAX_FAILURES = 10


def literal(value: object) -> str:
    """The value as Python writes it, without the publisher's tokens."""
    return repr(value).replace("@", "\\x40") if isinstance(value, str) else repr(value)


def release_sentence(release: Mapping[str, Any]) -> str:
    """What is released of the GGUFs, what is withheld and why, and which verdict was not waited for."""
    types = release["types"]
    if not release["released"]:
        reasons = {entry["reason"] for entry in types.values()}
        why = release["withheld"] if len(reasons) > 1 or release["withheld"] in reasons else reasons.pop()
        said = f"Export: **withheld**, there is no Modelfile: {why}."
    else:
        said = f"Export: {', '.join(name for name in types if types[name]['released'])} released."
        kept = [f"{name} ({entry['reason']})" for name, entry in types.items() if not entry["released"]]
        said += f" Withheld: {'; '.join(kept)}." if kept else ""
    if release["gate"] == "provisional":
        said += " `export.gate: provisional`: a PASS by the builtin checker alone is enough for it."
    elif release["gate"] == "none":
        said += f" **`export.gate: none`: no verdict is waited for; the gate says {release['decision']}.**"
    return said


def verdict_sentence(comparison: Mapping[str, Any]) -> str:
    """The card's first sentence: what was decided, by how much, on how much, and who judged.

    With several baselines it is about the one that decides: the worst decision, and of these the smallest difference.
    """
    baselines = list(comparison["baselines"].values())
    hard = ("FAIL", "INCONCLUSIVE", "PASS")
    told = min(baselines, key=lambda one: (hard.index(one["decision"]), one["diff"] if exists(one["diff"]) else 0.0))
    than = "its base" if len(baselines) == 1 else f"a baseline ({told['name']})"
    decision, ci = told["decision"], told["ci"]
    if decision == "PASS":
        said = f"Better than {than if len(baselines) == 1 else 'every baseline'} at BBj"
    elif decision == "FAIL" and ci and ci[1] < 0:
        said = f"Worse than {than} at BBj"
    elif decision == "FAIL":
        said = f"Not better than {than} at BBj by the {comparison['min_effect']:.2f} asked for"
    else:
        said = f"Not known to be better than {than} at BBj"
    compiler = comparison["compiler"]
    judge = (
        "judged by the builtin checker (approximate), not by bbjcpl"
        if compiler["name"] == "builtin"
        else f"judged by {compiler['name']} {span(compiler['version'])}"
    )
    samples = comparison["n_samples"]
    against = f" ({told['name']})" if decision == "PASS" and len(baselines) > 1 else ""
    return (
        f"{said}: strict {comparison['metric']} {plain(told['b']['value'])} against "
        f"{plain(told['a']['value'])}{against}, {signed(told['diff'])} {interval(ci)}, "
        f"{comparison['n_prompts']} prompts × {samples} {'sample' if samples == 1 else 'samples'}; {judge}."
    )


def gain_sentence(told: Mapping[str, Any]) -> str:
    """How much of the raw gain is formatting, and how much language: what is left when extraction is forgiven."""
    raw, lenient, apart = (told[name] for name in ("raw", "lenient", "formatting"))
    return (
        f"Formatting or language? Raw compile@1 changed by {signed(raw['diff'])} {interval(raw['ci'])}; with "
        f"extraction forgiven it is {signed(lenient['diff'])} {interval(lenient['ci'])}. So {signed(apart['diff'])} "
        f"{interval(apart['ci'])} of the change is formatting (programs that could not be taken out of the answer), "
        "the rest is language."
    )


def failures(scores: Iterable[Mapping[str, Any]], prompts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Up to ten failed syntax answers that tell most, one a prompt.

    Each category shows its worst prompt before any shows its second. Prompts that pass least come first, and of those
    that pass alike the ones of the category that loses most samples; of a prompt, the first sample with its most
    frequent failure.
    """
    failed: dict[str, list[Mapping[str, Any]]] = {}
    lost: Counter[str] = Counter()
    for row in scores:
        if row["tier"] == "syntax" and row["outcome"] != PASS:
            failed.setdefault(row["task_id"], []).append(row)
            lost[row["category"]] += 1
    ranked: list[tuple[int, float, int, str]] = []
    seen: Counter[str] = Counter()
    for name in sorted(failed, key=lambda name: (prompts[name]["strict"] / prompts[name]["n"], name)):
        category = failed[name][0]["category"]
        ranked.append((seen[category], prompts[name]["strict"] / prompts[name]["n"], -lost[category], name))
        seen[category] += 1
    return [_failure(failed[name], prompts[name]) for *_, name in sorted(ranked)[:MAX_FAILURES]]


def _failure(rows: Sequence[Mapping[str, Any]], prompt: Mapping[str, Any]) -> dict[str, Any]:
    outcomes = Counter(row["outcome"] for row in rows)
    outcome = min(outcomes, key=lambda one: (-outcomes[one], list(OUTCOMES).index(one)))
    row = min((row for row in rows if row["outcome"] == outcome), key=lambda row: row["sample_idx"])
    errors = row["compiler"]["errors"]
    return {
        "id": row["task_id"],
        "sample": row["sample_idx"],
        "category": row["category"],
        "difficulty": row["difficulty"],
        "question": prompt["input"],
        "code": row["solution"],
        "outcome": row["outcome"],
        "meaning": OUTCOMES[row["outcome"]],
        "times": outcomes[outcome],
        "n": prompt["n"],
        "passed": prompt["strict"],
        "error": errors[0] if errors else None,
        "errors": len(errors),
        "lacks": row["checks"]["missing"],
        "forbidden": row["checks"]["forbidden"],
    }
