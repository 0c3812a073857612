"""YAML 1.2 with positions: a fast load that knows none, and a slow one that is only asked after an error.

Every failure is a `BadInput` whose findings name file, line and column; nothing that a file holds raises anything else.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError, YAMLStreamError

from bbjspec.errors import BadInput, Finding

MAX_BYTES = 1_000_000  # a spec is a page of text; more is a mistake or an attack
MAX_NODES = 20_000  # after anchors are expanded
MAX_DEPTH = 60


def read_text(path: Path, name: str) -> str:
    """The file's text. Raises BadInput, naming the file `name`, when it is missing, no file, too large or not UTF-8."""

    def bad(message: str, line: int = 0, column: int = 0) -> BadInput:
        return BadInput([Finding(name, line, column, "", message)])

    try:
        if not path.is_file():
            raise bad("no such file" if not path.exists() else "not a file")
        if path.stat().st_size > MAX_BYTES:
            raise bad(f"larger than {MAX_BYTES:,} bytes; a spec is a page of text")
        data = path.read_bytes()
    except OSError as error:
        raise bad(f"cannot be read: {error.strerror}") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        line = before.count(b"\n") + 1
        raise bad("not UTF-8; save the file as UTF-8", line, error.start - before.rfind(b"\n")) from error


def load(path: Path, name: str) -> dict[str, Any]:
    """The file's top mapping, as plain dicts, lists and scalars. Raises BadInput."""
    text = read_text(path, name)
    value = _parse(text, name, "safe")
    if value is None:
        raise BadInput([Finding(name, 1, 1, "", "empty; an experiment needs at least model, data and eval")])
    if not isinstance(value, dict):
        raise BadInput([Finding(name, 1, 1, "", f"a mapping of sections is meant, not a {_kind(value)}")])
    _check_size(value, name)
    return value


def locate(path: Path, name: str, at: Sequence[str | int], *, key: bool) -> tuple[int, int]:
    """Line and column, from 1, of the value at that place of the file, or of its key; (0, 0) when there is none.

    Where the place does not exist (a missing field), the deepest ancestor that does is given.
    """
    node: Any
    try:
        node = _parse(read_text(path, name), name, "rt")
    except BadInput:
        return (0, 0)
    place: tuple[int, int] = (1, 1)
    for depth, step in enumerate(at):
        try:
            marks: Any = node.lc
            by_key = isinstance(node, dict) and (key or depth < len(at) - 1)
            mark = marks.key(step) if by_key else marks.item(step) if isinstance(node, list) else marks.value(step)
            node = node[step]
        except (KeyError, IndexError, TypeError, AttributeError):
            break
        place = (mark[0] + 1, mark[1] + 1)
    return place


def _parse(text: str, name: str, flavour: str) -> Any:
    yaml = YAML(typ=flavour, pure=True)
    limit = sys.getrecursionlimit()
    try:
        return yaml.load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        said = (error.problem or error.context or "not YAML").split("\n")[0]
        if "duplicate key" in said:
            said = said.split(" with value")[0].replace("found ", "") + ": each field stands once"
        raise BadInput([Finding(name, line, column, "", said)]) from error
    except YAMLStreamError as error:
        raise BadInput([Finding(name, 0, 0, "", "not YAML: " + str(error).split("\n")[0])]) from error
    except RecursionError as error:
        raise BadInput(
            [Finding(name, 0, 0, "", f"nested deeper than {limit // 10}; a spec has three levels")]
        ) from error
    except (YAMLError, ValueError, TypeError, AttributeError, KeyError, IndexError, AssertionError) as error:
        # ruamel's own parser raises these for some malformed scalars (a date of month 13, say).
        said = str(error).split("\n")[0] or type(error).__name__
        line, column = _reader_place(text, error)
        raise BadInput([Finding(name, line, column, "", f"not YAML: {said}")]) from error


def _reader_place(text: str, error: Exception) -> tuple[int, int]:
    position = getattr(error, "position", None)
    if not isinstance(position, int):
        return (0, 0)
    before = text[:position]
    return (before.count("\n") + 1, position - before.rfind("\n"))


def _check_size(value: Any, name: str) -> None:
    """Raises BadInput for a structure that anchors blow up, that is nested too deep, or whose keys are not text."""
    stack: list[tuple[Any, int]] = [(value, 1)]
    nodes = 0
    while stack:
        node, depth = stack.pop()
        nodes += 1
        if nodes > MAX_NODES:
            raise BadInput([Finding(name, 0, 0, "", f"more than {MAX_NODES:,} values once anchors are expanded")])
        if depth > MAX_DEPTH:
            raise BadInput([Finding(name, 0, 0, "", f"nested deeper than {MAX_DEPTH}; a spec has three levels")])
        if isinstance(node, dict):
            for field in node:
                if not isinstance(field, str):
                    raise BadInput([Finding(name, 0, 0, "", f"a field's name is text, not {field!r}")])
            stack.extend((child, depth + 1) for child in node.values())
        elif isinstance(node, list):
            stack.extend((child, depth + 1) for child in node)


def _kind(value: Any) -> str:
    return {list: "list", str: "text", bool: "truth value", int: "number", float: "number"}.get(type(value), "scalar")
