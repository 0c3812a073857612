"""Judging on several CPUs gives what judging here gives, from anywhere, and leaves no process behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from bbjspec.bbj import parallel
from bbjspec.bbj.compiler import Bbjcpl, Builtin, Verdict
from bbjspec.bbj.parallel import compile_all, usable_cpus

ROOT = Path(__file__).parents[2]
PROGRAMS = ["", "print 1\n", "x == 2\n", 'a$ = "é😀\ud800"\n', "print 1\n", *(f"gosub l{i}\n" for i in range(60))]


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "WORTH", 1)
    monkeypatch.setattr(parallel, "CHUNK", 50)


def script(folder: Path, text: str) -> Bbjcpl:
    """A bbjcpl of a few lines of Python, in batches of 10."""
    path = folder / "bbjcpl"
    head = f"#!{sys.executable}\nimport os, sys, time\nsys.path.insert(0, {str(ROOT)!r})\n"
    path.write_text(f"{head}from bbjspec.bbj.cpl import main as cpl\n{text}\n")
    path.chmod(0o755)
    return Bbjcpl((str(path),), batch=10)


@pytest.mark.parametrize("processes", [None, 1, 2, 3])
def test_the_builtin_gives_the_same(processes: int | None) -> None:
    assert compile_all(Builtin(), PROGRAMS, processes) == Builtin().compile(PROGRAMS)


def test_nothing_to_judge() -> None:
    assert compile_all(Builtin(), []) == []


def test_bbjcpl_gives_the_same_and_judges_equal_programs_once(tmp_path: Path) -> None:
    compiler = script(tmp_path, f"open({str(tmp_path / 'calls')!r}, 'a').write('x')\nsys.exit(cpl(sys.argv[1:]))")
    programs = [program for program in PROGRAMS if "\ud800" not in program]
    verdicts = compile_all(compiler, programs * 3, 2)
    assert (tmp_path / "calls").read_text() == "x" * 7
    assert verdicts == compiler.compile(programs) * 3


def test_another_compiler_is_called_once_with_each_program_once() -> None:
    class Own:
        name, version = "own", "1"

        def compile(self, programs: Sequence[str]) -> list[Verdict]:
            assert list(programs) == ["a", "b"]
            return [Verdict("valid"), Verdict("compile_error")]

    assert [v.verdict for v in compile_all(Own(), ["a", "b", "a"], 4)] == ["valid", "compile_error", "valid"]


def test_what_a_dead_helper_leaves_is_judged_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "_HELPER", "import sys; sys.stdin.buffer.read(10)")
    assert compile_all(Builtin(), PROGRAMS, 2) == Builtin().compile(PROGRAMS)


def test_no_helper_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    assert compile_all(Builtin(), PROGRAMS, 2) == Builtin().compile(PROGRAMS)


def test_a_script_needs_no_guard(tmp_path: Path) -> None:
    """Run from elsewhere, where a file has the name of a module that the helper needs."""
    (tmp_path / "json.py").write_text("raise SystemExit(9)\n")
    (tmp_path / "main").mkdir()
    path = tmp_path / "main" / "script.py"
    path.write_text(
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from bbjspec.bbj import parallel; from bbjspec.bbj.compiler import Builtin\n"
        "parallel.WORTH = parallel.CHUNK = 1\n"
        "parallel._asked, real = lambda *a: real(*a) or sys.exit('a helper died'), parallel._asked\n"
        "print(len(parallel.compile_all(Builtin(), [f'print {i}' for i in range(9)], 2)))\n"
    )
    done = subprocess.run([sys.executable, str(path)], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("9\n", "")


def test_an_interrupt_leaves_no_process(tmp_path: Path) -> None:
    """Neither a helper nor the compiler that it has started."""
    compiler = script(tmp_path, f"open({str(tmp_path)!r} + f'/pid-{{os.getpid()}}', 'w')\ntime.sleep(60)")
    code = (
        # Who runs the tests in the background has it ignored, and so would this process.
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from bbjspec.bbj.parallel import compile_all; from bbjspec.bbj.compiler import Bbjcpl\n"
        f"compile_all({compiler!r}, [f'print {{i}}' for i in range(40)], 2)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    parent = subprocess.Popen([sys.executable, "-c", code], env=environment, stderr=subprocess.PIPE, text=True)
    pids: list[int] = []
    deadline = time.monotonic() + 30
    while len(pids) < 2 and time.monotonic() < deadline:
        pids = [int(path.name.removeprefix("pid-")) for path in tmp_path.glob("pid-*")]
        time.sleep(0.05)
    helpers = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
    assert len(pids) == 2 and len(helpers) == 2
    parent.send_signal(signal.SIGINT)
    _, errors = parent.communicate(timeout=60)
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert not [pid for pid in [*pids, *map(int, helpers)] if Path(f"/proc/{pid}").exists()]
    assert len(list(tmp_path.glob("pid-*"))) == 2  # none was tried again


def test_the_cpus_are_those_that_this_process_may_use() -> None:
    assert 1 <= usable_cpus() <= (os.cpu_count() or 1)
