"""Broken inputs made from good ones, the same each time, and the command line called in this process with a clock."""

from __future__ import annotations

import contextlib
import io
import os
import random
import re
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import pytest

from bbjspec.cli import entry

SECONDS = 30.0  # for one case that takes milliseconds: a shared machine under load
# Pieces that some reader somewhere took for more than text.
ODD = (
    b"\x00",
    b"\xef\xbb\xbf",
    b"\r\n",
    b"\r",
    b"\t",
    b"\xff\xfe",
    b"\xc0\x80",
    b"\xed\xa0\x80",  # half a surrogate pair
    b"\xe2\x80\xa8",  # a line separator
    b"\xe2\x80\xae",  # right to left from here
    "\N{CYRILLIC SMALL LETTER A}".encode(),
    "\N{GRINNING FACE}".encode(),
    b"\\ud800",
    b"{{ 7 * 7 }}",
    b"$(touch x)",
    b"`touch x`",
    b"; touch x;",
    b"../../../../etc/passwd",
    b"&a *a",
    b"<<: *a",
    b"!!python/object/apply:os.system [x]",
    b"!!binary ///",
    b"%TAG ! x\n",
    b"---\n",
    b"...\n",
    b"? ",
    b"1e999999",
    b"-1e400",
    b"1" * 5_000,
    b"0x" + b"f" * 400,
    b".nan",
    b"NaN",
    b"-0",
    b"null",
    b"true",
    b"[]",
    b"{}",
    b"[" * 200,
    b"{a: " * 80,
    b'{"a":' * 2_000,
    b"x" * 100_000,
    b'"',
    b"'",
    b"\\",
    b"\x1b[2J",
    b"\x85",
)


class Hang(BaseException):
    """The time of one case is over. No Exception: whoever catches those may not catch this."""


@contextlib.contextmanager
def in_time(seconds: float = SECONDS) -> Iterator[None]:
    """Raise Hang where the block takes longer."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise Hang(f"no end after {seconds} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@dataclass(frozen=True)
class Told:
    """What a command said, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.err.splitlines()


def bbjspec(*arguments: str, root: Path | None = None) -> Told:
    """What `bbjspec ARGUMENTS` does at the top of the project, in this process and in time.

    What rises through the command line would be a traceback: it rises here too.
    """
    out, err = io.StringIO(), io.StringIO()
    argv, where = sys.argv, Path.cwd()
    code = 0
    try:
        sys.argv = ["bbjspec", *arguments]
        os.chdir(root or where)
        with in_time(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            entry()
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else int(left.code is not None)
    finally:
        sys.argv = argv
        os.chdir(where)
    told = Told(code, out.getvalue(), err.getvalue())
    assert "Traceback" not in told.out + told.err
    return told


def mutated(chance: random.Random, data: bytes, words: tuple[bytes, ...] = ODD) -> bytes:
    """The bytes with one to four things wrong: any of what disks, editors, merges and people do to a file."""
    for _ in range(chance.randint(1, 4)):
        data = chance.choice(_WAYS)(chance, data, words) or b"\n"
    return data


def _flip(chance: random.Random, data: bytes, words: tuple[bytes, ...]) -> bytes:
    at = chance.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :]


def _put(chance: random.Random, data: bytes, words: tuple[bytes, ...]) -> bytes:
    at, gone = chance.randrange(len(data) + 1), chance.choice((0, 0, 1, 8))
    return data[:at] + chance.choice(words) + data[at + gone :]


def _cut(chance: random.Random, data: bytes, words: tuple[bytes, ...]) -> bytes:
    at = chance.randrange(len(data))
    return data[:at] if chance.random() < 0.5 else data[at:]


def _lines(chance: random.Random, data: bytes, words: tuple[bytes, ...]) -> bytes:
    lines = data.split(b"\n")
    one, other = chance.randrange(len(lines)), chance.randrange(len(lines))
    what = chance.choice(("lost", "twice", "swapped", "moved"))
    if what == "lost":
        del lines[one]
    elif what == "twice":
        lines.insert(other, lines[one])
    elif what == "swapped":
        lines[one], lines[other] = lines[other], lines[one]
    else:
        lines[one] = chance.choice((b" ", b"  ", b"\t", b"- ", b"#")) + lines[one]
    return b"\n".join(lines)


_VALUE = re.compile(rb"(?<=: )[^\s,{}\[\]][^\n,{}\[\]]*")


def _value(chance: random.Random, data: bytes, words: tuple[bytes, ...]) -> bytes:
    """One value of a field in the place of another's, or something odd in its."""
    found = list(_VALUE.finditer(data))
    if not found:
        return _put(chance, data, words)
    one = chance.choice(found)
    new = chance.choice((chance.choice(found)[0], chance.choice(words)))
    return data[: one.start()] + new + data[one.end() :]


def _ends(chance: random.Random, data: bytes, words: tuple[bytes, ...]) -> bytes:
    return data.replace(b"\n", chance.choice((b"\r\n", b"\r", b"\n\n", b"\0\n")))


def _bom(chance: random.Random, data: bytes, words: tuple[bytes, ...]) -> bytes:
    return chance.choice((b"\xef\xbb\xbf" + data, data.decode("utf-8", "replace").encode("utf-16")))


Way = Callable[[random.Random, bytes, tuple[bytes, ...]], bytes]
_WAYS: tuple[Way, ...] = (_flip, _put, _put, _cut, _lines, _lines, _value, _value, _value, _ends, _bom)


def cases(count: int, parts: int) -> pytest.MarkDecorator:
    """`count` cases in `parts` tests, each a range of numbers; a number is the seed of its case."""
    step = count // parts
    ranges = [range(start, start + step) for start in range(0, count, step)]
    return pytest.mark.parametrize("numbers", ranges, ids=lambda numbers: f"{numbers.start}-{numbers.stop - 1}")
