"""Runs Python that a model wrote, with its tests, so that it can neither harm this machine nor keep it busy.

A program runs in a process of its own (`sandbox_child.py`), which gives up what it does not need before the program's
first line. The layers, each of which holds by itself:

    session    its own session and process group, killed as a whole; killed too when the caller dies
    rlimits    address space, CPU time, open files; no bytes to any file, no core dump, no process (users but root)
    seccomp    system calls are allowed by a list: no process or thread, no other program, no socket, no signal to
               others, no file written anywhere; starting processes and opening files to write kills, the rest fails
    landlock   reading: the interpreter's library and its own directory alone, so no /proc and no home (Linux 5.13)
    audit      Python's audit hook: the same as the two above, with a name for what was tried

The environment is empty, the directory is empty and removed afterwards, stdin is /dev/null; output is counted and
dropped. seccomp has to be there, for root it alone forbids processes: without it nothing is run. Landlock may be
missing; then the audit hook alone keeps files from being read.

What this does not cover: a fault in the kernel or in the interpreter (without Landlock, one in the interpreter is
enough to read files, whose text could reach a `detail`); time taken by caches and the like; and an answer made to
deceive. A verdict needs a token that the program's process gets only after its tests have run, tests see nothing of the
answer but its entry and have builtins of their own, and a result with an == of its own is refused. So leaving early,
printing anything and patching builtins pass nothing. But answer and tests share a process: code that looks for the
harness's own descriptors can say in its name what it likes.
"""

from __future__ import annotations

import functools
import math
import os
import re
import secrets
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bbjspec.errors import EnvironmentLacks

Kind = Literal["passed", "failed", "timeout", "memory", "output", "forbidden"]

CHILD = Path(__file__).with_name("sandbox_child.py")
START_SECONDS = 60.0  # for the interpreter to start on a busy machine: no program has run yet
MOST_REPORT = 8192  # bytes
MOST_TESTS = 32_768  # bytes; they must fit into a pipe at once
_FOUND: dict[str, Kind] = {"failed": "failed", "memory": "memory", "forbidden": "forbidden"}  # by the child
_ADDRESS = re.compile(r"0x[0-9a-f]+")  # of objects: another one in each run


