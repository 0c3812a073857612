"""Judging many programs on all CPUs: helper processes that each judge a chunk after the other.

A helper is a plain `python -c` that reads pickled chunks from stdin and writes verdicts to stdout. multiprocessing
would not do: its `fork` copies the locks of torch's and BLAS's threads in whatever state these are, and its `spawn` and
`forkserver` import the caller's script again, which then needs a `__main__` guard. A helper ends when its stdin does,
so none outlives a parent that was killed. bbjcpl's batches go through helpers too: interrupting one ends its compiler,
which a thread could not do.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bbjspec.bbj.compiler import Bbjcpl, Builtin, Compiler, Verdict

WORTH = 300_000
"""Characters from which two helpers of the builtin surely pay: measured, they do not at 180,000 and do at 370,000."""
CHUNK = 50_000
"""Characters of a chunk for the builtin, about 0.1 s of work."""
_GRACE = 10.0
"""Seconds that an interrupted helper has to end its compiler."""
_ROOT = Path(__file__).resolve().parents[2]
_HELPER = "import sys; sys.path.insert(0, sys.argv[1]); from bbjspec.bbj.parallel import serve; serve()"


def usable_cpus() -> int:
    """How many CPUs this process may use: a container or `taskset` may allow fewer than there are."""
    if hasattr(os, "sched_getaffinity"):
        return max(len(os.sched_getaffinity(0)), 1)
    return os.cpu_count() or 1


def compile_all(compiler: Compiler, programs: Sequence[str], processes: int | None = None) -> list[Verdict]:
    """What `compiler.compile(programs)` gives, with equal programs judged once and on `processes` CPUs.

    None means the CPUs that this process may use. The builtin and bbjcpl are spread over as many helpers where there
    is enough to do; any other compiler is called here, once. What a helper that dies leaves is judged here.
    """
    different = list(dict.fromkeys(programs))
    chunks = _chunks(compiler, different)
    count = min(usable_cpus() if processes is None else processes, len(chunks))
    found = compiler.compile(different) if count < 2 else _spread(compiler, chunks, count)
    verdicts = dict(zip(different, found, strict=True))
    return [verdicts[program] for program in programs]


def _chunks(compiler: Compiler, programs: list[str]) -> list[list[str]]:
    """The programs in the portions that helpers take; one chunk where helpers do not pay."""
    if isinstance(compiler, Bbjcpl):
        return [programs[start : start + compiler.batch] for start in range(0, len(programs), compiler.batch)]
    if not isinstance(compiler, Builtin) or sum(map(len, programs)) < WORTH:
        return [programs]
    chunks: list[list[str]] = [[]]
    size = 0
    for program in programs:
        if size > CHUNK:
            chunks.append([])
            size = 0
        chunks[-1].append(program)
        size += len(program)
    return chunks


def _spread(compiler: Compiler, chunks: list[list[str]], count: int) -> list[Verdict]:
    """The verdicts on all chunks, by `count` helpers, each fed by a thread that waits for it."""
    todo = iter(enumerate(chunks))
    found: list[list[Verdict]] = [[] for _ in chunks]
    lock, stopped = threading.Lock(), threading.Event()
    helpers: list[subprocess.Popen[bytes]] = []

    def feed(helper: subprocess.Popen[bytes]) -> None:
        while not stopped.is_set():
            with lock:
                number, chunk = next(todo, (-1, []))
            if number < 0:
                return
            verdicts = _asked(helper, compiler, chunk)
            if verdicts is None and not stopped.is_set():
                verdicts = compiler.compile(chunk)
            found[number] = verdicts or []

    try:
        with contextlib.suppress(OSError):  # no more processes: fewer helpers, or none
            helpers += (_started() for _ in range(count))
        if not helpers:
            return [verdict for chunk in chunks for verdict in compiler.compile(chunk)]
        with ThreadPoolExecutor(count) as pool:
            feeders = [pool.submit(feed, helper) for helper in helpers]
            try:
                for feeder in feeders:
                    feeder.result()
            except BaseException:  # an interrupt: the threads wait for helpers that must not go on
                stopped.set()
                for helper in helpers:
                    helper.send_signal(signal.SIGINT)
                raise
    finally:
        for helper in helpers:
            _ended(helper)
    return [verdict for verdicts in found for verdict in verdicts]


def _started() -> subprocess.Popen[bytes]:
    """A helper in a session of its own, so that a terminal's interrupt reaches it only through us."""
    return subprocess.Popen(
        [sys.executable, "-P", "-c", _HELPER, str(_ROOT)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _asked(helper: subprocess.Popen[bytes], compiler: Compiler, chunk: list[str]) -> list[Verdict] | None:
    """The helper's verdicts on a chunk, or None if it is dead."""
    assert helper.stdin is not None and helper.stdout is not None
    try:
        pickle.dump((compiler, chunk), helper.stdin)
        helper.stdin.flush()
        verdicts: list[Verdict] = pickle.load(helper.stdout)
    except (OSError, EOFError, ValueError, pickle.UnpicklingError):
        return None
    return verdicts if len(verdicts) == len(chunk) else None


def _ended(helper: subprocess.Popen[bytes]) -> None:
    assert helper.stdin is not None and helper.stdout is not None
    with contextlib.suppress(OSError):
        helper.stdin.close()
    try:
        helper.wait(_GRACE)
    except subprocess.TimeoutExpired:
        helper.kill()
        helper.wait()
    helper.stdout.close()


def serve() -> None:
    """A helper's whole life: chunks from stdin, verdicts to stdout, until stdin ends or an interrupt comes."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a parent in the background may have it ignored
    with contextlib.suppress(EOFError, KeyboardInterrupt, BrokenPipeError):
        while True:
            compiler, chunk = pickle.load(sys.stdin.buffer)
            pickle.dump(compiler.compile(chunk), sys.stdout.buffer)
            sys.stdout.buffer.flush()
