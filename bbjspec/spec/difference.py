"""What two specs say differently, by section."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bbjspec.spec import Experiment
from bbjspec.spec.inherit import OWN
from bbjspec.spec.training import EXECUTION

_HYPERPARAMETERS = ("lora", "training")
_NO_RESULT = ("tracking", "resources", "export.dir", *(f"training.{field}" for field in EXECUTION))
_SAID = " (changes no result)"

UNTOLD = "data and hyperparameters changed at once: which effect is which will not be known"


@dataclass(frozen=True)
class Change:
    """One field that differs. `old` and `new` are as JSON has them; None stands for null and for nothing alike."""

    section: str
    path: str
    old: Any
    new: Any


def differences(old: Experiment, new: Experiment) -> list[Change]:
    """All fields that differ after defaults and inheritance, in the order of the sections."""
    before, after = old.model_dump(mode="json"), new.model_dump(mode="json")
    found: list[Change] = []
    for section in before:
        if section not in OWN:
            found += _changes(section, section, before[section], after[section])
    return found


def warnings(changes: list[Change]) -> list[str]:
    """What the two specs together will not be able to tell."""
    sections = {change.section for change in changes if not _changes_nothing(change)}
    return [UNTOLD] if "data" in sections and sections & set(_HYPERPARAMETERS) else []


def as_data(changes: list[Change]) -> list[dict[str, Any]]:
    """The changes as JSON has them; `result` says whether they can change one."""
    return [{"field": c.path, "a": c.old, "b": c.new, "result": not _changes_nothing(c)} for c in changes]


def _changes_nothing(change: Change) -> bool:
    return change.path in _NO_RESULT or change.section in _NO_RESULT


def report(changes: list[Change]) -> str:
    """The changes as a person reads them: a section a heading, a field a line."""
    if not changes:
        return "no difference in what they do"
    width = max(len(change.path) for change in changes)
    lines: list[str] = []
    section = ""
    for change in changes:
        if change.section != section:
            section = change.section
            lines.append(section + _SAID * (section in _NO_RESULT))
        said = _SAID * (change.path in _NO_RESULT)
        lines.append(f"  {change.path:<{width}}  {shown(change.old)} → {shown(change.new)}{said}")
    return "\n".join(lines)


def _changes(section: str, path: str, old: Any, new: Any) -> list[Change]:
    if isinstance(old, dict) and isinstance(new, dict):
        return [
            change
            for key in dict.fromkeys([*old, *new])
            for change in _changes(section, f"{path}.{key}", old.get(key), new.get(key))
        ]
    return [Change(section, path, old, new)] if old != new else []


def shown(value: Any) -> str:
    """A value as a spec would say it, on one line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(map(shown, value))}]"
    return str(value)
