"""What is wrong with one row of a suite: a table of fields for each tier, told by dotted path, with what to write."""

from __future__ import annotations

import ast
import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

TIERS = ("syntax", "factual", "general", "realistic")
DIFFICULTIES = ("basic", "intermediate", "advanced")
GENERATIONS = ("all", "character", "vpro5", "bbj-gui", "dwc")
MODES = ("write", "fix", "complete")
SCOPES = ("first_sentence", "whole")


# A check yields (place, message) for what is wrong.
Errors = Iterator[tuple[str, str]]
Check = Callable[[Any, str], Errors]


def _text(value: Any, at: str) -> Errors:
    if not isinstance(value, str):
        yield at, f"text is meant, not {_kind(value)}"
    elif not value.strip():
        yield at, "is empty; write some text"
    elif "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
        yield at, "holds a NUL or half a surrogate pair; take it out"


def _identifier(value: Any, at: str) -> Errors:
    yield from _text(value, at)
    if isinstance(value, str) and value.strip() and not re.fullmatch(r"[a-z0-9]+(?:[/._-][a-z0-9]+)*", value):
        yield at, f"{shown(value)} is no id; write small letters, digits and / . _ - between, such as 'bbj/gui/001'"


def _pattern(value: Any, at: str) -> Errors:
    errors = list(_text(value, at))
    yield from errors
    if not errors:
        try:
            re.compile(value, re.IGNORECASE)
        except (re.error, OverflowError, RecursionError) as error:
            yield at, f"{shown(value)} is no regular expression: {error}"


def _python(value: Any, at: str) -> Errors:
    errors = list(_text(value, at))
    yield from errors
    if not errors:
        try:
            ast.parse(value)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            yield at, f"no Python: {error}"


def _assertions(value: Any, at: str) -> Errors:
    errors = list(_python(value, at))
    yield from errors
    if not errors and not any(isinstance(node, ast.Assert) for node in ast.walk(ast.parse(value))):
        yield at, "asserts nothing; write assertions, such as 'assert add(1, 2) == 3'"


def _name(value: Any, at: str) -> Errors:
    if not isinstance(value, str) or not value.isidentifier():
        yield at, f"{shown(value)} is no name of a Python function"


def _choice(*choices: str) -> Check:
    def check(value: Any, at: str) -> Errors:
        if value not in choices:
            yield at, f"{shown(value)} is none of {', '.join(choices)}{_meant(value, choices)}"

    return check


def _at_least_one(value: Any, at: str) -> Errors:
    if isinstance(value, bool) or not isinstance(value, int):
        yield at, f"a whole number is meant, not {_kind(value)}"
    elif value < 1:
        yield at, f"{value} is too small; write 1 or more"


def _list(item: Check, least: int = 0) -> Check:
    def check(value: Any, at: str) -> Errors:
        if not isinstance(value, list):
            yield at, f"a list is meant, not {_kind(value)}"
            return
        if len(value) < least:
            yield at, f"{len(value)} given; at least {least} needed"
        for index, element in enumerate(value):
            yield from item(element, f"{at}[{index}]")

    return check


def _fields(table: Mapping[str, Check]) -> Check:
    def check(value: Any, at: str) -> Errors:
        if not isinstance(value, dict):
            yield at, f"an object is meant, not {_kind(value)}"
            return
        prefix = f"{at}." if at else ""
        for name in value:
            if name not in table:
                shown = name if name.isidentifier() and len(name) <= 40 else repr(name[:40])
                yield prefix + shown, f"unknown field{_elsewhere(name, table) or _meant(name, table)}"
        for name, check_field in table.items():
            if name in value:
                yield from check_field(value[name], prefix + name)
            else:
                yield prefix + name, "missing"

    return check


_COMMON: dict[str, Check] = {
    "id": _identifier,
    "tier": _choice(*TIERS),
    "category": _text,
    "difficulty": _choice(*DIFFICULTIES),
    "generation": _choice(*GENERATIONS),
    "input": _text,
    "reference": _text,
}
_CHECKS: dict[str, Check] = {
    "require": _list(_pattern),
    "forbid": _list(_pattern),
    "min_statements": _at_least_one,
    "mode": _choice(*MODES),
}
_SYNTAX: dict[str, Check] = {**_COMMON, "checks": _fields(_CHECKS)}
_FACTUAL: dict[str, Check] = {
    **_COMMON,
    "must": _list(_pattern, 1),
    "must_not": _list(_pattern),
    "scope": _choice(*SCOPES),
    "max_chars": _at_least_one,
    "pass_examples": _list(_text, 1),
    "fail_examples": _list(_text, 2),
}
_GENERAL: dict[str, Check] = {
    **_COMMON,
    "reference": _python,
    "generation": _choice("all"),
    "entry": _name,
    "tests": _assertions,
    "fail_examples": _list(_python, 2),
}
_REALISTIC: dict[str, Check] = {**_COMMON, "notes": _text}
_TABLES = {"syntax": _SYNTAX, "factual": _FACTUAL, "general": _GENERAL, "realistic": _REALISTIC}


def row_errors(row: Any) -> Errors:
    """What is wrong with one row: (dotted path, message)."""
    tier = row.get("tier") if isinstance(row, dict) else None
    if isinstance(row, dict) and tier not in TIERS:  # which fields belong to it is not known: only these are checked
        yield from _fields(_COMMON)({name: value for name, value in row.items() if name in _COMMON}, "")
        return
    yield from _fields(_TABLES[str(tier)] if isinstance(row, dict) else _SYNTAX)(row, "")


def _elsewhere(name: str, table: Mapping[str, Check]) -> str:
    """Where a field that is known, but not here, belongs; empty for a name that is known nowhere."""
    if name in _CHECKS or name == "checks":
        if table is _FACTUAL:
            return "; a factual prompt is judged by must and must_not"
        if table is _GENERAL:
            return "; a general prompt is judged by its tests"
        return "; a realistic prompt is judged by people" if table is _REALISTIC else "; it belongs in checks"
    if name in _COMMON:
        return "; it belongs to the prompt itself, not in checks"
    if owners := [tier for tier, fields in _TABLES.items() if name in fields]:
        own = next((tier for tier, fields in _TABLES.items() if fields is table), "syntax")
        has = {"syntax": "checks", "factual": "must and must_not", "general": "tests", "realistic": "notes"}[own]
        return f"; it belongs to a {' or '.join(owners)} prompt, a {own} prompt has {has}"
    return ""


def _meant(value: Any, choices: Iterable[str]) -> str:
    close = difflib.get_close_matches(value[:40].lower(), list(choices), 1) if isinstance(value, str) else []
    return f"; did you mean {close[0]!r}?" if close else ""


def shown(value: Any) -> str:
    """The value if it is a text, cut to what fits into a line; else its kind."""
    return repr(value if len(value) <= 80 else value[:77] + "...") if isinstance(value, str) else _kind(value)


def _kind(value: Any) -> str:
    names = {str: "text", bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return names.get(type(value), "null")
