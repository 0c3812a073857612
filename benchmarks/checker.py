"""How fast the embedded checker is, against its goals. One core; medians of several runs.

    python benchmarks/checker.py [FOLDER…]      the folders hold real programs (.bbj); default: the project's own

Prints a table, then how the time grows with the size of a few awkward inputs (doubled: about 2 is linear).
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from bbjspec.bbj.checker import BUILTIN_VERSION, check  # noqa: E402
from bbjspec.bbj.cpl import decoded  # noqa: E402

CPL = [sys.executable, "-c", "from bbjspec.cli import entry; entry()", "cpl", "-N"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def seconds(run: Callable[[], object], times: int = 7) -> float:
    """The median time of `run`, in seconds."""
    found = []
    for _ in range(times):
        began = time.perf_counter()
        run()
        found.append(time.perf_counter() - began)
    return statistics.median(found)


def own_programs() -> list[str]:
    """The valid programs of tests/bbj and the references of the prompts."""
    found = []
    for name in ("tests/bbj/conformance.jsonl", "tests/bbj/programs.jsonl"):
        rows = [json.loads(row) for row in (ROOT / name).read_text(encoding="utf-8").splitlines()]
        found += [row["code"] for row in rows if row["expect"] == "valid"]
    for path in sorted((ROOT / "eval/prompts/syntax").glob("*.jsonl")):
        found += [json.loads(row)["reference"] for row in path.read_text(encoding="utf-8").splitlines()]
    return found


def of_lines(programs: list[str], lines: int) -> str:
    """About the first `lines` lines of programs, whole programs only."""
    text = ""
    for program in programs:
        if len((text + program).splitlines()) > lines:
            break
        text += program.rstrip("\n") + "\n"
    return text


def call(paths: list[str], folder: str) -> None:
    """One call of `bbjspec cpl`, as a process of its own."""
    subprocess.run([*CPL, *paths], cwd=folder, env=ENVIRONMENT, check=True, capture_output=True)


def main(folders: list[Path]) -> None:
    """Prints the table."""
    own = [program for program in own_programs() if not program[:1].isdigit()]
    short = min(own, key=lambda text: abs(len(text.splitlines()) - 30))
    real = [decoded(path.read_bytes()) for folder in folders for path in sorted(folder.rglob("*.bbj"))]
    big = "\n".join(real or own * 10)
    check(short)  # the tables are read once
    each = seconds(lambda: check(short), 25)
    speed = len(big.encode()) / 1000 / seconds(lambda: check(big), 3)
    with tempfile.TemporaryDirectory() as folder:
        names = [f"p{i:03d}.bbj" for i in range(500)]
        for i, name in enumerate(names):
            Path(folder, name).write_text(own[i % len(own)], encoding="utf-8")
        Path(folder, "empty.bbj").write_text("", encoding="utf-8")
        start = seconds(lambda: call(["empty.bbj"], folder), 5)
        many = seconds(lambda: call(names, folder), 3) - start
    print(f"builtin {BUILTIN_VERSION}, Python {sys.version.split()[0]}, {os.cpu_count()} cores")
    rows = [
        (f"a program of {len(short.splitlines())} lines", f"{1000 * each:.2f} ms", "20 ms"),
        (f"{len(big) // 1000} KB of {'real' if real else 'own'} programs", f"{speed:.0f} KB/s", "300 KB/s at least"),
        ("500 programs in one call, after start-up", f"{many:.2f} s", "3 s"),
        ("start-up of bbjspec cpl", f"{start:.2f} s", "0.5 s"),
    ]
    print("| what | measured | goal |\n|---|---|---|")
    for row in rows:
        print("| " + " | ".join(row) + " |")
    growth()


def growth() -> None:
    """Prints the ratio of times when awkward inputs double."""
    shapes: dict[str, Callable[[int], str]] = {
        "nested parentheses": lambda n: "a = " + "(" * n + "1" + ")" * n,
        "one long sum": lambda n: "a = 1" + "+1" * n,
        "one long string": lambda n: 'a$ = "' + "x" * n * 20,
        "continuation lines": lambda n: "a = 1" + "\n:+1" * n,
        "IFs on one line": lambda n: "if a then " * n + "b=1",
        "lines": lambda n: "print 1\n" * n,
        "wrong lines": lambda n: "print (1\n" * n,
        "one wrong line of many statements": lambda n: "print (;" * n,
        "labels": lambda n: "".join(f"l{i}: goto l{i}\n" for i in range(n)),
        "undefined labels on one line": lambda n: "".join(f"goto l{i};" for i in range(n)),
        "classes": lambda n: "".join(f"class public C{i}\nclassend\n" for i in range(n)),
        "apostrophes, dollars, colons": lambda n: "'$::\"" * n,
        "PRINT and a long channel": lambda n: "print (1);" * n,
        "NUL bytes": lambda n: "\0" * n,
    }
    print("\n| shape | s at 20,000 | ratio when doubled |\n|---|---|---|")
    for name, shape in shapes.items():
        first, second = shape(20_000), shape(40_000)
        once, twice = seconds(lambda: check(first), 3), seconds(lambda: check(second), 3)  # noqa: B023
        print(f"| {name} | {once:.3f} | {twice / max(once, 1e-9):.1f} |")


if __name__ == "__main__":
    main([Path(argument) for argument in sys.argv[1:]])
