"""`bbjspec import`: examples in Markdown, prompt/completion JSONL and ChatML rows, joined into one file of ChatML rows.

Nothing is written when anything is wrong. The same sources in the same order make the same bytes. docs/data.md says
what becomes of each format.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bbjspec.data.examples import read_example
from bbjspec.data.lines import BadLine, Line, parse_object, read_lines, too_long, write_whole
from bbjspec.data.rows import content_id, finding, parse_row
from bbjspec.errors import BadInput, Finding, UsageError

SYSTEM = "You are an expert BBj programmer who helps users write and understand BBj code."
KINDS_OF_ROWS = "messages, prompt and completion, instruction and output, or question and answer"
FIRST = ("id", "topic", "kind", "generation", "difficulty", "tags")  # fields, in the order in which rows begin

_PAIRS = (("prompt", "completion"), ("instruction", "output"), ("question", "answer"))
_SUFFIXES = (".md", ".jsonl", ".jsonl.gz")


@dataclass(frozen=True)
class Imported:
    """What was made. `skipped` are Markdown files of a folder that are documentation."""

    rows: tuple[Mapping[str, Any], ...]
    files: int
    skipped: tuple[str, ...]


@dataclass(frozen=True)
class _Source:
    """A file to read; `name` is its path below the folder that was named, or its file name, without the suffix."""

    path: Path
    name: str

    @property
    def shown(self) -> str:
        return self.path.as_posix()


@dataclass(frozen=True)
class _Draft:
    """A row and where it comes from. `id` is None when neither the source nor a file name gives one."""

    place: Finding
    id: str | None
    fields: Mapping[str, Any]

    def bad(self, path: str, message: str) -> Finding:
        return Finding(self.place.file, self.place.line, 0, path, message)


def import_rows(sources: Sequence[Path], system: str = SYSTEM) -> Imported:
    """The rows of all sources, in their order; folders are walked in the order of names.

    `system` is the system prompt of rows that have none. Raises BadInput with all errors of all files.
    """
    findings: list[Finding] = []
    skipped: list[str] = []
    files: dict[Path, _Source] = {}
    for source in sources:
        for file in _walk(source, findings, skipped):
            files.setdefault(file.path.resolve(), file)  # a file in two sources is read once
    drafts: list[_Draft] = []
    for file in files.values():
        read = _example if file.path.name.endswith(".md") else _jsonl
        drafts += read(file, system, findings)
    rows = _with_ids(drafts, findings)
    if findings:
        raise BadInput(findings)
    return Imported(tuple(rows), len(files), tuple(skipped))


def write_rows(rows: Sequence[Mapping[str, Any]], path: Path, *, force: bool = False) -> None:
    """Write the rows as JSONL, whole or not at all; `.jsonl.gz` is compressed.

    Raises UsageError for a file that is there already (unless `force`) or a place that cannot be written.
    """
    check_target(path, force=force)
    try:
        write_whole(path, "".join(f"{_line(row)}\n" for row in rows).encode())
    except OSError as error:
        raise UsageError(f"{path.as_posix()} cannot be written: {error.strerror}") from error


def check_target(path: Path, *, force: bool) -> None:
    """Raises UsageError when rows could not be written there."""
    if not path.name.endswith((".jsonl", ".jsonl.gz")):
        raise UsageError(f"rows are written to a .jsonl or .jsonl.gz file, not to {path.as_posix()}")
    if path.is_dir():
        raise UsageError(f"{path.as_posix()} is a folder; name a file")
    if path.exists() and not force:
        raise UsageError(f"{path.as_posix()} is there already; write --force to replace it")


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _walk(source: Path, findings: list[Finding], skipped: list[str]) -> Iterator[_Source]:
    """The files to read; of a folder those that can be read here, except hidden ones and documentation."""
    shown = source.as_posix()
    if source.is_file():
        if source.name.endswith(_SUFFIXES):
            yield _Source(source, _stem(source.name))
        else:
            findings.append(Finding(shown, 0, 0, "", f"{', '.join(_SUFFIXES)} is meant"))
        return
    if not source.is_dir():
        findings.append(Finding(shown, 0, 0, "", "no such file or folder"))
        return
    found = False
    for path in sorted(source.rglob("*"), key=lambda path: path.relative_to(source).as_posix()):
        below = path.relative_to(source)
        if not path.is_file() or not path.name.endswith(_SUFFIXES) or any(p.startswith(".") for p in below.parts):
            continue
        if path.suffix == ".md" and path.stem.isupper():
            skipped.append(path.as_posix())
            continue
        found = True
        yield _Source(path, _stem(below.as_posix()))
    if not found:
        findings.append(Finding(shown, 0, 0, "", f"holds no {' or '.join(_SUFFIXES)} to import"))


def _stem(name: str) -> str:
    return next(name.removesuffix(suffix) for suffix in reversed(_SUFFIXES) if name.endswith(suffix))


def _example(file: _Source, system: str, findings: list[Finding]) -> Iterator[_Draft]:
    """The one row of a Markdown file. Its id is the file's name, its topic the folder's, unless it says otherwise."""
    try:
        example = read_example(file.path, file.shown)
    except BadInput as error:
        findings += error.findings
        return
    folder = file.name.rpartition("/")[0].rpartition("/")[2]
    fields = {**({"topic": folder} if folder else {}), **example.fields}
    known = str(fields.pop("id", file.name))
    chat = _chat(system, example.question, example.answer)
    draft = _checked({"id": known, **fields, **chat}, Finding(file.shown, 1, 0, "", ""))
    if isinstance(draft, _Draft):
        yield draft
    else:
        findings.append(draft)


def _chat(system: str, question: str, answer: str) -> dict[str, Any]:
    contents = {"system": system, "user": question, "assistant": answer}
    return {"messages": [{"role": role, "content": content} for role, content in contents.items()]}


def _jsonl(file: _Source, system: str, findings: list[Finding]) -> Iterator[_Draft]:
    """The rows of a JSONL file; what is wrong with a line never hides the next."""
    found = False
    try:
        for line in read_lines(file.path):
            if isinstance(line, Line) and not line.data.strip():
                continue
            found = True
            if isinstance(line, BadLine):
                findings.append(finding(line, file.shown))
            elif not line.whole:
                findings.append(finding(too_long(line), file.shown))
            elif isinstance(draft := _row(line.data, Finding(file.shown, line.number, 0, "", ""), system), _Draft):
                yield draft
            else:
                findings.append(draft)
    except OSError as error:
        findings.append(Finding(file.shown, 0, 0, "", f"cannot be read: {error.strerror}"))
        return
    if not found:
        findings.append(Finding(file.shown, 0, 0, "", "has no rows"))


def _row(data: bytes, place: Finding, system: str) -> _Draft | Finding:
    """One line, whichever of the known kinds it is, as a draft or what is wrong with it."""
    value = parse_object(data, place.line, KINDS_OF_ROWS)
    if isinstance(value, BadLine):
        return finding(value, place.file)
    fields = dict(value)
    if isinstance(fields.get("id"), int) and not isinstance(fields["id"], bool):
        fields["id"] = str(fields["id"])
    if "messages" not in fields:
        try:
            fields = _from_pair(fields, system)
        except _Bad as bad:
            return Finding(place.file, place.line, 0, bad.path, bad.message)
    elif isinstance(chat := fields["messages"], list) and len(chat) == 2:
        fields["messages"] = [{"role": "system", "content": system}, *chat]
    return _checked(fields, place)


def _checked(fields: dict[str, Any], place: Finding) -> _Draft | Finding:
    """The row as a draft when it can be written and read again."""
    try:
        row = parse_row(_line(fields).encode(), place.line)
    except UnicodeEncodeError:
        return Finding(place.file, place.line, 0, "", "holds half a surrogate pair; take it out")
    except (ValueError, RecursionError):
        return Finding(place.file, place.line, 0, "", "holds NaN, Infinity or too deep a nesting; take it out")
    if isinstance(row, BadLine):
        return Finding(place.file, place.line, 0, row.check, row.message)
    return _Draft(place, fields.pop("id", None) or None, fields)


class _Bad(Exception):
    """What is wrong with a field of a row."""

    def __init__(self, path: str, message: str) -> None:
        self.path, self.message = path, message
        super().__init__(message)


def _from_pair(fields: dict[str, Any], system: str) -> dict[str, Any]:
    """The row of a question and an answer, whatever they are called; other fields are kept. Raises _Bad."""
    pairs = [pair for pair in _PAIRS if all(name in fields for name in pair)]
    if len(pairs) != 1:
        if pairs:
            names = " or ".join(f"{first} and {second}" for first, second in pairs)
            raise _Bad("", f"which is it, {names}? keep one pair")
        there = ", ".join(name[:40] for name in list(fields)[:8]) or "nothing"
        raise _Bad("", f"{KINDS_OF_ROWS} are meant; found {there}")
    question, answer = (_text(fields, name) for name in pairs[0])
    used = {*pairs[0], "system"}
    if pairs[0][0] == "instruction" and "input" in fields:
        used.add("input")
        if fields["input"] not in ("", None):
            question = f"{question}\n\n{_text(fields, 'input')}"
    if fields.get("system") not in ("", None):
        system = _text(fields, "system")
    return {**{name: value for name, value in fields.items() if name not in used}, **_chat(system, question, answer)}


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields[name]
    if not isinstance(value, str):
        raise _Bad(name, f"text is meant, not {_kind(value)}")
    if not value.strip():
        raise _Bad(name, "is empty")
    return value


def _kind(value: Any) -> str:
    kinds: dict[type, str] = {list: "a list", dict: "an object", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number")


def _with_ids(drafts: Sequence[_Draft], findings: list[Finding]) -> list[dict[str, Any]]:
    """The rows with their ids, each in the same order of fields. Given ids that are not unique are findings.

    Rows of the same content without ids keep their content's id, the second one with `-2` behind it, and so on: what
    is twice in the data is for the audit to say.
    """
    places: dict[str, Finding] = {}
    for draft in drafts:
        if draft.id is not None:
            first = places.setdefault(draft.id, draft.place)
            if first is not draft.place:
                message = f"{draft.id!r} stands in {first.file}:{first.line} already; ids are unique"
                findings.append(draft.bad("id", message))
    rows = []
    taken = set(places)
    for draft in drafts:
        known = draft.id or _unused(content_id([m["content"] for m in draft.fields["messages"]]), taken)
        taken.add(known)
        fields = {"id": known, **draft.fields}
        chat = fields.pop("messages")
        ordered = {name: fields[name] for name in FIRST if name in fields}
        rows.append({**ordered, **{name: fields[name] for name in fields if name not in FIRST}, "messages": chat})
    return rows


def _unused(name: str, taken: set[str]) -> str:
    number = 1
    while (found := name if number == 1 else f"{name}-{number}") in taken:
        number += 1
    return found
