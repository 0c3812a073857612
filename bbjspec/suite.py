"""The suite: prompts with what their answers are judged by, read from JSONL, and the parts of it that stages consume.

One JSON object a line, blank lines ignored. Fields that every prompt has: `id`, `tier`, `category`, `difficulty`,
`generation`, `input` (the question, as the model sees it), `reference` (an answer that passes). A syntax prompt adds
`checks`, a factual one `must`, `must_not`, `scope`, `max_chars`, `pass_examples`, `fail_examples`. Patterns are Python
regular expressions, applied without regard to case: `require` and `forbid` to the program without its comments and
strings, `must` and `must_not` to the answer's text within `scope`.

What needs a compiler (do references compile and meet their checks?) is not looked at here: planning reads suites too.
"""

from __future__ import annotations

import difflib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bbjspec.digest import canonical, sha256_bytes
from bbjspec.errors import BadInput, Finding

TIERS = ("syntax", "factual")
DIFFICULTIES = ("basic", "intermediate", "advanced")
GENERATIONS = ("all", "character", "vpro5", "bbj-gui", "dwc")
MODES = ("write", "fix", "complete")
SCOPES = ("first_sentence", "whole")
VIEWS = ("input", "checks", "leakage")
MAX_LINE = 1_000_000  # bytes; a prompt is a page of text, a longer line is another kind of file


@dataclass(frozen=True)
class Checks:
    """What a program must hold besides compiling. `min_statements` counts non-trivial statements."""

    require: tuple[str, ...]
    forbid: tuple[str, ...]
    min_statements: int
    mode: str


@dataclass(frozen=True)
class Prompt:
    """One task of the suite. `checks` is None for a factual prompt; `scope` and `max_chars` are for a syntax prompt."""

    id: str
    tier: str
    category: str
    difficulty: str
    generation: str
    input: str
    reference: str
    checks: Checks | None = None
    must: tuple[str, ...] = ()
    must_not: tuple[str, ...] = ()
    scope: str | None = None
    max_chars: int | None = None
    pass_examples: tuple[str, ...] = ()
    fail_examples: tuple[str, ...] = ()


def load_prompts(paths: Sequence[Path]) -> tuple[Prompt, ...]:
    """All prompts of the files, sorted by id. Raises BadInput with every error of every file."""
    findings: list[Finding] = []
    prompts: dict[str, Prompt] = {}
    places: dict[str, str] = {}
    for path in paths:
        found = 0
        for line, row in _rows(path, findings):
            found += 1
            errors = [Finding(str(path), line, 0, at, message) for at, message in _row_errors(row)]
            identifier = row.get("id") if isinstance(row, dict) else None
            if isinstance(identifier, str) and identifier in places:
                message = f"{_shown(identifier)} is taken by {places[identifier]}; ids are unique across all files"
                errors.append(Finding(str(path), line, 0, "id", message))
            elif isinstance(identifier, str):
                places[identifier] = f"{path}:{line}"
            findings += errors
            if not errors:
                prompts[row["id"]] = _prompt(row)
        if not found and not any(finding.file == str(path) for finding in findings):
            findings.append(Finding(str(path), 0, 0, "", "empty; one JSON object a line is expected"))
    if findings:
        raise BadInput(findings)
    return tuple(prompts[name] for name in sorted(prompts))


def view_bytes(prompts: Iterable[Prompt], view: str) -> bytes:
    """Canonical JSON of what one stage sees of the suite, whatever the order of the prompts.

    `input`: what generation sees; `checks`: all that scoring sees; `leakage`: what is compared with training data.
    Raises ValueError for another view.
    """
    if view not in VIEWS:
        raise ValueError(f"unknown view {view!r}; there are {', '.join(VIEWS)}")
    rows = [asdict(prompt) for prompt in sorted(prompts, key=lambda prompt: prompt.id)]
    if view != "checks":
        keep = ("id", "tier", "input") if view == "input" else ("id", "input", "reference")
        rows = [{name: row[name] for name in keep} for row in rows]
    return canonical(rows)


def suite_hash(prompts: Iterable[Prompt]) -> str:
    """SHA-256 (64 hex digits) of the `checks` view: results of different suites are not comparable."""
    return sha256_bytes(view_bytes(prompts, "checks"))


