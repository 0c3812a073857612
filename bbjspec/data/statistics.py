"""What a dataset is made of: lengths, kinds and topics, system prompts, tokens, duplicates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from bbjspec.bbj.extract import blocks
from bbjspec.data import private
from bbjspec.data.audit import Audit
from bbjspec.data.code import bbj_signals, has_code
from bbjspec.data.kinds import inferred_kind, inferred_topic
from bbjspec.data.rows import Row, normalise


def document(audit: Audit, max_length: int | None) -> dict[str, Any]:
    """`audit.json` but for the compiler: rows, checks, statistics. Equal audits give equal documents."""
    return {
        "rows": len(audit.rows) + len(audit.bad),
        "checks": audit.checks(),
        "statistics": statistics(audit, max_length),
    }


def statistics(audit: Audit, max_length: int | None) -> dict[str, Any]:
    """Figures over the good rows. Lengths are in characters or tokens, shares from 0 to 1.

    `signals` counts the answers whose code shows each sign of BBj. `kind` and `topic` are inferred where a row has
    none, and `inferred` says for how many.
    """
    rows = audit.rows
    signals: Counter[str] = Counter()
    for row in rows:
        answer = audit.mended.get(row.line, row.answer)
        signals.update(bbj_signals("".join(block.code for block in blocks(answer))))
    return {
        "answer_chars": spread([len(row.answer) for row in rows]),
        "question_chars": spread([len(row.question) for row in rows]),
        "tokens": spread(audit.tokens),
        "max_length": _cut(audit.tokens, max_length),
        "with_code": sum(has_code(row.answer) for row in rows),
        "signals": dict(sorted(signals.items())),
        "kind": _counts(str(row.fields.get("kind") or inferred_kind(row.question, row.answer)) for row in rows),
        "topic": _counts(str(row.fields.get("topic") or inferred_topic(row.question, row.answer)) for row in rows),
        "inferred": {name: sum(not row.fields.get(name) for row in rows) for name in ("kind", "topic")},
        "generation": _field(rows, "generation"),
        "tags": _field(rows, "tags"),
        "system_prompts": _prompts(rows),
        "duplicates": _duplicates(rows),
        "repairs": dict(audit.repairs),
    }


def spread(values: Sequence[int]) -> dict[str, int]:
    """Least, median, 90th percentile and most, by nearest rank; nothing of nothing."""
    if not values:
        return {}
    ordered = sorted(values)
    at = {"min": 0.0, "median": 0.5, "p90": 0.9, "max": 1.0}
    return {name: ordered[round(share * (len(ordered) - 1))] for name, share in at.items()}


def _cut(tokens: Sequence[int], max_length: int | None) -> dict[str, Any] | None:
    """What `max_length` would cut off; None where that is not known."""
    if not tokens or max_length is None:
        return None
    over = [count - max_length for count in tokens if count > max_length]
    return {"tokens_at_most": max_length, "rows": len(over), "tokens": sum(over), "share": sum(over) / sum(tokens)}


def _counts(values: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(values).items()))


def _field(rows: Iterable[Row], name: str) -> dict[str, int]:
    values = (row.fields.get(name) for row in rows)
    return _counts(
        str(one) for value in values if value is not None for one in (value if isinstance(value, list) else [value])
    )


def _prompts(rows: Sequence[Row]) -> dict[str, Any]:
    counter = Counter(row.system for row in rows)
    if not counter:
        return {"number": 0}
    text, count = min(counter.items(), key=lambda item: (-item[1], item[0]))
    return {"number": len(counter), "most_common": private.redact(text), "share": count / len(rows)}


def _duplicates(rows: Iterable[Row]) -> dict[str, int]:
    """Questions that stand more than once: how many, in how many rows, and how many have differing answers."""
    count = Counter(text := [normalise(row.question) for row in rows])
    answers: dict[str, set[str]] = {}
    for question, row in zip(text, rows, strict=True):
        if count[question] > 1:
            answers.setdefault(question, set()).add(normalise(row.answer))
    return {
        "questions": len(answers),
        "rows": sum(count[question] for question in answers),
        "conflicting": sum(len(different) > 1 for different in answers.values()),
    }
