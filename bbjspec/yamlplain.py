"""A quick reader of plain YAML: what most specs are, read in a twentieth of the time that a whole YAML parser takes.

It knows block mappings of lower-case fields, one-line flow collections, quoted texts without escapes, and plain scalars
that mean the same to everybody. Of anything else (anchors, tags, block lists, tabs, dates, what is wrong) it says None,
and the whole parser reads the text. It never guesses: a test holds it to the whole parser's answer on any text.
"""

from __future__ import annotations

import re
from typing import Any

MAX_DEPTH = 8

_KEY = re.compile(r"( *)([a-z][a-z0-9_]*):(?: +|$)")
_FLOW_KEY = re.compile(r"([a-z][a-z0-9_]*): +")
_NOTHING = re.compile(r" *(?:#.*)?$")
_END = re.compile(r"(?: +#.*| *)$")
_BLANKS = re.compile(r" *")
_QUOTED = re.compile(r"'([^'\\]*)'|\"([^\"\\]*)\"")
_WORD = r"[A-Za-z0-9_/.+*()=;-]"
_FLOW_PLAIN = re.compile(rf"(?:\./|[A-Za-z0-9_/]){_WORD}*(?= *[,\]}}])")
# A colon or a comment sign inside is for the whole parser to judge.
_PLAIN = re.compile(r"(?:\./|[A-Za-z0-9_/])[A-Za-z0-9_/.+*()=;,'?!-]*(?: +[A-Za-z0-9_/.+*()=;,'?!-]+)*")

_INT = re.compile(r"0|[1-9][0-9]{0,17}")
_FLOAT = re.compile(r"(?:0|[1-9][0-9]{0,17})(?:\.[0-9]{1,18})?(?:[eE][+-]?[0-9]{1,3})?")
_COMMIT = re.compile(r"(?=[0-9a-f]*[acdf])[0-9a-f]{40}")
_CONSTANTS: dict[str, Any] = {
    word: value
    for name, value in (("null", None), ("true", True), ("false", False))
    for word in (name, name.capitalize(), name.upper())
}


class _NotPlain(Exception):
    """Something that the whole parser must read."""


def read(text: str) -> dict[str, Any] | None:
    """The text's mapping, or None when this reader does not know all of it."""
    root: dict[str, Any] = {}
    levels = [(0, root)]
    empty: tuple[dict[str, Any], str] | None = None  # the last field, if it has no value yet
    try:
        for line in text.split("\n"):
            if not line.isprintable():
                return None
            if _NOTHING.match(line):
                continue
            match = _KEY.match(line)
            if match is None or match[2] in _CONSTANTS:
                return None
            indent = len(match[1])
            if indent > levels[-1][0]:
                if empty is None:
                    return None
                child: dict[str, Any] = {}
                empty[0][empty[1]] = child
                levels.append((indent, child))
            while indent < levels[-1][0]:
                levels.pop()
            here = levels[-1][1]
            if indent != levels[-1][0] or match[2] in here or len(levels) > MAX_DEPTH:
                return None
            if _NOTHING.match(line, match.end()):
                here[match[2]], empty = None, (here, match[2])
            else:
                here[match[2]], empty = _value(line, match.end()), None
    except _NotPlain:
        return None
    return root or None


def _value(line: str, start: int) -> Any:
    if line[start] in "[{'\"":
        value, end = _flow(line, start, 0)
    else:
        match = _PLAIN.match(line, start)
        if match is None:
            raise _NotPlain
        value, end = _scalar(match[0]), match.end()
    if not _END.match(line, end):
        raise _NotPlain
    return value


def _flow(line: str, at: int, depth: int) -> tuple[Any, int]:
    """The flow value at that place, and where it ends."""
    sign = line[at : at + 1]
    if sign and sign in "[{" and depth < MAX_DEPTH:
        return _collection(line, at, depth)
    if match := _QUOTED.match(line, at):
        return match[1] if match[1] is not None else match[2], match.end()
    if match := _FLOW_PLAIN.match(line, at):
        return _scalar(match[0]), match.end()
    raise _NotPlain


def _collection(line: str, at: int, depth: int) -> tuple[Any, int]:
    closing = "]" if line[at] == "[" else "}"
    items: list[Any] = []
    pairs: dict[str, Any] = {}
    at = _blanks(line, at + 1)
    if line[at : at + 1] == closing:
        return (items if closing == "]" else pairs), at + 1
    while True:
        key = ""
        if closing == "}":
            match = _FLOW_KEY.match(line, at)
            if match is None or match[1] in _CONSTANTS or match[1] in pairs:
                raise _NotPlain
            key, at = match[1], match.end()
        value, at = _flow(line, at, depth + 1)
        if closing == "}":
            pairs[key] = value
        else:
            items.append(value)
        at = _blanks(line, at)
        if line[at : at + 1] == closing:
            return (items if closing == "]" else pairs), at + 1
        if line[at : at + 1] != ",":
            raise _NotPlain
        at = _blanks(line, at + 1)


def _blanks(line: str, at: int) -> int:
    match = _BLANKS.match(line, at)
    return match.end() if match else at


def _scalar(word: str) -> Any:
    if word in _CONSTANTS:
        return _CONSTANTS[word]
    if not word[0].isdigit():
        return word
    if _INT.fullmatch(word):
        return int(word)
    if _FLOAT.fullmatch(word):
        return float(word)
    if _COMMIT.fullmatch(word):
        return word
    raise _NotPlain
