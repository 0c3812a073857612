"""Every exception that bbjspec raises on purpose, with the exit code that `main` turns it into.

Exit codes: 0 done, 1 the thing checked is bad, 2 wrong usage, 3 the environment lacks something, 4 a stage failed,
5 a comparison is inconclusive, 143 asked to stop (Ctrl-C, SIGTERM), its work saved. Only `bbjspec.cli.main` catches;
everything else lets these rise.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

LONGEST = 900  # characters of a finding


def one_line(text: str) -> str:
    """The text with escapes in the place of what is not seen as itself: line ends, signs that move a terminal's cursor
    or turn the reading direction, half characters. What a message quotes cannot pass for another message."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


@dataclass(frozen=True, order=True)
class Finding:
    """One thing wrong at one place of one file. `line` and `column` count from 1; 0 means "the file as a whole"."""

    file: str
    line: int
    column: int
    path: str
    message: str

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line, self.column) if part)
        text = one_line(": ".join(part for part in (place, self.path, self.message) if part))
        # What is quoted may be a file of a megabyte without a line end: what is wrong stands before, what to do behind.
        return text if len(text) <= LONGEST else f"{text[: LONGEST // 2]} … {text[-LONGEST // 3 :]}"


class BbjspecError(Exception):
    """Base of all: its text is one line that says what is wrong, where, and what to do instead."""

    exit_code = 4
    told = False  # whether the user has read it already, on the terminal of a stage


class BadInput(BbjspecError):
    """The thing checked is bad: a spec, a dataset, a prompt file. Carries one finding a line."""

    exit_code = 1

    def __init__(self, findings: Iterable[Finding] | str) -> None:
        self.findings = () if isinstance(findings, str) else tuple(findings)
        super().__init__(findings if isinstance(findings, str) else "\n".join(map(str, self.findings)))


class UsageError(BbjspecError):
    """The command line is wrong."""

    exit_code = 2


class EnvironmentLacks(BbjspecError):
    """This machine lacks something: a compiler, a GPU, a library, the network, disk space."""

    exit_code = 3


class StageFailed(BbjspecError):
    """A stage could not do its work; nothing of it is kept as a result."""

    exit_code = 4


class Inconclusive(BbjspecError):
    """A comparison cannot tell the two apart."""

    exit_code = 5


class Stopped(BbjspecError):
    """A stage was asked to stop, by Ctrl-C or SIGTERM: running it again goes on from what is saved."""

    exit_code = 143  # 128 + SIGTERM, as shells have it