@dataclass(frozen=True, slots=True)
class Program:
    """What is run: `source`, then `tests` (assertions) with nothing of it in view but `entry`."""

    source: str
    tests: str = ""
    entry: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a program ended. Only `passed` is a success; `detail` is one line, empty for it."""

    kind: Kind
    detail: str = ""


def run_python(
    source: str,
    *,
    tests: str = "",
    entry: str = "",
    seconds: float = 5,
    memory_mb: int = 256,
    output_bytes: int = 65_536,
) -> Outcome:
    """Run one program, then its tests, for at most `seconds` of wall time from its first line on.

    `memory_mb` bounds the address space in MiB, the interpreter's some 30 MiB included; `output_bytes` what it may
    print. It passes when it and all its tests run to their end. Raises EnvironmentLacks where it cannot be run safely.
    """
    return _run(Program(source, tests, entry), seconds, memory_mb, output_bytes)[0]


def run_many(
    programs: Sequence[Program],
    *,
    processes: int = 1,
    seconds: float = 5,
    memory_mb: int = 256,
    output_bytes: int = 65_536,
) -> list[Outcome]:
    """An outcome a program, in their order, `processes` at a time; equal programs are run once."""
    different = list(dict.fromkeys(programs))
    pool = ThreadPoolExecutor(processes)
    try:
        found = pool.map(lambda program: _run(program, seconds, memory_mb, output_bytes)[0], different)
        outcomes = dict(zip(different, found, strict=True))
    finally:
        pool.shutdown(cancel_futures=True)  # what has begun ends within its limits
    return [outcomes[program] for program in programs]


@functools.cache
def layers() -> tuple[str, ...]:
    """The names of the layers that hold on this machine. Raises EnvironmentLacks where too few do."""
    return _run(Program(""), 60, 256, 0)[1]


def _run(program: Program, seconds: float, memory_mb: int, output_bytes: int) -> tuple[Outcome, tuple[str, ...]]:
    """How the program ended, and the layers that held it."""
    if sys.platform != "linux":
        raise EnvironmentLacks("general prompts run Python that a model wrote, and only Linux can hold it: use Linux")
    tests, entry = (text.encode("utf-8", "replace") for text in (program.tests, program.entry))
    if len(tests) + len(entry) > MOST_TESTS:
        raise ValueError(f"tests of more than {MOST_TESTS:,} bytes: write fewer")
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="bbjspec-", ignore_cleanup_errors=True))
        given = stack.enter_context(tempfile.TemporaryFile())
        given.write(program.source.encode("utf-8", "replace"))
        given.seek(0)
        pipes = [os.pipe() for _ in range(3)]
        (asked, answers), (reports, told), (output, printed) = pipes
        ends = [stack.enter_context(os.fdopen(end, ("rb", "wb")[i], 0)) for p in pipes for i, end in enumerate(p)]
        limits = (str(memory_mb << 20), str(math.ceil(seconds) + 1))  # bytes, seconds of CPU time
        process = subprocess.Popen(
            # -I without its -E: with hashes of texts seeded at random, a program could give another result each time.
            [sys.executable, *"-P -s -S -B -X utf8".split(), str(CHILD), *limits, str(asked), str(told)],
            cwd=folder,
            env={"PYTHONHASHSEED": "0"},
            stdin=given,
            stdout=printed,
            stderr=printed,
            pass_fds=(asked, told),
            start_new_session=True,
        )
        try:
            for end in (ends[0], ends[3], ends[5]):
                end.close()
            seen = _Seen(process, reports, output, answers, (tests, entry), seconds, output_bytes)
            seen.follow()
        finally:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return seen.outcome(), seen.layers()


class _Seen:
    """What comes from one process: its reports are answered, its output is counted."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        reports: int,
        output: int,
        answers: int,
        messages: tuple[bytes, bytes],
        seconds: float,
        output_bytes: int,
    ) -> None:
        self.process = process
        self.reports, self.output, self.answers = reports, output, answers
        self.messages = messages
        self.seconds, self.room = seconds, output_bytes
        self.token = secrets.token_hex(16)
        self.text = b""
        self.lines: list[tuple[str, str]] = []
        self.late = False

    def follow(self) -> None:
        """Until the process has ended, or has to be."""
        deadline = time.monotonic() + START_SECONDS
        os.set_blocking(self.answers, False)
        with selectors.DefaultSelector() as selector:
            selector.register(self.reports, selectors.EVENT_READ)
            selector.register(self.output, selectors.EVENT_READ)
            while selector.get_map() and self.room >= 0 and len(self.text) < MOST_REPORT:
                for key, _ in selector.select(max(0.0, deadline - time.monotonic())):
                    data = os.read(key.fd, 65_536)
                    if not data:
                        selector.unregister(key.fd)
                    elif key.fd == self.output:
                        self.room -= len(data)
                    else:
                        began = len(self.lines)
                        self._hear(data)
                        if began == 0 and self.lines:
                            deadline = time.monotonic() + self.seconds  # the program's time begins here
                if time.monotonic() >= deadline:
                    self.late = True
                    return
        if self.room >= 0 and len(self.text) < MOST_REPORT:
            try:
                self.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                self.late = True

    def _hear(self, data: bytes) -> None:
        """Take in what was reported. The tests are handed over when the program has run, the token after them."""
        self.text += data
        for line in self.text.decode("utf-8", "replace").split("\n")[len(self.lines) : -1]:
            kind, _, detail = line.partition("\t")
            self.lines.append((kind, detail))
            messages = {"ran": self.messages, "tested": (self.token.encode(),)}.get(kind, ())
            with suppress(BrokenPipeError, BlockingIOError):
                for message in messages:
                    os.write(self.answers, len(message).to_bytes(4, "big") + message)

    def layers(self) -> tuple[str, ...]:
        """What the child said that it holds. Raises EnvironmentLacks when it could not be locked or did not start."""
        kind, detail = self.lines[0] if self.lines else ("", "")
        if kind == "lacks":
            raise EnvironmentLacks(
                f"the sandbox for general prompts cannot be closed ({detail}), so nothing was run: allow seccomp "
                "filters here, or score on another Linux machine"
            )
        if kind != "ready":
            raise EnvironmentLacks(
                f"the sandbox's interpreter, {Path(sys.executable).name}, did not start (status "
                f"{self.process.returncode}): see to it that it runs with the memory it is given"
            )
        return tuple(detail.split())

    def outcome(self) -> Outcome:
        """The verdict: by what came out, else by how the process ended."""
        if self.room < 0 or len(self.text) >= MOST_REPORT:
            return Outcome("output", "it prints too much")
        for kind, detail in self.lines[1:]:
            if kind == "passed" and secrets.compare_digest(detail.encode(), self.token.encode()):
                return Outcome("passed")
            if kind in _FOUND:
                return Outcome(_FOUND[kind], _ADDRESS.sub("0x…", detail))
        status = self.process.returncode
        if self.late or status == -signal.SIGXCPU:
            return Outcome("timeout", f"it runs for more than {self.seconds:g} s")
        if status == -signal.SIGSYS:
            return Outcome("forbidden", "it does what is not allowed: a system call")
        if status == -signal.SIGKILL:
            return Outcome("memory", "killed by the kernel")
        if status < 0:
            return Outcome("failed", f"killed by {signal.Signals(-status).name}")
        return Outcome("failed", "it exits before its tests have run")
