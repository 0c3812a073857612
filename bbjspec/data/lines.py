"""Lines of JSONL files, plain or gzipped, in bounded memory; and files written whole or not at all."""

from __future__ import annotations

import errno
import gzip
import json
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bbjspec.digest import sha256_bytes

MAX_LINE = 8_000_000  # bytes; a longer line is no training example
BOM = b"\xef\xbb\xbf"
_HEAD = 1_000  # bytes kept of a line that is longer
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_NO_NUMBERS = ("NaN", "Infinity", "-Infinity")


@dataclass(frozen=True)
class BadLine:
    """A line that is no row: which check it fails (`json`, `roles`, `empty` or `duplicate_id`), and why.

    `line` and `column` count from 1, the column in bytes where it is known; 0 is the whole line.
    """

    line: int
    check: str
    message: str
    column: int = 0


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
    file cannot be opened or read, and for a pipe or a device, which may never end.
    """
    number = 0
    if path.exists() and not path.is_file() and not path.is_dir():
        raise OSError(errno.EINVAL, "not a file, but a pipe or a device")
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


def too_long(line: Line) -> BadLine:
    """What is wrong with a line that is not whole."""
    return BadLine(line.number, "json", f"{line.size:,} bytes long; at most {MAX_LINE:,} are a row")


def parse_object(data: bytes, line: int, holds: str) -> dict[str, Any] | BadLine:
    """The JSON object in a line, or what is wrong with it; `holds` says what would be in it."""
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
    return value if isinstance(value, dict) else BadLine(line, "json", f"a JSON object with {holds} is meant")


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


def write_whole(path: Path, data: bytes) -> None:
    """Write beside the file, sync, then rename into place; a name in .gz is compressed, the same way every time.

    Raises OSError; nothing is left behind then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with scratch.open("wb") as stream:
            stream.write(gzip.compress(data, mtime=0) if path.name.endswith(".gz") else data)
            stream.flush()
            os.fsync(stream.fileno())
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)
