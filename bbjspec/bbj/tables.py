"""The language's tables, read from `data/`: verbs, functions and reserved words. No code repeats them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files

NUMBER, STRING, ANY, ARRAY = "number", "string", "any", "array"
"""What is known of a value without `-t`: `ANY` is an object or unknown, `ARRAY` a whole array."""

_KINDS = {"num": NUMBER, "int": NUMBER, "string": STRING, "char": STRING}


@dataclass(frozen=True, slots=True)
class Function:
    """A built-in function. `most` is None where there is no upper limit; `kinds` are those of its first parameters."""

    name: str
    least: int
    most: int | None
    kinds: tuple[str, ...]
    options: frozenset[str]
    returns: str
    chains: bool
    masked: bool


@dataclass(frozen=True, slots=True)
class Verb:
    """A verb with its operand shape in the table's notation and the names of its options (lower case)."""

    name: str
    shape: str
    options: frozenset[str]


def _read(name: str) -> str:
    return files("bbjspec.bbj").joinpath("data", name).read_text(encoding="utf-8")


def _lowered(names: list[str]) -> frozenset[str]:
    return frozenset(name.lower() for name in names)


@cache
def functions() -> dict[str, Function]:
    """Built-in functions by lower-case name."""
    return {
        row["name"].lower(): Function(
            name=row["name"],
            least=row["min"],
            most=row["max"],
            kinds=tuple(_KINDS.get(kind, ANY) for kind in row["types"]),
            options=_lowered(row["options"]) | {"err"},
            returns=_KINDS.get(row["returns"], ANY),
            chains=row["returns"] in ("object", "any"),
            masked=row.get("mask", False),
        )
        for row in json.loads(_read("functions.json"))
    }


@cache
def verbs() -> dict[str, Verb]:
    """Verbs by lower-case name; `FIELD (member)` is kept under that name."""
    rows = json.loads(_read("verbs.json"))["verbs"]
    return {row["verb"].lower(): Verb(row["verb"], row["shape"], _lowered(row["options"])) for row in rows}


@cache
def _rejected(role: str) -> frozenset[str]:
    rows = (line.split("\t") for line in _read("words.tsv").splitlines()[1:])
    return frozenset(row[0].lower() for row in rows if row[1] == role and row[2] == "rejected")


def bad_label(word: str) -> bool:
    """Whether bbjcpl refuses `word` (lower case) as a label."""
    return word in _rejected("label")


@lru_cache(maxsize=4096)
def bad_variable(word: str) -> bool:
    """Whether bbjcpl refuses `word` (lower case, with its suffix) as a variable. `%` is in no record: it is as `!`."""
    suffix = word[-1] if word[-1] in "$!%" else ""
    return word.rstrip("$!%") in _rejected("variable" + suffix.replace("%", "!"))
