"""YAML 1.2 with positions: a fast load that knows none, and a slow one that is only asked after an error.

Every failure is a `BadInput` whose findings name file, line and column; nothing that a file holds raises anything else.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer, ComposerError
from ruamel.yaml.error import MarkedYAMLError, YAMLError, YAMLStreamError

from bbjspec import yamlplain
from bbjspec.errors import BadInput, Finding

MAX_BYTES = 200_000  # a spec is a page of text; more is a mistake or an attack
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
    return parse(read_text(path, name), name)


def parse(text: str, name: str, needs: str = "an experiment needs at least model, data and eval") -> dict[str, Any]:
    """The text's top mapping, as plain dicts, lists and scalars. `needs` tells whoever wrote nothing what is meant.

    Raises BadInput.
    """
    value = yamlplain.read(text)
    if value is None:
        value = _parse(text, name, "safe")
    if value is None:
        raise BadInput([Finding(name, 1, 1, "", f"empty; {needs}")])
    if not isinstance(value, dict):
        raise BadInput([Finding(name, 1, 1, "", f"a mapping of sections is meant, not a {_kind(value)}")])
    _check_size(value, text, name)
    return value


def parse_value(text: str) -> Any:
    """One YAML value, as a command line has it. Raises BadInput."""
    value = _parse(text, "", "safe")
    _check_size({"": value}, text, "")
    return value


class Places:
    """Where the values of a text stand. It is parsed once, when the first place is asked for."""

    def __init__(self, text: str, name: str) -> None:
        self._text = text
        self._name = name

    @cached_property
    def _root(self) -> Any:
        try:
            return _parse(self._text, self._name, "rt")
        except BadInput:
            return None

    def locate(self, at: Sequence[str | int], *, key: bool) -> tuple[int, int]:
        """Line and column, from 1, of the value at that place, or of its key; (0, 0) when the text is not YAML.

        Where the place does not exist (a missing field), the deepest ancestor that does is given.
        """
        node = self._root
        if node is None:
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


class _BoundedComposer(Composer):
    """Counts what anchors and merge keys stand for before anything expands them: merging multiplies first."""

    def get_single_node(self) -> Any:
        root = super().get_single_node()
        sizes: dict[int, int] = {}
        being_counted: set[int] = set()

        def size(node: Any) -> int:
            key = id(node)
            if key in being_counted:
                raise ComposerError(problem="an anchor that holds itself", problem_mark=node.start_mark)
            if key not in sizes:
                total = 1
                if isinstance(node.value, list):
                    being_counted.add(key)
                    for entry in node.value:
                        total += size(entry[0]) + size(entry[1]) if isinstance(entry, tuple) else size(entry)
                    being_counted.remove(key)
                sizes[key] = total
            return sizes[key]

        if root is not None and size(root) > MAX_NODES:
            raise ComposerError(problem=f"more than {MAX_NODES:,} values once anchors are expanded")
        return root


def compose(text: str, name: str) -> Any:
    """The text as a tree of nodes with their marks, None when it is empty; for files that are not specs, of any size.

    Aliases are not expanded. Raises BadInput.
    """
    return _told(YAML(typ="safe", pure=True).compose, text, name)


def _parse(text: str, name: str, flavour: str) -> Any:
    yaml = YAML(typ=flavour, pure=True)
    yaml.Composer = _BoundedComposer
    return _told(yaml.load, text, name)


def _told(read: Callable[[str], Any], text: str, name: str) -> Any:
    """What `read` makes of the text. Raises BadInput for whatever goes wrong."""
    limit = sys.getrecursionlimit()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an anchor that is set again is legal, and nothing for stderr
            return read(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        said = (error.problem or error.context or "not YAML").split("\n")[0]
        if "another document" in said:
            said = "a second document begins here; one a file is meant"
        elif "'\\t'" in said:
            said = "a tab; YAML is indented with spaces"
        elif "constructor for the tag" in said:
            said = f"the tag {said.rpartition('tag ')[2]}; values are written without tags"
        elif "duplicate key" in said:
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
        if "integer string conversion" in said:
            said = f"a number of more than {sys.get_int_max_str_digits():,} digits"
        line, column = _reader_place(text, error)
        raise BadInput([Finding(name, line, column, "", f"not YAML: {said}")]) from error


def _reader_place(text: str, error: Exception) -> tuple[int, int]:
    position = getattr(error, "position", None)
    if not isinstance(position, int):
        return (0, 0)
    before = text[:position]
    return (before.count("\n") + 1, position - before.rfind("\n"))


def _check_size(value: Any, text: str, name: str) -> None:
    """Raises BadInput for a structure that anchors blow up, that is nested too deep, or whose keys are not text."""

    def bad(message: str, at: Sequence[Any] = ()) -> BadInput:
        place = Places(text, name).locate(at, key=True) if at else (0, 0)
        return BadInput([Finding(name, *place, "", message)])

    stack: list[tuple[Any, tuple[Any, ...]]] = [(value, ())]
    nodes = 0
    while stack:
        node, at = stack.pop()
        nodes += 1
        if nodes > MAX_NODES:
            raise bad(f"more than {MAX_NODES:,} values once anchors are expanded")
        if len(at) >= MAX_DEPTH:
            raise bad(f"nested deeper than {MAX_DEPTH}; a spec has three levels", at[:4])
        if isinstance(node, dict):
            for field in node:
                if not isinstance(field, str):
                    raise bad(f"a field's name is text, not {str(field)[:40]}", (*at, field))
            stack.extend((child, (*at, field)) for field, child in node.items())
        elif isinstance(node, list):
            stack.extend((child, (*at, index)) for index, child in enumerate(node))


def _kind(value: Any) -> str:
    return {list: "list", str: "text", bool: "truth value", int: "number", float: "number"}.get(type(value), "scalar")
