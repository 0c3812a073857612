"""What a person decided in a review, read with the place of every mistake."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bbjspec import yamlio
from bbjspec.data.review import ACTIONS
from bbjspec.data.rows import unreadable
from bbjspec.errors import BadInput, Finding

_TEXTS: tuple[str, ...] = ("question", "answer", "suggested", "text")
_FIELDS = ("line", "id", "fingerprint", "reasons", "action", *_TEXTS)
_NEEDED = ("line", "fingerprint", "action")
Place = tuple[int, int]


@dataclass(frozen=True)
class Decision:
    """One row's entry as a person left it. `places` are the line and column, from 1, of each field's value."""

    line: int
    fingerprint: str
    action: str
    reasons: tuple[str, ...]
    texts: Mapping[str, str]
    places: Mapping[str, Place] = field(repr=False)


@dataclass(frozen=True)
class Review:
    """The decisions by line of the dataset, the reviewer if one is named, and what messages call the file."""

    decisions: Mapping[int, Decision]
    reviewer: str | None
    name: str

    def wrong(self, decision: Decision, at: str, message: str) -> Finding:
        """A mistake in a field of the review."""
        place = decision.places.get(at) or decision.places["line"]
        return Finding(self.name, *place, f"rows.{decision.line}.{at}", message)


def read_review(path: Path) -> Review:
    """The review. Raises BadInput with every mistake in it."""
    name = str(path)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise unreadable(name, error) from error
    except UnicodeDecodeError as error:
        raise BadInput([Finding(name, 0, 0, "", f"not UTF-8 at byte {error.start}; save the file as UTF-8")]) from error
    findings: list[Finding] = []
    top = _mapping(yamlio.compose(text, name), name, "", findings) or {}
    if not findings and ("rows" not in top or top["rows"].id != "sequence"):
        findings.append(Finding(name, 1, 1, "rows", "a list of rows is meant, as bbjspec audit --export writes it"))
    decisions: dict[int, Decision] = {}
    for node in top["rows"].value if not findings else ():
        decision = _decision(node, name, findings)
        if decision is not None and decisions.setdefault(decision.line, decision) is not decision:
            findings.append(Finding(name, *decision.places["line"], "rows", f"line {decision.line} stands here twice"))
    if findings:
        raise BadInput(findings)
    reviewer = top.get("reviewer")
    told = reviewer.value if reviewer is not None and reviewer.value not in ("", "null", "~") else None
    return Review(decisions, told, name)


def _mapping(node: Any, name: str, at: str, findings: list[Finding]) -> dict[str, Any] | None:
    """The node's fields by name; None, with a finding, where it is no mapping or has a field twice."""
    if node is None or node.id != "mapping":
        place = _place(node) if node is not None else (1, 1)
        findings.append(Finding(name, *place, at, "fields and their values are meant"))
        return None
    fields: dict[str, Any] = {}
    for key, value in node.value:
        if key.value in fields:
            findings.append(Finding(name, *_place(key), at, f"{key.value} stands here twice; each field stands once"))
        fields[str(key.value)] = value
    return fields


def _place(node: Any) -> Place:
    return node.start_mark.line + 1, node.start_mark.column + 1


def _decision(node: Any, name: str, findings: list[Finding]) -> Decision | None:
    before = len(findings)
    fields = _mapping(node, name, "rows", findings)
    if fields is None:
        return None
    for field_name, value in fields.items():
        if field_name not in _FIELDS:
            message = f"no such field: {field_name}; there are {', '.join(_FIELDS)}"
            findings.append(Finding(name, *_place(value), "rows", message))
        elif field_name != "reasons" and value.id != "scalar":
            findings.append(Finding(name, *_place(value), f"rows.{field_name}", "text is meant; write it after a |"))
    for missing in (needed for needed in _NEEDED if needed not in fields):
        findings.append(Finding(name, *_place(node), f"rows.{missing}", f"{missing} is missing; export writes it"))
    if len(findings) > before:
        return None
    if not fields["line"].value.isdecimal():
        findings.append(
            Finding(name, *_place(fields["line"]), "rows.line", "the number of the dataset's line is meant")
        )
    action = fields["action"]
    if action.value not in ACTIONS:
        message = f"{action.value[:40]!r} is no action; write {', '.join(ACTIONS[:-1])} or {ACTIONS[-1]}"
        findings.append(Finding(name, *_place(action), "rows.action", message))
    if len(findings) > before:
        return None
    texts = {key: str(fields[key].value) for key in _TEXTS if key in fields}
    places = {key: _place(value) for key, value in fields.items()}
    reasons = _reasons(fields.get("reasons"))
    return Decision(int(fields["line"].value), fields["fingerprint"].value, action.value, reasons, texts, places)


def _reasons(node: Any) -> tuple[str, ...]:
    """The checks named in the reasons, which are only told on; whatever else stands there is left out."""
    pairs = (
        pair for item in (node.value if node is not None and node.id == "sequence" else ()) for pair in _pairs(item)
    )
    return tuple(str(key.value) for key, _ in pairs)


def _pairs(node: Any) -> list[Any]:
    return list(node.value) if node.id == "mapping" else []
