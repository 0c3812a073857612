"""New specs from old ones: a copy that keeps comments and order, or a short spec that extends."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.scalarstring import ScalarString

from bbjspec import yamlio
from bbjspec.errors import BadInput, Finding, UsageError
from bbjspec.spec import load_experiment
from bbjspec.spec.names import experiment_name, no_such

SCHEMA_LINE = "# yaml-language-server: $schema={}schema.json"
_PATH = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")


def new_spec(folder: Path, name: str, *, source: str, extends: bool, changes: Sequence[str]) -> Path:
    """Write `folder/name.yaml`: a copy of `source` with the changes, or, with `extends`, the changes alone.

    A copy names `source` as its parent, and no other line of it changes but for what is asked.

    A change is `section.field=value`, the value in YAML. Raises UsageError for a target that exists, a source that does
    not, and a change that is none; BadInput when the result would be no good spec. Then nothing is written.
    """
    target = folder / f"{name}.yaml"
    experiment_name(target)
    shown = f"experiments/{target.name}"
    if target.exists() or target.is_symlink():
        raise UsageError(f"{shown} exists; choose another name, or edit it")
    parent = folder / f"{source}.yaml"
    if not parent.is_file():
        raise UsageError(no_such(source, (path.stem for path in folder.glob("*.yaml"))))
    wanted = [_change(change) for change in changes]
    text = _extending(source, wanted) if extends else _copied(parent, wanted)
    try:
        load_experiment(target, shown, text)
    except BadInput as error:
        # The file is not there, so its lines are nobody's; fields are what the person typed.
        raise BadInput(
            replace(finding, line=0, column=0, file=f"{shown} (not written)") if finding.file == shown else finding
            for finding in error.findings
        ) from error
    try:
        with target.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError as error:
        raise UsageError(f"{shown} exists; choose another name, or edit it") from error
    return target


def _change(change: str) -> tuple[list[str], Any]:
    path, sign, value = change.partition("=")
    path = path.strip()
    if not sign or not _PATH.fullmatch(path):
        raise UsageError("--set wants section.field=value, such as --set lora.r=16")
    try:
        yamlio.parse_value(value)
        return path.split("."), _round_trip().load(value)
    except BadInput as error:
        said = error.findings[0].message if error.findings else str(error)
        raise UsageError(f"--set {path}: the value is not YAML: {said}") from error


def _round_trip() -> Any:
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096  # never fold a line that a person wrote
    yaml.representer.add_representer(type(None), _null)
    return yaml


def _null(representer: Any, _: None) -> Any:
    return representer.represent_scalar("tag:yaml.org,2002:null", "null")


def _copied(parent: Path, changes: Sequence[tuple[list[str], Any]]) -> str:
    shown = f"experiments/{parent.name}"
    text = yamlio.read_text(parent, shown)
    yamlio.parse(text, shown)  # for its findings: round-trip loading has none
    if not changes and (named := _with_parent(text, parent.stem)):
        return named
    yaml = _round_trip()
    lists = re.search(r"^( *)[^\s#-][^\n]*:[^\S\n]*\n(?:\s*#[^\n]*\n)*( *)- ", text, re.MULTILINE)
    if lists and len(lists[2]) > len(lists[1]):
        yaml.indent(mapping=2, sequence=len(lists[2]) - len(lists[1]) + 2, offset=len(lists[2]) - len(lists[1]))
    document = yaml.load(text)
    for path, value in changes:
        _set(document, path, value)
    changed = _dumped(yaml, document)
    if any(path == ["parent"] for path, _ in changes):
        return changed
    named = _with_parent(changed, parent.stem)
    if not named:  # no block of lines, such as JSON
        document.insert(0, "parent", parent.stem)
        named = _dumped(yaml, document)
    return named


def _with_parent(text: str, parent: str) -> str:
    """The text with the line that names its parent before its first field; nothing where it is no block of lines."""
    line = f"parent: {parent}\n"
    if re.search(r"^parent:", text, re.MULTILINE):
        return re.sub(r"^parent:[^\n]*\n?", line, text, count=1, flags=re.MULTILINE)
    first = re.search(r"^[A-Za-z_]+:", text, re.MULTILINE)
    return text[: first.start()] + line + text[first.start() :] if first else ""


def _extending(source: str, changes: Sequence[tuple[list[str], Any]]) -> str:
    document = CommentedMap()
    for path, value in changes:
        _set(document, path, value)
    body = _dumped(_round_trip(), document) if document else ""
    extends = _dumped(_round_trip(), CommentedMap(extends=source))
    return f"{SCHEMA_LINE.format('')}\n{extends}" + (f"\n{body}" if body else "")


def _set(document: Any, path: list[str], value: Any) -> None:
    node = document
    for step in path[:-1]:
        below = node.get(step)
        if below is None:
            below = node[step] = CommentedMap()
        if not isinstance(below, CommentedMap):
            raise BadInput([Finding("", 0, 0, ".".join(path), f"{step} holds a value here, not fields")])
        node = below
    old = node.get(path[-1])
    # A quoted text stays quoted.
    node[path[-1]] = type(old)(value) if isinstance(old, ScalarString) and type(value) is str else value


def _dumped(yaml: Any, document: Any) -> str:
    stream = io.StringIO()
    yaml.dump(document, stream)
    return stream.getvalue()
