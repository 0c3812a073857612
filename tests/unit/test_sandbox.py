"""The sandbox: honest programs pass, attacks fail within their limits, and nothing is left of them."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bbjspec import sandbox, sandbox_child
from bbjspec.errors import EnvironmentLacks
from bbjspec.sandbox import Outcome, Program, layers, run_many, run_python

ROOT = Path(__file__).parents[2]
ADD = "def add(a, b):\n    return a + b\n"
TESTS = "assert add(1, 2) == 3\nassert add('a', 'b') == 'ab'\n"
UNHOOKED = ("    sys.addaudithook(watch(stop))\n", "")
UNLOCKED = ("    landlock = restrict_files()\n", "    landlock = False\n")


@pytest.fixture(params=["all", "no audit", "no landlock", "neither"])
def held(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The sandbox whole, and with layers taken out: what must hold holds without them."""
    text = sandbox.CHILD.read_text()
    for old, new, where in ((*UNHOOKED, ("no audit", "neither")), (*UNLOCKED, ("no landlock", "neither"))):
        assert old in text
        text = text.replace(old, new) if request.param in where else text
    child = tmp_path / "child.py"
    child.write_text(text)
    monkeypatch.setattr(sandbox, "CHILD", child)
    return str(request.param)


@pytest.fixture(autouse=True)
def nothing_is_left(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No process of a sandbox, nothing written."""
    folder = tmp_path_factory.mktemp("temporary")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield
    assert processes() == []
    assert list(folder.iterdir()) == []
    assert not Path("/tmp/evil").exists()


def state(pid: str) -> str:
    """The letter of a process's state; empty when it is gone."""
    try:
        return Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def processes(of: int | None = None) -> list[str]:
    """The ids of the sandboxes that this process, or another, has running."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                command = (entry / "cmdline").read_bytes().decode(errors="replace")
            except OSError:
                continue
            if parent == (of or os.getpid()) and "child.py" in command:
                found.append(entry.name)
    return found


# Attacks, and how each may end where the audit hook and Landlock are there or not.
ATTACKS = {
    "fork bomb": ("import os\nwhile True:\n    os.fork()", {"forbidden"}),
    "a fork that is caught": ("import os\ntry:\n    os.fork()\nexcept BaseException:\n    pass", {"forbidden"}),
    "fork bomb by vfork": (
        "import subprocess\nwhile True:\n    subprocess.Popen(['sleep', '60'])",
        {"failed", "forbidden"},
    ),
    "threads": ("import threading\nwhile True:\n    threading.Thread(target=input).start()", {"forbidden"}),
    "another program": ("import os\nos.execv('/bin/sleep', ['sleep', '60'])", {"forbidden"}),
    "10 GB": ("x = bytearray(10 * 1024**3)", {"memory"}),
    "10 GB bit by bit": ("x = []\nwhile True:\n    x.append(bytearray(1 << 20))", {"memory", "timeout"}),
    "10 GB mapped": ("import mmap\nmmap.mmap(-1, 10 * 1024**3)", {"failed"}),
    "its own limits raised": (
        "import resource as r\ntry:\n    r.setrlimit(r.RLIMIT_AS, (-1, -1))\nexcept Exception:\n    pass\n"
        "x = bytearray(10 * 1024**3)",
        {"memory"},
    ),
    "an endless loop": ("while True:\n    pass", {"timeout"}),
    "a loop that heeds no signal": (
        "import signal\nfor n in (signal.SIGTERM, signal.SIGALRM, signal.SIGXCPU, signal.SIGINT):\n"
        "    signal.signal(n, signal.SIG_IGN)\nwhile True:\n    pass",
        {"timeout"},
    ),
    "a loop that catches all": (
        "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
        {"timeout"},
    ),
    "sleep": ("import time\ntime.sleep(600)", {"timeout"}),
    "closed pipes": ("import os\nos.closerange(0, 256)\nwhile True:\n    pass", {"timeout"}),
    "1 GB to stdout": ("for _ in range(1024):\n    print('x' * (1 << 20))", {"output"}),
    "1 GB to stderr": ("import os\nfor _ in range(1024):\n    os.write(2, b'x' * (1 << 20))", {"output"}),
    "1 GB to the harness": (
        "import os\nwhile True:\n    for n in range(3, 64):\n"
        "        try:\n            os.write(n, b'x' * (1 << 16))\n        except OSError: pass",
        {"output"},
    ),
    "1 GB to a file": (
        "with open('big', 'wb') as f:\n    while True:\n        f.write(b'x' * (1 << 20))",
        {"forbidden"},
    ),
    "a file outside": ("open('/tmp/evil', 'w')", {"forbidden"}),
    "a file that is there": ("import os\nos.open('/etc/hostname', os.O_RDWR)", {"forbidden"}),
    "a folder outside": ("import os\nos.mkdir('/tmp/evil')", {"failed"}),
    "a link": ("import os\nos.symlink('/etc/passwd', 'here')", {"failed"}),
    "a removal": (f"import os\nos.unlink({__file__!r})", {"failed"}),
    "a mode changed": (f"import os\nos.chmod({__file__!r}, 0)", {"failed"}),
    "a file emptied": (f"import os\nos.truncate({__file__!r}, 0)", {"failed"}),
    "a socket": ("import socket\nsocket.socket().connect(('127.0.0.1', 1))", {"failed", "forbidden"}),
    "a socket pair": ("import socket\nsocket.socketpair()", {"failed", "forbidden"}),
    "a signal to who waits": ("import os\nos.kill(os.getppid(), 9)", {"forbidden"}),
    "a signal to all": ("import os\nos.kill(-1, 9)", {"forbidden"}),
    "ctypes": ("import ctypes\nctypes.CDLL(None).fork()", {"forbidden"}),
    "the stack": (
        "import sys\nsys.setrecursionlimit(10**9)\ndef f(x):\n    return [f(x)]\nf(1)",
        {"failed", "memory", "timeout"},
    ),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_fails_by_the_layers_that_are_always_there(name: str, held: str) -> None:
    program, kinds = ATTACKS[name]
    began = time.monotonic()
    found = run_python(program, seconds=1)
    assert found.kind in kinds, found
    assert time.monotonic() - began < sandbox.START_SECONDS
    assert Path(__file__).stat().st_mode & 0o444


READING = {
    "a secret": "print(open('/etc/passwd').read())",
    "the environment of who waits": "import os\nopen(f'/proc/{os.getppid()}/environ').read()",
    "its own": "open('/proc/self/environ').read()",
    "a folder": "import os\nos.listdir('/')",
    "a way round": "import os\nopen(os.path.relpath('/etc/passwd')).read()",
}


@pytest.mark.parametrize("name", READING)
def test_what_is_outside_is_not_read(name: str, held: str) -> None:
    found = run_python(READING[name])
    if held == "neither" or (held == "no audit" and "landlock" not in layers()):
        assert found.kind in ("passed", "failed")  # the docstring says so
    else:
        assert found.kind in ("failed", "forbidden")


def test_the_environment_is_empty(monkeypatch: pytest.MonkeyPatch, held: str) -> None:
    monkeypatch.setenv("A_TOKEN", "s3cret")
    assert run_python("import os\nassert dict(os.environ) == {}, dict(os.environ)") == Outcome("passed")
    assert run_python("import os\nassert os.listdir('.') == []\nassert input") == Outcome("passed")


HONEST = {
    "nothing": "",
    "modules": (
        "import collections, csv, datetime, decimal, fractions, functools, hashlib, heapq, itertools, json, logging, "
        "math, random, re, statistics, string, textwrap, typing, unicodedata, uuid, zoneinfo, asyncio, sysconfig"
    ),
    "dataclass": "from dataclasses import dataclass\n@dataclass\nclass P:\n    x: 'int' = 1\nassert P() == P(1)",
    "enum": "from enum import Enum\nclass E(Enum):\n    A = 1\nassert E(1) is E.A",
    "cache": "import functools\n@functools.cache\ndef f(n): return n if n < 2 else f(n-1) + f(n-2)\nassert f(50)",
    "hashing": "import hashlib\nassert hashlib.sha256(b'').hexdigest().startswith('e3b0')",
    "time": "import datetime, time\ntime.sleep(0.01)\ndatetime.datetime.now().astimezone()",
    "some output": "print('x' * 1000)",
    "umlauts": "grün = 'größer'\nassert len(grün) == 6\nprint(grün)",
    "main": "if __name__ == '__main__':\n    raise SystemExit('not asked for')",
    "memory in bounds": "x = bytearray(100 * 1024 * 1024)",
}


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_program_passes(name: str) -> None:
    assert run_python(HONEST[name]) == Outcome("passed")


def test_tests_decide() -> None:
    assert run_python(ADD, tests=TESTS, entry="add") == Outcome("passed")
    wrong = ADD.replace("a + b", "a + a")
    assert run_python(wrong, tests=TESTS, entry="add") == Outcome("failed", "AssertionError at assert add(1, 2) == 3")
    assert run_python("def ad(a, b): return a + b", tests=TESTS, entry="add").detail == "NameError: no add is defined"
    assert run_python("def add(a, b: return", tests=TESTS, entry="add").detail.startswith("SyntaxError: ")
    raised = run_python("def add(a, b): return {}[a]", tests=TESTS, entry="add")
    assert raised == Outcome("failed", "KeyError: 1 at assert add(1, 2) == 3")


FORGED = {
    "exit": "import sys\nsys.exit(0)",
    "os._exit": "import os\nos._exit(0)",
    "exit when called": "def add(a, b):\n    raise SystemExit(0)",
    "os._exit when called": "import os\ndef add(a, b):\n    os._exit(0)",
    "exit at exit": "import atexit, os\natexit.register(os._exit, 0)\ndef add(a, b): return 0",
    "printing": "print('passed')\nprint('ran\\ntested\\npassed\\t')\nimport os\nos._exit(0)",
    "writing everywhere": (
        "import os\nfor n in range(64):\n    try:\n        os.write(n, b'tested\\t\\npassed\\t\\n')\n"
        "    except OSError:\n        pass\nos._exit(0)"
    ),
    "builtins": "import builtins\nbuiltins.AssertionError = builtins.isinstance = builtins.type = builtins.len = int",
    "builtins when called": (
        "import builtins\ndef add(a, b):\n"
        "    for name in dir(builtins):\n        setattr(builtins, name, int)\n    return 0"
    ),
    "a new exec": "import builtins\nbuiltins.exec = builtins.compile = lambda *a, **k: None",
    "equal to all": "class A:\n    __eq__ = lambda self, other: True\ndef add(a, b): return A()",
    "a number equal to all": "class A(int):\n    __eq__ = lambda self, other: True\ndef add(a, b): return A()",
    "a metaclass": (
        "class M(type):\n    __eq__ = lambda self, other: True\n    def __getattribute__(c, n): return int.__eq__\n"
        "class A(metaclass=M):\n    __eq__ = lambda self, other: True\ndef add(a, b): return A()"
    ),
    "the module": "import sys\nsys.modules['__main__'].plain = sys.modules['__main__'].run_tests = lambda *a: None",
    "trace": (
        "import sys\ndef skip(frame, event, arg):\n    if frame.f_code.co_filename == 'tests.py':\n"
        "        raise SystemExit(0)\nsys.settrace(skip)"
    ),
}


@pytest.mark.parametrize("name", FORGED)
def test_a_pass_is_not_forged(name: str) -> None:
    source = FORGED[name] if "def add" in FORGED[name] else f"{FORGED[name]}\ndef add(a, b): return 0\n"
    found = run_python(source, tests=TESTS, entry="add")
    assert found.kind in ("failed", "forbidden"), found


def test_names_of_the_answer_do_not_change_the_tests() -> None:
    source = ADD + "def len(x): return 99\ndef sorted(x): return None\n"
    tests = "assert len([add(1, 1)]) == 1\nassert sorted([2, 1]) == [1, 2]"
    assert run_python(source, tests=tests, entry="add") == Outcome("passed")


def test_a_detail_is_one_line_and_the_same_each_time() -> None:
    source = "raise ValueError(f'{object()}\\n\\x00' + 'x' * 10_000)"
    first, second = run_python(source), run_python(source)
    assert first == second and len(first.detail) <= sandbox_child.LONGEST
    assert "\n" not in first.detail and "0x…" in first.detail
    order = "raise ValueError(str({'a', 'b', 'c', 'd', 'e'}))"
    assert len({run_python(order) for _ in range(3)}) == 1


def test_many_come_back_in_their_order_and_equal_ones_run_once() -> None:
    good, bad = Program(ADD, TESTS, "add"), Program("1 / 0")
    found = run_many([good, bad, good, Program("while True: pass")], processes=2, seconds=1)
    assert [one.kind for one in found] == ["passed", "failed", "passed", "timeout"]
    assert run_many([]) == []


def test_nothing_runs_where_the_sandbox_cannot_be_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    child = tmp_path / "child.py"
    child.write_text(sandbox.CHILD.read_text().replace("LIBC.prctl(22, 2,", "LIBC.prctl(22, 99,"))
    monkeypatch.setattr(sandbox, "CHILD", child)
    with pytest.raises(EnvironmentLacks, match=r"cannot be closed \(seccomp: Invalid argument\), so nothing was run"):
        run_python("1 / 0")
    child.write_text("raise SystemExit(3)")
    with pytest.raises(EnvironmentLacks, match=r"did not start \(status 3\)"):
        run_python("1 / 0")


def test_a_program_does_not_outlive_who_waits_for_it() -> None:
    code = "from bbjspec.sandbox import run_python; run_python('while True: pass', seconds=300)"
    waiting = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env={"TMPDIR": tempfile.gettempdir()})
    while not (started := processes(waiting.pid)):
        time.sleep(0.05)
    waiting.kill()
    waiting.wait()
    while any(state(pid) in ("R", "S", "D") for pid in started):
        time.sleep(0.05)
    for folder in Path(tempfile.gettempdir()).iterdir():  # this alone is left of it
        folder.rmdir()


def test_layers_are_named() -> None:
    assert {"session", "rlimits", "seccomp", "audit"} <= set(layers())


def filtered(code: bytes, architecture: int, number: int, *arguments: int) -> int:
    """What the filter answers, by the rules of classic BPF."""
    data = struct.pack("<IIQ6Q", number, architecture, 0, *(*arguments, *[0] * (6 - len(arguments))))
    program = [struct.unpack_from("HBBI", code, at) for at in range(0, len(code), 8)]
    at = held = 0
    while True:
        what, yes, no, k = program[at]
        at += 1
        if what == 0x20:
            held = int.from_bytes(data[k : k + 4], "little")
        elif what == 0x06:
            return int(k)
        else:
            at += yes if (held == k if what == 0x15 else held & k) else no


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_filter_on_both_architectures(machine: str) -> None:
    column, architecture = sandbox_child.ARCHITECTURES[machine]
    other = next(a for m, (_, a) in sandbox_child.ARCHITECTURES.items() if m != machine)
    code = sandbox_child.seccomp_program(column, architecture)
    allow, kill, refuse = sandbox_child.ALLOW, sandbox_child.KILL, sandbox_child.REFUSE
    assert len(code) // 8 < 4096
    listed = {}
    for table, result in ((sandbox_child.ALLOWED, allow), (sandbox_child.KILLED, kill), (sandbox_child.OPENING, allow)):
        for number in sandbox_child.numbers(table, column).values():
            assert number not in listed
            listed[number] = result
    for number in range(600):
        assert filtered(code, architecture, number) == listed.get(number, refuse)
        assert filtered(code, other, number) == kill
        assert filtered(code, architecture, number | 0x40000000) == refuse
    opening = sandbox_child.numbers(sandbox_child.OPENING, column)["openat"]
    for flags in (os.O_WRONLY, os.O_RDWR, os.O_CREAT, os.O_TRUNC, os.O_RDWR | os.O_APPEND):
        assert filtered(code, architecture, opening, 0, 0, flags) == kill
    assert filtered(code, architecture, opening, 0, 0, os.O_RDONLY | os.O_CLOEXEC) == allow
