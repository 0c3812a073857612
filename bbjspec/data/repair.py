"""The mechanical repairs of answers: text in, text out, the same text where there is nothing to mend.

Each is idempotent, and `mend` applies those asked for until nothing changes, always in the order of `REPAIRS`. The
audit flags exactly what a repair would change, so that a mended dataset is clean.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

from bbjspec.bbj.extract import Block, Fences, blocks, split_lines
from bbjspec.data.code import BBJ_TAGS, code_runs, looks_like_bbj, raw_runs
from bbjspec.data.escapes import unescape_newlines

_MOST_PASSES = 12  # one repair can make work for another, not for long: real answers take two
_QUOTED = re.compile(r" {0,3}>")
_MARKER = re.compile(r" {0,3}> ?")
_MARKERS = re.compile(r"(?: {0,3}> ?)+")


def unquote_code(answer: str) -> str:
    """Code without the `>` in front of its lines: fenced blocks, fences inside a quote, quoted raw code.

    Quoted prose stays. A block tagged as another language or as text is left.
    """
    while (
        ">" in answer and (once := _unquoted(answer)) != answer
    ):  # `>> print 1` is quoted twice; each pass takes a sign off
        answer = once
    return answer


def _unquoted(answer: str) -> str:
    """The answer with one `>` less in front of each quoted line of code."""
    lines, ends = split_lines(answer)
    quoted = [bool(_QUOTED.match(line)) for line in lines]
    if not any(quoted):
        return answer
    found = blocks(answer)
    unquoted = {i for block in found for i in _quoted_content(block, lines, quoted)}
    closing: dict[int, str] = {}
    inside = {i for block in found for i in range(block.line - 1, block.after - 1)}
    start = 0
    while start < len(lines):
        end = start
        while end < len(lines) and quoted[end] and end not in inside:
            end += 1
        if start < end:
            inner = [_MARKER.sub("", line, count=1) for line in lines[start:end]]
            after = lines[end] if end < len(lines) else None
            unquoted |= {start + i for i in _code_of_quote(inner, fenced=bool(found))}
            if fence := _missing_close(inner, after):
                closing[end - 1] = fence
        start = max(end, start + 1)
    parts = []
    for i, (line, end_of_line) in enumerate(zip(lines, ends, strict=True)):
        parts += [_MARKER.sub("", line, count=1) if i in unquoted else line, end_of_line]
        if i in closing:
            parts += [closing[i], end_of_line] if end_of_line else ["\n", closing[i]]
    return "".join(parts)


def _quoted_content(block: Block, lines: list[str], quoted: list[bool]) -> range:
    """The lines inside a fenced block that is quoted as a whole and is BBj; else none."""
    content = range(block.line, block.after - 1 - block.closed)
    filled = [i for i in content if lines[i].strip()]
    if not filled or not all(quoted[i] for i in filled) or block.tag not in BBJ_TAGS | {""}:
        return range(0)
    bare = "\n".join(_MARKERS.sub("", lines[i], count=1) for i in filled)
    return content if block.tag or looks_like_bbj(bare) else range(0)


def _code_of_quote(inner: list[str], fenced: bool) -> set[int]:
    """Which lines of a block quote are code: those of fenced blocks, else runs that would be code without the quote."""
    found = blocks("\n".join(inner))
    if found:
        return {i for block in found for i in range(block.line - 1, min(block.after - 1, len(inner)))}
    return {i for start, end in code_runs(inner) if not fenced or end - start > 1 for i in range(start, end)}


def _missing_close(inner: list[str], after: str | None) -> str:
    """The fence that a quote leaves open and the line behind it does not close, so that it has to be written."""
    reader = Fences()
    for line in inner:
        reader.feed(line)
    fence = reader.fence
    return "" if not fence or after is None or reader.feed(after) == "closes" else fence


def fence_code(answer: str) -> str:
    """Raw code in ```` ```bbj ```` fences: each run of it, or the whole answer where it is all code."""
    runs = raw_runs(answer)
    if not runs:
        return answer
    lines, ends = split_lines(answer)
    starts, stops = {start for start, _ in runs}, {end - 1 for _, end in runs}
    parts = []
    for i, (line, end_of_line) in enumerate(zip(lines, ends, strict=True)):
        newline = end_of_line or (ends[0] or "\n")
        if i in starts:
            parts += ["```bbj", newline]
        parts += [line, newline if i in stops else end_of_line]
        if i in stops:
            parts += ["```", end_of_line]
    return "".join(parts)


def tag_fences(answer: str) -> str:
    """A tag for every fence without one: `bbj` when its content looks like BBj, else `text`."""
    untagged = {block.line - 1: block for block in blocks(answer) if not block.tag}
    if not untagged:
        return answer
    lines, ends = split_lines(answer)
    for i, block in untagged.items():
        lines[i] = lines[i].rstrip() + ("bbj" if looks_like_bbj(block.code) else "text")
    return _text(lines, ends)


def strip_trailing_space(answer: str) -> str:
    """No blanks at the ends of lines, nothing behind the last one.

    What a line with `:` in column 1 continues keeps them: the two are joined, even inside a string.
    """
    if not any(blank in answer for blank in (" \n", "\t\n", "\r")) and answer == answer.rstrip():
        return answer  # as most are
    lines, ends = split_lines(answer)
    for i, line in enumerate(lines):
        if i + 1 == len(lines) or not lines[i + 1].startswith(":"):
            lines[i] = line.rstrip(" \t")
    return _text(lines, ends).rstrip()


def _text(lines: list[str], ends: list[str]) -> str:
    return "".join(part for pair in zip(lines, ends, strict=True) for part in pair)


REPAIRS: Mapping[str, Callable[[str], str]] = MappingProxyType(
    {
        "unescape_newlines": unescape_newlines,
        "unquote_code": unquote_code,
        "fence_code": fence_code,
        "tag_fences": tag_fences,
        "strip_trailing_space": strip_trailing_space,
    }
)
"""The repairs by the name that a spec gives them, in the order in which they are made."""


def mend(answer: str, names: Iterable[str]) -> tuple[str, tuple[str, ...]]:
    """The answer with these repairs made, and the names of those that changed something.

    Raises KeyError for a name that is none.
    """
    wanted = set(names)
    if unknown := wanted - set(REPAIRS):
        raise KeyError(f"no such repair: {', '.join(sorted(unknown))}")
    changed: set[str] = set()
    for _ in range(_MOST_PASSES):
        before = answer
        for name, repair in REPAIRS.items():
            if name in wanted and (mended := repair(answer)) != answer:
                answer = mended
                changed.add(name)
        if answer == before:
            break
    return answer, tuple(name for name in REPAIRS if name in changed)
