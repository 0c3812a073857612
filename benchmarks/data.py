"""The data audit against its goals: near-duplicates against all distances, and the whole audit from the command line.

    python benchmarks/data.py [--rows 9922] [--many 100000] [--command "python -m bbjspec audit"]

Near-duplicates and one `rapidfuzz.process.cdist` over all pairs run in a child process each, on the same questions,
with the same number of threads. Memory is the peak resident set of the child (VmHWM) less what was resident before the
work, libraries and texts read. The audit's memory is the largest sum of the resident sets of the command and its
children, looked at 20 times a second; pages that they share count twice. Needs Linux. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from bbjspec.bbj.parallel import usable_cpus  # noqa: E402
from bbjspec.data.near import near_duplicates  # noqa: E402
from bbjspec.data.rows import Row, normalise, read_rows  # noqa: E402
from benchmarks.rows import rows  # noqa: E402  the path comes first

SHARE = 0.1
MB = 1e6
INTERVAL = 0.05  # seconds between two looks at the memory

Pairs = list[tuple[int, int]]


def resident(process: int | str, field: str = "VmRSS") -> int:
    """Bytes of a process's memory, by a field of its status; 0 if it is gone."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(field + ":")), 0)


def family(process: int) -> list[int]:
    """The process and all below it."""
    found = [process]
    for one in found:
        for path in Path(f"/proc/{one}/task").glob("*/children"):
            try:
                found += map(int, path.read_text().split())
            except OSError:
                continue
    return found


def all_distances(texts: list[str]) -> Callable[[], Any]:
    """What near-duplicates are compared with: the distance of every text to every text."""
    from rapidfuzz.distance import Levenshtein
    from rapidfuzz.process import cdist

    return lambda: cdist(texts, texts, scorer=Levenshtein.distance, workers=usable_cpus())


def pairs_of(distances: Any, texts: list[str]) -> Pairs:
    """The near pairs in a matrix of all distances; the texts are distinct."""
    import numpy as np

    lengths = np.array(list(map(len, texts)))
    found: Pairs = []
    for i, row in enumerate(distances):
        near = row[i + 1 :] * 10 < np.maximum(lengths[i], lengths[i + 1 :])  # SHARE is a tenth
        found += ((i, i + 1 + int(j)) for j in np.flatnonzero(near))
    return found


def child(way: str, path: str) -> None:
    """Does one of both and prints seconds, bytes and pairs as JSON."""
    texts = list(dict.fromkeys(normalise(row.question) for row in read_rows(Path(path)) if isinstance(row, Row)))
    near_duplicates(["abcdefghijkl", "abcdefghijkm"])  # the libraries are loaded
    work = all_distances(texts) if way == "cdist" else lambda: near_duplicates(texts, SHARE)
    before, began = resident("self"), time.perf_counter()
    result = work()
    seconds, peak = time.perf_counter() - began, resident("self", "VmHWM") - before
    pairs = pairs_of(result, texts) if way == "cdist" else result
    print(json.dumps({"seconds": seconds, "bytes": peak, "pairs": pairs, "questions": len(texts)}))


def measured(way: str, path: Path) -> dict[str, Any]:
    """What a child process found."""
    command = [sys.executable, __file__, "--child", way, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def audited(command: list[str], path: Path) -> tuple[float, int, dict[str, Any]]:
    """Seconds and peak bytes of the audit of a file, and what it printed."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "NO_COLOR": "1"}
    with tempfile.TemporaryFile() as output:
        began, peak = time.perf_counter(), 0
        process = subprocess.Popen([*command, str(path), "--json"], cwd=ROOT, env=environment, stdout=output)
        while process.poll() is None:
            peak = max(peak, sum(map(resident, family(process.pid))))
            time.sleep(INTERVAL)
        seconds = time.perf_counter() - began
        output.seek(0)
        printed = output.read()
    if process.returncode not in (0, 1):
        raise SystemExit(f"{shlex.join(command)} ended with {process.returncode}")
    return seconds, peak, json.loads(printed)


def line(what: str, measured_: str, goal: str, met: bool) -> None:
    """A row of the table."""
    print(f"| {what} | {measured_} | {goal}{'' if met else ', **missed**'} |", flush=True)


def near_lines(path: Path) -> None:
    """The rows on near-duplicates against all distances."""
    ours, theirs = measured("near", path), measured("cdist", path)
    time_ratio, memory_ratio = ours["seconds"] / theirs["seconds"], ours["bytes"] / theirs["bytes"]
    what = f"near-duplicates of {ours['questions']:,} questions"
    line(
        f"{what}, time",
        f"{ours['seconds']:.2f} s, {time_ratio:.3f} × {theirs['seconds']:.1f} s",
        "1 ×",
        time_ratio <= 1,
    )
    memory = f"{ours['bytes'] / MB:.0f} MB, {memory_ratio:.2f} × {theirs['bytes'] / MB:.0f} MB"
    line(f"{what}, memory", memory, "0.25 ×", memory_ratio <= 0.25)
    same = ours["pairs"] == theirs["pairs"]
    line(f"{what}, pairs", f"{len(ours['pairs'])}, {'the same' if same else 'others'}", "the same", same)


def main() -> None:
    """Generate, measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=9922)
    parser.add_argument("--many", type=int, default=100_000)
    parser.add_argument("--command", default=f"{shlex.quote(sys.executable)} -m bbjspec audit")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(*options.child)
        return
    with tempfile.TemporaryDirectory() as folder:
        few, many = Path(folder, "few.jsonl"), Path(folder, "many.jsonl")
        for path, count in ((few, options.rows), (many, options.many)):
            with path.open("w", encoding="utf-8") as stream:
                stream.writelines(f"{row}\n" for row in rows(count))
        print(f"{usable_cpus()} CPUs, Python {sys.version.split()[0]}\n\n| what | measured | goal |\n|---|---|---|")
        near_lines(few)
        ours = measured("near", many)
        found = f"{ours['seconds']:.1f} s, {ours['bytes'] / MB:.0f} MB, {len(ours['pairs'])} pairs"
        line(f"near-duplicates of {ours['questions']:,} questions", found, "25 s", ours["seconds"] <= 25)
        for path, most, bytes_ in ((few, 5.0, None), (many, 60.0, 1500 * MB)):
            seconds, peak, document = audited(shlex.split(options.command), path)
            flagged = document["checks"]["compile_error"]["count"], document["checks"]["near_duplicate"]["count"]
            what = f"audit of {document['rows']:,} rows ({path.stat().st_size / MB:.0f} MB)"
            line(f"{what}, time", f"{seconds:.1f} s", f"{most:g} s", seconds <= most)
            goal = "" if bytes_ is None else f"{bytes_ / MB:.0f} MB"
            line(f"{what}, memory", f"{peak / MB:.0f} MB", goal, bytes_ is None or peak < bytes_)
            print(f"| {what}, flagged | {flagged[0]} compile errors, {flagged[1]} near-duplicates | |", flush=True)


if __name__ == "__main__":
    main()
