"""What an experiment may be called: its name is its file's, a target of the workflow and a folder of adapters/."""

from __future__ import annotations

import re
from pathlib import Path

from bbjspec.errors import BadInput, Finding

NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")
# `all` is the workflow's own target; Windows and Make have no business with names that end in a dot.
RESERVED = frozenset({"all"})
MEANT = "lower-case letters, digits, “.”, “_” and “-” are meant"


def is_name(name: str) -> bool:
    """Whether an experiment may be called so."""
    return bool(NAME.fullmatch(name)) and not name.endswith(".") and name not in RESERVED


def experiment_name(path: Path) -> str:
    """The experiment's name, which is its file's. Raises BadInput for one that is no safe name."""
    name = path.name.removesuffix(".yaml")
    if path.suffix != ".yaml" or not is_name(name):
        hint = "a reserved word" if name in RESERVED else MEANT
        raise BadInput([Finding(f"experiments/{path.name!r}"[:200], 0, 0, "", f"not an experiment's name: {hint}")])
    return name