def _prompt(row: Mapping[str, Any]) -> Prompt:
    """A checked row as a Prompt."""
    fields: dict[str, Any] = _tuples(row)
    if "checks" in row:
        fields["checks"] = Checks(**_tuples(row["checks"]))
    return Prompt(**fields)


def _tuples(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in row.items()}


def _rows(path: Path, findings: list[Finding]) -> Iterator[tuple[int, Any]]:
    """The values of a JSONL file with their line numbers; what cannot be read is added to `findings`."""
    for line, data in _lines(path, findings):
        try:
            text = data.decode("utf-8").rstrip("\r\n")
            if text.strip():
                yield line, json.loads(text, object_pairs_hook=_object)
        except UnicodeDecodeError as error:
            findings.append(Finding(str(path), line, error.start + 1, "", "not UTF-8; save the file as UTF-8"))
        except json.JSONDecodeError as error:
            findings.append(Finding(str(path), line, error.colno, "", f"not JSON: {error.msg}"))
        except (ValueError, RecursionError) as error:  # a name given twice, a number of 5,000 digits, 10,000 brackets
            reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
            findings.append(Finding(str(path), line, 0, "", f"not JSON as meant here: {reason}"))


def _lines(path: Path, findings: list[Finding]) -> Iterator[tuple[int, bytes]]:
    """The lines of a file and their numbers, from 1, never holding more than MAX_LINE bytes."""
    try:
        if not path.is_file():
            findings.append(Finding(str(path), 0, 0, "", "not a file" if path.exists() else "no such file"))
            return
        with path.open("rb") as stream:
            line = 0
            while data := stream.readline(MAX_LINE + 1):
                line += 1
                if len(data) > MAX_LINE:
                    findings.append(Finding(str(path), line, 0, "", f"longer than {MAX_LINE:,} bytes"))
                    return
                yield line, data
    except OSError as error:
        findings.append(Finding(str(path), 0, 0, "", f"cannot be read: {error.strerror}"))


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object whose names are all different. Raises ValueError."""
    value = dict(pairs)
    if len(value) < len(pairs):
        name = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"{_shown(name)} is given twice")
    return value


# Checking: a table of fields for each kind of object; a check yields (place, message) for what is wrong.

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
        yield at, f"{_shown(value)} is no id; write small letters, digits and / . _ - between, such as 'bbj/gui/001'"


def _pattern(value: Any, at: str) -> Errors:
    errors = list(_text(value, at))
    yield from errors
    if not errors:
        try:
            re.compile(value, re.IGNORECASE)
        except (re.error, OverflowError, RecursionError) as error:
            yield at, f"{_shown(value)} is no regular expression: {error}"


def _choice(*choices: str) -> Check:
    def check(value: Any, at: str) -> Errors:
        if value not in choices:
            yield at, f"{_shown(value)} is none of {', '.join(choices)}{_meant(value, choices)}"

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


def _row_errors(row: Any) -> Errors:
    """What is wrong with one row: (dotted path, message)."""
    tier = row.get("tier") if isinstance(row, dict) else None
    if isinstance(row, dict) and tier not in TIERS:  # which fields belong to it is not known: only these are checked
        yield from _fields(_COMMON)({name: value for name, value in row.items() if name in _COMMON}, "")
        return
    yield from _fields(_FACTUAL if tier == "factual" else _SYNTAX)(row, "")


def _elsewhere(name: str, table: Mapping[str, Check]) -> str:
    """Where a field that is known, but not here, belongs; empty for a name that is known nowhere."""
    if name in _CHECKS or name == "checks":
        return "; a factual prompt is judged by must and must_not" if "must" in table else "; it belongs in checks"
    if name in _COMMON:
        return "; it belongs to the prompt itself, not in checks"
    return "; it belongs to a factual prompt, a syntax prompt has checks" if name in _FACTUAL else ""


def _meant(value: Any, choices: Iterable[str]) -> str:
    close = difflib.get_close_matches(value[:40].lower(), list(choices), 1) if isinstance(value, str) else []
    return f"; did you mean {close[0]!r}?" if close else ""


def _shown(value: Any) -> str:
    """The value if it is a text, cut to what fits into a line; else its kind."""
    return repr(value if len(value) <= 80 else value[:77] + "...") if isinstance(value, str) else _kind(value)


def _kind(value: Any) -> str:
    names = {str: "text", bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return names.get(type(value), "null")
