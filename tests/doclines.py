"""The shell lines of the documentation: what a reader may copy.

A shell line stands in an indented or fenced block of README.md, CONTRIBUTING.md or a page of docs/, and begins with
one of `PROGRAMS`. What follows two blanks, or ` #`, is a remark. Code spans in prose that begin so are read as well:
they may leave something out (`…`, a name in capitals), so they are checked and not run.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
PROGRAMS = (
    "bbjspec",
    "snakemake",
    "make",
    "python",
    "pytest",
    "pip",
    "git",
    "tail",
    "tensorboard",
    "wandb",
    "ollama",
    ".",
)
PAGES = (REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md", *sorted((REPOSITORY / "docs").glob("*.md")))
_REMARK = re.compile(r" {2,}.*$| #.*$")


def blocks(page: str) -> Iterator[list[str]]:
    """Indented and fenced blocks, each as its lines without indent; blocks inside blocks belong to the outer one."""
    block: list[str] = []
    fence, before = "", ""
    for line in [*page.splitlines(), ""]:
        tick = re.match(r" {0,3}(```+)", line)
        if fence or (tick and not block):
            if tick and fence:
                fence = ""
                yield block
                block = []
            elif tick:
                fence = tick[1]
            else:
                block.append(line)
        elif line.startswith("    ") and (block or not before.strip()) and not _listed(before):
            block.append(line)
        elif line.strip() or not block:
            if block:
                yield textwrap.dedent("\n".join(block)).splitlines()
            block = []
        before = line
    if block:
        yield textwrap.dedent("\n".join(block)).splitlines()


def _listed(before: str) -> bool:
    return before.lstrip().startswith(("- ", "1. "))


def commands(page: str) -> list[str]:
    """The shell lines of a page, in order, without their remarks."""
    lines = [_REMARK.sub("", line).strip() for block in blocks(page) for line in block if not line.startswith(" ")]
    return [line for line in lines if line.split(" ")[0] in PROGRAMS]


def spans(page: str) -> list[str]:
    """The code spans in prose that begin like a shell line and have more than its first word."""
    prose = re.sub(r"^    .*$", "", page, flags=re.MULTILINE)
    found = [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose)]
    return [span for span in found if span.split(" ")[0] in PROGRAMS[:-1] and " " in span]


def section(page: str, title: str) -> str:
    """What stands under a heading of the second level. Raises KeyError where there is none."""
    parts = dict(part.split("\n", 1) for part in page.split("\n## ")[1:])
    return parts[title]
