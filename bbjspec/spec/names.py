"""What an experiment may be called: its name is its file's, a target of the workflow and a folder of adapters/."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from pathlib import Path

from bbjspec.errors import BadInput, Finding

NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")
# `all` is the workflow's own target. The others are devices on Windows, whatever stands behind a dot: no repository
# with a folder of such a name can be checked out there. Nor can one whose name ends in a dot.
RESERVED = frozenset({"all", "con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))})
MEANT = "lower-case letters, digits, “.”, “_” and “-” are meant"


def is_name(name: str) -> bool:
    """Whether an experiment may be called so."""
    return bool(NAME.fullmatch(name)) and not name.endswith(".") and not _is_reserved(name)


def _is_reserved(name: str) -> bool:
    return name == "all" or name.partition(".")[0] in RESERVED - {"all"}


def no_such(name: str, known: Iterable[str]) -> str:
    """That no experiment is called so, with the nearest name that there is, else with all."""
    there = sorted(known)
    close = difflib.get_close_matches(name, there, n=1)
    hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(there) or 'none'}"
    return f"no such experiment: {name}; {hint}"


def experiment_name(path: Path) -> str:
    """The experiment's name, which is its file's. Raises BadInput for one that is no safe name."""
    name = path.name.removesuffix(".yaml")
    if path.suffix != ".yaml" or not is_name(name):
        hint = "a reserved word" if _is_reserved(name) else MEANT
        raise BadInput([Finding(f"experiments/{path.name!r}"[:200], 0, 0, "", f"not an experiment's name: {hint}")])
    return name
