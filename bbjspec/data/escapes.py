r"""The repair `unescape_newlines`: literal `\n`, `\r\n`, `\t` and `\"` that stand for real characters in code.

BBj has no escapes: a backslash in a string is one (`"C:\new\file"`), and one outside strings and comments is always
wrong. So in a BBj block every escape outside them is meant as a character. Outside blocks an escape is believed where
it touches a fence, or where the lines that it would make are code; prose that mentions `\n` stays.
"""

from __future__ import annotations

import re

from bbjspec.bbj.extract import Fences, split_lines
from bbjspec.data.code import BBJ_TAGS, LIKELY, SURE, levels

_ESCAPE = re.compile(r'\\+r\\+n|\\+n|\\+t|\\+"')
_NEWLINE = re.compile(r"\\+r\\+n|\\+n")
_ESCAPED_FENCE = re.compile(r"(?:```|~~~)[\w+-]*[ \t]*\\+(?:r\\+)?n|\\+n[ \t]{0,3}(?:```|~~~)")
# A REM at the beginning of a statement, in text whose newlines may be escaped.
_REM = re.compile(r"(?i)[ \t]*(?:\d+[ \t]+)?(?:(?!rem\b)[a-z_]\w*[ \t]*:[ \t]*)?rem(?![a-z0-9_])")
_PATH = re.compile(r"(?<![A-Za-z0-9_])[A-Za-z]:\\[\w.\\-]*")
_STEP = re.compile(r'\\+"|"|\\+r\\+n|\\+n|\\+t|;|(?i:\b(?:then|else)\b)|(?<![A-Za-z0-9_])[A-Za-z]:\\[\w.\\-]*')
_MOST_PASSES = 12


def unescape_newlines(answer: str) -> str:
    """The answer with its code's escapes as the characters that they stand for."""
    for _ in range(_MOST_PASSES):
        if "\\" not in answer or (mended := _once(answer)) == answer:
            break
        answer = mended
    return answer


def _once(answer: str) -> str:
    lines, ends = split_lines(answer)
    reader = Fences()
    parts: list[str] = []
    for line, end in zip(lines, ends, strict=True):
        parts += [_line(line, reader, end or ends[0] or "\n"), end]
    return "".join(parts)


def _line(line: str, reader: Fences, newline: str) -> str:
    """One physical line, unescaped if that is believed; `reader` has read the lines before and reads what comes out."""
    if not _ESCAPE.search(line):
        reader.feed(line)
        return line
    if reader.fence:
        wanted = reader.tag in BBJ_TAGS or (not reader.tag and _makes_code(code_pieces(line)))
    else:
        wanted = bool(_ESCAPED_FENCE.search(line)) or _makes_code(code_pieces(line))
    if not wanted:
        reader.feed(line)
        return line
    made: list[str] = []
    rest: str | None = line
    while rest is not None:
        piece, rest = _code_piece(rest) if reader.fence or not _ESCAPED_FENCE.search(line) else _prose_piece(rest)
        made.append(piece)
        reader.feed(piece)
    return newline.join(made)


def _makes_code(pieces: list[str]) -> bool:
    """Whether the lines that unescaping makes are code for the most part; a line that ends in a colon may lead in."""
    filled = [piece for piece in pieces if piece.strip()]
    grades = [
        grade
        for piece, grade in zip(filled, levels(filled), strict=True)
        if grade >= LIKELY or not piece.rstrip().endswith(":")
    ]
    return SURE in grades and 2 * sum(grade >= LIKELY for grade in grades) > len(grades)


def code_pieces(text: str) -> list[str]:
    """The lines that a line of code becomes when its escapes are made real."""
    pieces = []
    rest: str | None = text
    while rest is not None:
        piece, rest = _code_piece(rest)
        pieces.append(piece)
    return pieces


def _prose_piece(text: str) -> tuple[str, str | None]:
    """What stands in front of the first escaped newline, and the rest; paths are no escapes."""
    paths = [found.span() for found in _PATH.finditer(text)]
    for found in _NEWLINE.finditer(text):
        if not any(start < found.start() < end for start, end in paths):
            return _quotes_and_tabs(text[: found.start()]), text[found.end() :]
    return _quotes_and_tabs(text), None


def _quotes_and_tabs(text: str) -> str:
    return re.sub(r'\\+"', '"', text)


def _code_piece(text: str) -> tuple[str, str | None]:
    """One line of code with its quotes and tabs made real, and what follows behind its escaped newline, if any.

    A quote written `\\"` opens a string that `\\"` closes. A plain quote opens a string that either closes, for a
    string may end in a backslash. Where nothing closes a string, it is none.
    """
    made: list[str] = []
    at = 0
    fresh = True  # whether a statement begins here
    while at < len(text):
        if fresh and (comment := _REM.match(text, at)):
            end, rest = _comment_end(text, comment.end())
            return "".join(made) + text[at:end], rest
        found = _STEP.search(text, at)
        if found is None:
            break
        made.append(text[at : found.start()])
        sign, at = found.group(), found.end()
        fresh = sign == ";" or sign.isalpha()
        if _NEWLINE.fullmatch(sign):
            return "".join(made), text[at:]
        if sign.endswith("t") and sign.startswith("\\"):
            made.append("\t")
        elif sign.endswith('"'):
            string, at = _string(text, found.start(), at, escaped=sign != '"')
            made.append(string)
        else:
            made.append(sign)
    return "".join(made) + text[at:], None


def _string(text: str, start: int, at: int, escaped: bool) -> tuple[str, int]:
    """The string whose opening quote stands from `start` to `at`, unescaped, and where it ends."""
    if escaped:
        closing = re.compile(r'\\+"').search(text, at)
        return ('"' + text[at : closing.start()] + '"', closing.end()) if closing else ('"', at)
    end = text.find('"', at)
    return (text[start : end + 1], end + 1) if end >= 0 else (text[start:], len(text))


def _comment_end(text: str, at: int) -> tuple[int, str | None]:
    """Where a comment ends: at an escaped newline behind which there is nothing, a blank, or code; never in a path."""
    paths = [found.span() for found in _PATH.finditer(text, at)]
    for found in _NEWLINE.finditer(text, at):
        if any(start < found.start() < end for start, end in paths):
            continue
        following = _NEWLINE.split(text[found.end() :])[0]
        if not following.strip() or levels([following])[0] >= LIKELY:
            return found.start(), text[found.end() :]
    return len(text), None
