"""From text to logical lines: line ends, continuations, line numbers and labels.

A line with `:` in column 1 continues the line before; the colon goes and the rest is joined, even inside a string. A
line that begins `::file::Class` is a statement of its own. Every piece keeps the physical line that it came from.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate
from typing import NamedTuple

_LINE_END = re.compile(r"\r\n|\n|\r")
_OWN_STATEMENT = re.compile(r"::[^:\s](?:[^:]|:(?!:)){0,4096}::[A-Za-z_]")
_NUMBER = re.compile(r"[ \t]*([0-9]+)(?:(?=[ \t])|$|(?=:))")
_LABEL = re.compile(r"[ \t]*(?!rem[ \t]*:)([a-z_][a-z0-9_]*)[ \t]*:(?!:)", re.ASCII | re.IGNORECASE)


class LogicalLine(NamedTuple):
    """A line after joining. `starts[i]` is the offset in `text` at which physical line `numbers[i]` (from 1) begins.

    `number` is the line number in front, `label` the label (as written), `body` the offset of what follows them.
    """

    text: str
    starts: tuple[int, ...]
    numbers: tuple[int, ...]
    number: int | None
    label: str | None
    body: int

    def physical(self, offset: int) -> int:
        """The physical line, from 1, of the character at `offset` of `text`."""
        return self.numbers[max(bisect_right(self.starts, offset) - 1, 0)]


EMPTY = LogicalLine("", (0,), (1,), None, None, 0)


def physical_lines(source: str) -> list[str]:
    """The lines of a file, ended by CRLF, LF or CR, without a byte order mark or a closing Ctrl-Z."""
    lines = _LINE_END.split(source.removeprefix("\ufeff").removesuffix("\x1a"))
    return lines[:-1] if lines[-1] == "" else lines


def logical_lines(lines: list[str]) -> Iterator[LogicalLine]:
    """Logical lines of physical ones, in order; blank ones are left out."""
    pieces: list[str] = []
    first = 1
    for count, line in enumerate(lines, start=1):
        if line.startswith(":") and pieces and not _OWN_STATEMENT.match(line):
            pieces.append(line[1:])
            continue
        if any(piece.strip() for piece in pieces):
            yield _assemble(pieces, first)
        pieces, first = [line], count
    if any(piece.strip() for piece in pieces):
        yield _assemble(pieces, first)


def _assemble(pieces: list[str], first: int) -> LogicalLine:
    text = pieces[0] if len(pieces) == 1 else "".join(pieces)
    starts = tuple(accumulate(map(len, pieces[:-1]), initial=0))
    number, label, body = None, None, 0
    if match := _NUMBER.match(text):
        number, body = int(match[1][:9]), match.end()
    if match := _LABEL.match(text, body):
        label, body = match[1], match.end()
    return LogicalLine(text, starts, tuple(range(first, first + len(pieces))), number, label, body)
