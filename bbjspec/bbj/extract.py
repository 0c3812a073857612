"""Takes the program out of what a model wrote. Blind to syntax: a block is never chosen by whether it compiles.

The rules were fixed in advance, on CommonMark's fenced code blocks (spec 0.31, section 4.5): three or more backticks or
tildes, indented by up to three blanks, closed by at least as many of the same or by the end of the text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

EXTRACTOR_VERSION = 1
"""Raised whenever `extract` can give another program for the same text: it is part of the digests of scores."""

Outcome = Literal["ok", "no_fence", "wrong_language", "empty"]

_TAGS = frozenset({"", "bbj", "basic"})
_LINE_END = re.compile(r"\r\n|\n|\r")
_OPENING = re.compile(r"( {0,3})(`{3,}(?=[^`]*$)|~{3,})(.*)", re.DOTALL)
_CLOSING = re.compile(r" {0,3}(`{3,}|~{3,})[ \t]*$")
_COMMENT = re.compile(r"[ \t]*(?:[0-9]+[ \t]+)?rem(?![A-Za-z0-9_])", re.IGNORECASE)


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
    """One fenced block: the first word of its info string in lower case, and its text."""

    tag: str
    code: str


def blocks(text: str) -> list[Block]:
    """Every fenced block of `text`, in order."""
    found: list[Block] = []
    lines: list[str] = []
    fence, indent, tag = "", 0, ""
    for line in _LINE_END.split(text):
        if not fence:
            if opening := _OPENING.match(line):
                fence, indent = opening[2], len(opening[1])
                words = opening[3].split()
                tag = words[0].lower() if words else ""
            continue
        closing = _CLOSING.match(line)
        if closing and closing[1].startswith(fence):
            found.append(_block(tag, lines))
            lines, fence = [], ""
        else:
            blanks = min(indent, len(line) - len(line.lstrip(" ")))
            lines.append(line[blanks:])
    if fence:
        found.append(_block(tag, lines[:-1] if lines and not lines[-1] else lines))
    return found


def extract(text: str) -> Extraction:
    """The program in `text`: of the blocks tagged `bbj`, `basic` or nothing the one with most lines of code.

    Lines of code are those that are neither blank nor REM; the first of several equal ones wins. Without any block it
    is the whole text, flagged `no_fence`.
    """
    found = blocks(text)
    if not found:
        return Extraction(text, "no_fence", 0) if text.strip() else Extraction("", "empty", 0)
    candidates = [block.code for block in found if block.tag in _TAGS]
    if not candidates:
        return Extraction("", "wrong_language", len(found))
    code = max(candidates, key=_code_lines)
    return Extraction(code, "ok", len(found)) if code.strip() else Extraction("", "empty", len(found))


def _block(tag: str, lines: list[str]) -> Block:
    return Block(tag, "".join(line + "\n" for line in lines))


def _code_lines(code: str) -> int:
    return sum(1 for line in code.split("\n") if line.strip() and not _COMMENT.match(line))
