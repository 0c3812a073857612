"""Takes the program out of what a model wrote. Blind to syntax: a block is never chosen by whether it compiles.

The rules were fixed in advance, on CommonMark's fenced code blocks (spec 0.31, section 4.5): three or more backticks or
tildes, indented by up to three blanks, closed by at least as many of the same or by the end of the text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

EXTRACTOR_VERSION = 1
"""Raised whenever `extract` can give another program for the same text: it is part of the digests of scores."""

Outcome = Literal["ok", "no_fence", "wrong_language", "empty"]

TAGS = frozenset({"", "bbj", "basic"})
"""Tags, in lower case, of blocks that may hold the answer."""

_PYTHON_TAGS = frozenset({"", "python", "py"})
_LINE_END = re.compile(r"(\r\n|\n|\r)")
_OPENING = re.compile(r"( {0,3})(`{3,}(?=[^`]*$)|~{3,})(.*)", re.DOTALL)
_CLOSING = re.compile(r" {0,3}(`{3,}|~{3,})[ \t]*$")
_COMMENT = re.compile(r"[ \t]*(?:[0-9]+[ \t]+)?rem(?![A-Za-z0-9_])", re.IGNORECASE)
_PYTHON_COMMENT = re.compile(r"\s*#")


@dataclass(frozen=True, slots=True)
class Extraction:
    """What `extract` found.

    `code` has LF line ends where it comes from a block, and is the text as it is for `no_fence`; it is empty for
    `wrong_language` (only blocks of other languages) and `empty` (nothing but white space). `n_blocks` counts all
    fenced blocks, whatever their tag.
    """

    code: str
    outcome: Outcome
    n_blocks: int


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block: the first word of its info string in lower case, its text, and its place.

    `line` is the line of the opening fence (from 1), `after` the first line behind the block, so that
    `lines[line - 1 : after - 1]` are the block with its fences. `info` is the whole info string as written, `indent`
    the number of blanks in front of the fence.
    """

    tag: str
    code: str
    line: int
    after: int
    closed: bool
    indent: int
    info: str


class Fences:
    """Reads a text line by line and knows whether it is inside a fenced block."""

    def __init__(self) -> None:
        self.fence = ""
        self.indent = 0
        self.info = ""

    @property
    def tag(self) -> str:
        """The first word of the info string of the last block that was opened, in lower case."""
        words = self.info.split()
        return words[0].lower() if words else ""

    def feed(self, line: str) -> Literal["outside", "opens", "inside", "closes"]:
        """What the next line is. A line stands here without its end."""
        if "```" not in line and "~~~" not in line:
            return "inside" if self.fence else "outside"
        if not self.fence:
            opening = _OPENING.match(line)
            if opening is None:
                return "outside"
            self.fence, self.indent, self.info = opening[2], len(opening[1]), opening[3]
            return "opens"
        closing = _CLOSING.match(line)
        if closing and closing[1].startswith(self.fence):
            self.fence = ""
            return "closes"
        return "inside"


def split_lines(text: str) -> tuple[list[str], list[str]]:
    """The lines of a text without their ends, and the ends: CRLF, LF or CR, and nothing behind the last line."""
    if "\r" not in text:  # as most are
        lines = text.split("\n")
        return lines, ["\n"] * (len(lines) - 1) + [""]
    parts = _LINE_END.split(text)
    return parts[::2], [*parts[1::2], ""]


def blocks(text: str) -> list[Block]:
    """Every fenced block of `text`, in order."""
    return list(_blocks(text))


@lru_cache(maxsize=16)  # the repairs and the checks of one answer ask again and again
def _blocks(text: str) -> tuple[Block, ...]:
    if "```" not in text and "~~~" not in text:
        return ()
    found: list[Block] = []
    content: list[str] = []
    reader, opened = Fences(), 0

    def add(lines: list[str], after: int, closed: bool) -> None:
        code = "".join(line + "\n" for line in lines)
        found.append(Block(reader.tag, code, opened, after, closed, reader.indent, reader.info))

    lines = split_lines(text)[0]
    for number, line in enumerate(lines, start=1):
        what = reader.feed(line)
        if what == "opens":
            content, opened = [], number
        elif what == "inside":
            blanks = min(reader.indent, len(line) - len(line.lstrip(" ")))
            content.append(line[blanks:])
        elif what == "closes":
            add(content, number + 1, True)
    if reader.fence:
        add(content[:-1] if content and not content[-1] else content, len(lines) + 1, False)
    return tuple(found)


def extract(text: str) -> Extraction:
    """The program in `text`: of the blocks tagged `bbj`, `basic` or nothing the one with most lines of code.

    Lines of code are those that are neither blank nor REM; the first of several equal ones wins. Without any block it
    is the whole text, flagged `no_fence`.
    """
    return _extract(text, TAGS, _COMMENT)


def extract_python(text: str) -> Extraction:
    """The same for Python: blocks tagged `python`, `py` or nothing, lines that are neither blank nor comments."""
    return _extract(text, _PYTHON_TAGS, _PYTHON_COMMENT)


def code_lines(code: str, comment: re.Pattern[str] = _COMMENT) -> int:
    """Lines that are neither blank nor a comment."""
    return sum(1 for line in code.split("\n") if line.strip() and not comment.match(line))


def _extract(text: str, tags: frozenset[str], comment: re.Pattern[str]) -> Extraction:
    found = blocks(text)
    if not found:
        return Extraction(text, "no_fence", 0) if text.strip() else Extraction("", "empty", 0)
    candidates = [block.code for block in found if block.tag in tags]
    if not candidates:
        return Extraction("", "wrong_language", len(found))
    code = max(candidates, key=lambda code: code_lines(code, comment))
    return Extraction(code, "ok", len(found)) if code.strip() else Extraction("", "empty", len(found))
