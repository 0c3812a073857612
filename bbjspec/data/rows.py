"""Rows of a dataset: reading ChatML JSONL line by line, so that one bad line never hides the next."""

from __future__ import annotations

import gzip
import json
import unicodedata
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bbjspec.digest import digest, sha256_bytes
from bbjspec.errors import BadInput, Finding

ROLES = ("system", "user", "assistant")
MAX_LINE = 8_000_000  # bytes; a longer line is no training example
BOM = b"\xef\xbb\xbf"
_HEAD = 1_000  # bytes kept of a line that is longer
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_NO_NUMBERS = ("NaN", "Infinity", "-Infinity")


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

    def has(self, name: str, value: str) -> bool:
        """Whether the field has the value, or is a list that holds it."""
        found = self.fields.get(name)
        return value in map(str, found) if isinstance(found, list) else found is not None and str(found) == value


@dataclass(frozen=True)
class BadLine:
    """A line that is no row: which check it fails (`json`, `roles`, `empty` or `duplicate_id`), and why.

    `line` and `column` count from 1, the column in bytes where it is known; 0 is the whole line.
    """

    line: int
    check: str
    message: str
    column: int = 0


def normalise(text: str) -> str:
    """Text as it is compared for sameness: compatibility forms, case and white space folded."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


@dataclass(frozen=True)
class Line:
    """A line of a file as it stands there, with its end. `number` counts from 1.

    Of a line of more than MAX_LINE bytes `data` is only the beginning; `size` counts all its bytes.
    """

    number: int
    data: bytes = field(repr=False)
    size: int

    @property
    def whole(self) -> bool:
        """Whether `data` is the whole line."""
        return len(self.data) == self.size

    @property
    def fingerprint(self) -> str:
        """16 hex digits of the line's content: whether a line is still the one that was looked at."""
        content = self.data.removeprefix(BOM).rstrip(b"\r\n")
        return sha256_bytes(content if self.whole else b"%d " % self.size + content)[:16]


def read_lines(path: Path) -> Iterator[Line | BadLine]:
    """The lines of a file, blank ones included; of a `.gz` file what it unpacks to.

    What ends the reading early (a gzip file cut short, a file in UTF-16) is a last `BadLine`. Raises OSError where the
    file cannot be opened or read.
    """
    number = 0
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as stream:
            while data := stream.readline(MAX_LINE):
                number += 1
                if number == 1 and data.startswith(_UTF16):
                    yield BadLine(1, "json", "UTF-16, not UTF-8; save the file as UTF-8", 1)
                    return
                head, size = data, len(data)
                while size >= MAX_LINE and not data.endswith(b"\n") and (data := stream.readline(MAX_LINE)):
                    size += len(data)
                yield Line(number, head if size == len(head) else head[:_HEAD], size)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        said = "ends in the middle: it was cut short" if isinstance(error, EOFError) else f"is damaged: {error}"
        yield BadLine(number + 1, "json", f"the gzip file {said}")


def read_rows(path: Path) -> Iterator[Row | BadLine]:
    """Each line of the file as a row, or what is wrong with it. Blank lines are skipped. Raises OSError."""
    for line in read_lines(path):
        if isinstance(line, BadLine):
            yield line
        elif not line.whole:
            yield BadLine(line.number, "json", f"{line.size:,} bytes long; at most {MAX_LINE:,} are a row")
        elif line.data.strip():
            yield parse_row(line.data, line.number)


def parse_row(data: bytes, line: int) -> Row | BadLine:
    """One line as a row, or what is wrong with it."""
    try:
        text = data.removeprefix(BOM if line == 1 else b"").decode()
        value = json.loads(text, parse_constant=_no_number)
        if "\\ud" in text.lower():
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeDecodeError as error:
        return BadLine(line, "json", f"not UTF-8 at byte {error.start}", error.start + 1)
    except UnicodeEncodeError:
        return BadLine(line, "json", r"half a surrogate pair (\ud800 to \udfff alone), which is no text")
    except json.JSONDecodeError as error:
        return _not_json(data, text, line, error)
    except (RecursionError, ValueError) as error:
        return BadLine(line, "json", f"not JSON: {error if str(error) in _NO_NUMBERS else type(error).__name__}")
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
    return Row(line, known or f"row-{digest(contents)}", system, question, answer, fields=value)


def _no_number(name: str) -> float:
    raise ValueError(name)


def _not_json(data: bytes, text: str, line: int, error: json.JSONDecodeError) -> BadLine:
    """Where the line stops being JSON, and what may have happened to it."""
    at = len(text[: error.pos].encode())
    why = f"not JSON: {error.msg} at byte {at}"
    if b"\0" in data:
        why += "; the line holds NUL bytes"
    elif not data.endswith(b"\n") and text[error.pos :].count("\n") == 0 and _cut_short(text):
        why += "; the file ends in the middle of this line"
    return BadLine(line, "json", why, at + 1)


def _cut_short(text: str) -> bool:
    """Whether an object begins here and never ends."""
    return text.lstrip().startswith("{") and not text.rstrip().endswith("}")


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
    """Every row of the file. Raises BadInput with all bad lines at once, and for two rows of one id."""
    rows: list[Row] = []
    findings: list[Finding] = []
    lines: dict[str, int] = {}
    try:
        for item in read_rows(path):
            if isinstance(item, BadLine):
                findings.append(finding(item, shown))
            else:
                if lines.setdefault(item.id, item.line) != item.line and item.fields.get("id"):
                    findings.append(finding(same_id(item, lines[item.id]), shown))
                rows.append(item)
    except OSError as error:
        raise unreadable(shown, error) from error
    if findings:
        raise BadInput(findings)
    if not rows:
        raise BadInput([Finding(shown, 0, 0, "", "has no rows")])
    return rows
