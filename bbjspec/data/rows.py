"""Rows of a dataset: reading ChatML JSONL line by line, so that one bad line never hides the next."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bbjspec.data.lines import MAX_LINE, read_lines
from bbjspec.digest import digest
from bbjspec.errors import BadInput, Finding

ROLES = ("system", "user", "assistant")


@dataclass(frozen=True)
class Row:
    """One example. `line` counts from 1. A row without an id gets one made of its content."""

    line: int
    id: str
    system: str
    question: str
    answer: str
    fields: Mapping[str, Any] = field(repr=False)

    @property
    def document(self) -> dict[str, Any]:
        """The row as it is written to train.jsonl and val.jsonl."""
        return {**self.fields, "id": self.id}

    def replaced(self, *, system: str | None = None, answer: str | None = None) -> Row:
        """The row with another system prompt or another answer, and the same id."""
        texts = (system or self.system, self.question, answer or self.answer)
        chat = [message | {"content": text} for message, text in zip(self.fields["messages"], texts, strict=True)]
        return Row(self.line, self.id, *texts, fields={**self.fields, "messages": chat})

    def has(self, name: str, value: str) -> bool:
        """Whether the field has the value, or is a list that holds it."""
        found = self.fields.get(name)
        return value in map(str, found) if isinstance(found, list) else found is not None and str(found) == value


@dataclass(frozen=True)
class BadLine:
    """A line that is no row: which check it fails (`json`, `roles` or `empty`), and why."""

    line: int
    check: str
    message: str
    column: int = 0


def normalise(text: str) -> str:
    """Text as it is compared for sameness: compatibility forms, case and white space folded."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def read_rows(path: Path) -> Iterator[Row | BadLine]:
    """Each line of the file (JSONL, or `.gz`) as a row, or what is wrong with it. Blank lines are skipped.

    Raises OSError.
    """
    for number, data in read_lines(path):
        if data is None:
            yield BadLine(number, "json", f"longer than {MAX_LINE:,} bytes")
        elif data.strip():
            yield parse_row(data, number)


def parse_row(data: bytes, line: int) -> Row | BadLine:
    """One line as a row, or what is wrong with it."""
    try:
        text = data.decode("utf-8-sig" if line == 1 else "utf-8")
        value = json.loads(text)
    except UnicodeDecodeError as error:
        return BadLine(line, "json", f"not UTF-8 at byte {error.start}", error.start + 1)
    except json.JSONDecodeError as error:
        return BadLine(line, "json", f"not JSON: {error.msg} at byte {len(text[: error.pos].encode())}", error.pos + 1)
    except (RecursionError, ValueError) as error:
        return BadLine(line, "json", f"not JSON: {type(error).__name__}")
    if not isinstance(value, dict):
        return BadLine(line, "json", "a JSON object with messages is meant")
    messages = value.get("messages")
    if not isinstance(messages, list) or len(messages) != len(ROLES):
        return BadLine(line, "roles", "messages must be three: system, user, assistant")
    contents: list[str] = []
    for message, role in zip(messages, ROLES, strict=True):
        if not isinstance(message, dict) or message.get("role") != role:
            return BadLine(line, "roles", f"message {len(contents) + 1} must have the role {role}")
        content = message.get("content")
        if not isinstance(content, str):
            return BadLine(line, "roles", f"the content of {role} must be text")
        if not content.strip():
            return BadLine(line, "empty", f"the content of {role} is empty")
        contents.append(content)
    known = value.get("id")
    if known is not None and not isinstance(known, str):
        return BadLine(line, "roles", "id must be text")
    system, question, answer = contents
    return Row(line, known or content_id(contents), system, question, answer, fields=value)


def content_id(contents: Sequence[str]) -> str:
    """The id of a row that has none: of what its system prompt, question and answer say, in that order."""
    return f"row-{digest(list(contents))}"


def load_rows(path: Path, shown: str) -> list[Row]:
    """Every row of the file. Raises BadInput with all bad lines at once, and for two rows of one id."""
    rows: list[Row] = []
    findings: list[Finding] = []
    lines: dict[str, int] = {}
    try:
        for item in read_rows(path):
            if isinstance(item, BadLine):
                findings.append(Finding(shown, item.line, item.column, item.check, item.message))
            else:
                if lines.setdefault(item.id, item.line) != item.line and item.fields.get("id"):
                    message = f"{item.id!r} stands in line {lines[item.id]} already; ids are unique"
                    findings.append(Finding(shown, item.line, 0, "id", message))
                rows.append(item)
    except OSError as error:
        raise BadInput([Finding(shown, 0, 0, "", f"cannot be read: {error.strerror}")]) from error
    if findings:
        raise BadInput(findings)
    if not rows:
        raise BadInput([Finding(shown, 0, 0, "", "has no rows")])
    return rows
