"""Rows of a dataset: reading ChatML JSONL line by line, so that one bad line never hides the next."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bbjspec.data.lines import BadLine, parse_object, read_lines, too_long
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


def normalise(text: str) -> str:
    """Text as it is compared for sameness: compatibility forms, case and white space folded."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def read_rows(path: Path) -> Iterator[Row | BadLine]:
    """Each line of the file as a row, or what is wrong with it. Blank lines are skipped. Raises OSError."""
    for line in read_lines(path):
        if isinstance(line, BadLine):
            yield line
        elif not line.whole:
            yield too_long(line)
        elif line.data.strip():
            yield parse_row(line.data, line.number)


def parse_row(data: bytes, line: int) -> Row | BadLine:
    """One line as a row, or what is wrong with it."""
    value = parse_object(data, line, "messages")
    if isinstance(value, BadLine):
        return value
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


def same_id(row: Row, first: int) -> BadLine:
    """What is wrong with a row whose id another row has."""
    return BadLine(row.line, "duplicate_id", f"{row.id!r} stands in line {first} already; ids are unique")


def finding(bad: BadLine, shown: str) -> Finding:
    """The bad line as an error message has it; `shown` names the file."""
    return Finding(shown, bad.line, bad.column, bad.check, bad.message)


def unreadable(shown: str, error: OSError) -> BadInput:
    """What a file that cannot be read is told with."""
    return BadInput([Finding(shown, 0, 0, "", f"cannot be read: {error.strerror or error}")])


def load_rows(path: Path, shown: str) -> list[Row]:
    """Every row of the file. Raises BadInput with all bad lines at once, and for two rows of one id.

    Rows of the same content that have no ids are all there: the second one's is `row-…-2`.
    """
    rows: list[Row] = []
    findings: list[Finding] = []
    lines: dict[str, int] = {}
    try:
        for item in read_rows(path):
            if isinstance(item, BadLine):
                findings.append(finding(item, shown))
                continue
            if item.id in lines and item.fields.get("id"):
                findings.append(finding(same_id(item, lines[item.id]), shown))
            number, known = 2, item.id
            while item.id in lines:  # the same content again
                item, number = replace(item, id=f"{known}-{number}"), number + 1
            lines[item.id] = item.line
            rows.append(item)
    except OSError as error:
        raise unreadable(shown, error) from error
    if findings:
        raise BadInput(findings)
    if not rows:
        raise BadInput([Finding(shown, 0, 0, "", "has no rows")])
    return rows
