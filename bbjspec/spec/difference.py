"""What two specs say differently, by section."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bbjspec.spec import Experiment
from bbjspec.spec.training import EXECUTION

# What each experiment says of itself; the rest is what it does.
_OWN = ("extends", "description")
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
        if section not in _OWN:
            found += _changes(section, section, before[section], after[section])
    return found


def warnings(changes: list[Change]) -> list[str]:
    """What the two specs together will not be able to tell."""
    sections = {change.section for change in changes if change.path not in _NO_RESULT}
    return [UNTOLD] if "data" in sections and sections & set(_HYPERPARAMETERS) else []


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
        lines.append(f"  {change.path:<{width}}  {_shown(change.old)} → {_shown(change.new)}{said}")
    return "\n".join(lines)


def _changes(section: str, path: str, old: Any, new: Any) -> list[Change]:
    if isinstance(old, dict) and isinstance(new, dict):
        return [
            change
            for key in dict.fromkeys([*old, *new])
            for change in _changes(section, f"{path}.{key}", old.get(key), new.get(key))
        ]
    return [Change(section, path, old, new)] if old != new else []


def _shown(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(map(_shown, value))}]"
    return str(value)
