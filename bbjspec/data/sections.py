"""Markdown as far as an example needs it: front matter, `##` sections, and in them text and fenced blocks by line.

Fences are CommonMark's (spec 0.31, section 4.5), but an unclosed one is an error: it swallows the rest of the file.
What is taken apart here can be put together again without a change.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from bbjspec.errors import BadInput, Finding

MAX_BYTES = 1_000_000  # an example is a page of text; more is another kind of file

_OPENING = re.compile(r"( {0,3}(`{3,}(?=[^`]*$)|~{3,}))[ \t]*(\S*)(.*)")
_CLOSING = re.compile(r" {0,3}(`{3,}|~{3,})[ \t]*$")
_HEADING = re.compile(r" {0,3}##[ \t]+(.*?)(?:[ \t]+#+)?[ \t]*$")
_SUBHEADING = re.compile(r" {0,3}###[ \t]+(.*?)(?:[ \t]+#+)?[ \t]*$")


@dataclass(frozen=True)
class Piece:
    """Lines that belong together: a fenced block with its fences, or text between blocks. `line` counts from 1."""

    line: int
    lines: tuple[str, ...]
    tag: str | None = None  # of a block: the first word of its info string, in lower case; None for text

    @property
    def title(self) -> str | None:
        """Of a `###` heading, which is a piece of its own: what it says."""
        found = _SUBHEADING.match(self.lines[0]) if self.tag is None else None
        return found[1] if found else None

    @property
    def empty(self) -> bool:
        """Whether there is nothing to read in it."""
        return not any(line.strip() for line in (self.lines if self.tag is None else self.lines[1:-1]))

    def tagged(self, tag: str) -> Piece:
        """The block with another tag."""
        opening = _OPENING.match(self.lines[0])
        assert opening is not None  # every block begins with one
        return replace(self, tag=tag, lines=(f"{opening[1]}{tag}{opening[4]}", *self.lines[1:]))


@dataclass(frozen=True)
class Section:
    """What stands under one `##` heading; the part before the first has no heading."""

    heading: str
    line: int
    pieces: tuple[Piece, ...]

    @property
    def blocks(self) -> tuple[Piece, ...]:
        """The fenced blocks."""
        return tuple(piece for piece in self.pieces if piece.tag is not None)


@dataclass(frozen=True)
class Page:
    """A file taken apart. The front matter's lines keep their numbers: its first line is blank."""

    front: str
    sections: tuple[Section, ...]
    unclosed: Finding | None  # a fence; the sections after it are not known then


def read_page(path: Path, shown: str) -> Page:
    """The file's front matter and sections. Raises BadInput when there is no telling one from the other."""
    lines = _text(path, shown).split("\n")
    if lines[0].rstrip() != "---":
        message = "no front matter; begin with a line --- , then title, type and generation, then another ---"
        raise BadInput([Finding(shown, 1, 0, "", message)])
    end = next((number for number, line in enumerate(lines[1:], 1) if line.rstrip() == "---"), None)
    if end is None:
        raise BadInput([Finding(shown, 1, 0, "", "the front matter has no end; close it with a line ---")])
    return _page("\n".join(["", *lines[1:end], ""]), lines, end + 1, shown)


def render(pieces: Iterable[Piece]) -> str:
    """The pieces as they stand, without blank lines around them."""
    lines = [line for piece in pieces for line in piece.lines]
    while lines and not lines[0].strip():
        del lines[0]
    while lines and not lines[-1].strip():
        del lines[-1]
    return "\n".join(lines)


def fenced(text: str, tag: str) -> str:
    """The text in a fence that nothing in it can close."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{tag}\n{text}\n{fence}"


def _text(path: Path, shown: str) -> str:
    def bad(message: str, line: int = 0, column: int = 0) -> BadInput:
        return BadInput([Finding(shown, line, column, "", message)])

    try:
        if path.stat().st_size > MAX_BYTES:
            raise bad(f"larger than {MAX_BYTES:,} bytes; an example is a page of text")
        data = path.read_bytes()
    except OSError as error:
        raise bad(f"cannot be read: {error.strerror}") from error
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise bad("is UTF-16; save the file as UTF-8", 1, 1)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        line = before.count(b"\n") + 1
        raise bad("not UTF-8; save the file as UTF-8", line, error.start - before.rfind(b"\n")) from error
    if "\0" in text:
        raise bad("holds a NUL; take it out", text[: text.index("\0")].count("\n") + 1)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _page(front: str, lines: list[str], start: int, shown: str) -> Page:
    """The page whose body begins at index `start` of the lines."""
    found: list[Section] = []
    heading, line = "", start + 1
    pieces: list[Piece] = []
    begin = start  # of the piece that is being read
    fence, tag = "", ""

    def close(end: int, kind: str | None) -> None:
        if end > begin:
            pieces.append(Piece(begin + 1, tuple(lines[begin:end]), kind))

    for index in range(start, len(lines)):
        if fence:
            closing = _CLOSING.match(lines[index])
            if closing and closing[1].startswith(fence):
                close(index + 1, tag)
                begin, fence = index + 1, ""
        elif opening := _OPENING.match(lines[index]):
            close(index, None)
            begin, fence, tag = index, opening[2], opening[3].lower()
        elif title := _HEADING.match(lines[index]):
            close(index, None)
            found.append(Section(heading, line, tuple(pieces)))
            heading, line, pieces, begin = title[1], index + 1, [], index + 1
        elif _SUBHEADING.match(lines[index]):
            close(index, None)
            pieces.append(Piece(index + 1, (lines[index],)))
            begin = index + 1
    close(len(lines), None)
    found.append(Section(heading, line, tuple(pieces)))
    message = f"this fence is never closed; end the block with a line {fence}"
    return Page(front, tuple(found), Finding(shown, begin + 1, 0, "", message) if fence else None)
