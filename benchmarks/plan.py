"""How long planning takes: nothing to do, few and many experiments, shared and unique stages.

    python benchmarks/plan.py [--experiments 1000] [--repeat 3] [--profile]

Builds projects under a temporary folder, with whole stages faked cheaply (see tests/whole.py), and prints one table;
each number is the best of `--repeat` runs, all in one go, because machines differ and so do their hours.
"""

from __future__ import annotations

import argparse
import cProfile
import os
import pstats
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from bbjspec import store  # noqa: E402  the path comes first
from bbjspec.digest import FileHashes  # noqa: E402
from bbjspec.plan import MEMO, read_plan  # noqa: E402
from tests.harness import SPEC, write_project  # noqa: E402
from tests.whole import publish_all  # noqa: E402

EMPTY = """rule all:
    input:
        "there",
"""


def environment() -> dict[str, str]:
    """The children import this very package."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return os.environ | {"PATH": path, "PYTHONPATH": str(REPOSITORY), "NO_COLOR": "1"}


def seconds(root: Path, *command: str, idle: bool = True) -> float:
    """Wall time of a command; Snakemake must find nothing to do if `idle`."""
    began = time.monotonic()
    done = subprocess.run(command, cwd=root, env=environment(), capture_output=True, text=True, check=False)
    took = time.monotonic() - began
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    if idle and command[0] == "snakemake" and "Nothing to be done" not in done.stdout + done.stderr:
        raise SystemExit(f"{' '.join(command)} found something to do:\n{done.stdout}{done.stderr}")
    return took


def text(root: Path, *command: str) -> str:
    """What a command prints."""
    return subprocess.run(command, cwd=root, env=environment(), capture_output=True, text=True, check=True).stdout


def project(root: Path, count: int, *, unique: bool) -> int:
    """A project of `count` published experiments, by learning rate or all alike. Returns how many stages it has."""
    write_project(root)
    (root / "experiments/v1.yaml").unlink()
    for i in range(count):
        rate = f"{1e-5 * (i + 1):.6g}" if unique else "1e-3"
        text = SPEC.replace("learning_rate: 1e-3", f"learning_rate: {rate}")
        (root / f"experiments/v{i:05}.yaml").write_text(text)
    plan = read_plan(root)
    os.fsync = lambda descriptor: None  # a benchmark's files need not survive a power cut
    publish_all(plan)
    return len(plan.stages)


def planning(root: Path) -> float:
    """`read_plan` alone, with the memo of hashes that a run before has left."""
    began = time.monotonic()
    plan = read_plan(root, FileHashes(root / MEMO))
    took = time.monotonic() - began
    states = {plan.experiment_state(experiment) for experiment in plan.experiments.values()}
    if states != {"published"} or plan.bad:
        raise SystemExit(f"not up to date: {states} {plan.findings()[:3]}")
    return took


def profile(root: Path) -> None:
    """Where `read_plan` spends its time."""
    profiler = cProfile.Profile()
    profiler.enable()
    read_plan(root, FileHashes(root / MEMO))
    profiler.disable()
    pstats.Stats(profiler).sort_stats("cumulative").print_stats(35)
    pstats.Stats(profiler).sort_stats("tottime").print_stats(20)


def has_make() -> bool:
    """Whether `bbjspec compile --to make` is there to be measured."""
    done = subprocess.run(
        [sys.executable, "-m", "bbjspec", "compile", "--help"], env=environment(), capture_output=True, check=False
    )
    return done.returncode == 0 and shutil.which("make") is not None


def main() -> None:
    """Build, measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--experiments", type=int, default=1000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    engine = ("snakemake", "--cores", "2")

    def best(measure: Callable[[], float]) -> float:
        return min(measure() for _ in range(options.repeat))

    with tempfile.TemporaryDirectory() as scratch:
        bare = Path(scratch, "bare")
        bare.mkdir()
        (bare / "Snakefile").write_text(EMPTY)
        (bare / "there").touch()
        floor = best(lambda: seconds(bare, *engine))
        print(f"{os.cpu_count()} cores, best of {options.repeat}")
        print(f"Snakemake on a Snakefile of one up-to-date target: {floor:.2f} s\n")
        make = has_make()
        heads = ("project", "stages", "read_plan", "snakemake", "x bare", *(("make -n",) if make else ()))
        print("  ".join(f"{head:>22}" if i == 0 else f"{head:>9}" for i, head in enumerate(heads)))
        cases = [(1, True), (10, True), (100, True), (options.experiments, False), (options.experiments, True)]
        for count, unique in dict.fromkeys(cases):
            root = Path(scratch, f"{count}-{unique}")
            stages = project(root, count, unique=unique)
            seconds(root, *engine)  # writes the memo of hashes
            plan, whole = best(lambda at=root: planning(at)), best(lambda at=root: seconds(at, *engine))
            cells = [f"{count} {'unique' if unique else 'alike'}", stages, f"{plan:.2f} s", f"{whole:.2f} s"]
            cells.append(f"{whole / floor:.2f}")
            if make:
                (root / "Makefile.bbjspec").write_text(
                    text(root, sys.executable, "-m", "bbjspec", "compile", "--to", "make")
                )
                cells.append(f"{best(lambda at=root: seconds(at, 'make', '-nf', 'Makefile.bbjspec')):.2f} s")
            print("  ".join(f"{cell:>22}" if i == 0 else f"{cell:>9}" for i, cell in enumerate(cells)), flush=True)
        if not make:
            print("\nno column for Make: `bbjspec compile --to make` or make itself is not there")
        bbjspec = (sys.executable, "-m", "bbjspec")
        print(f"\nbbjspec plan, nothing to do: {best(lambda: seconds(root, *bbjspec, 'plan')):.2f} s")
        with (root / "templates/MODEL_CARD.md.j2").open("a") as template:
            template.write("another line\n")
        print(f"after an edit that makes all {options.experiments} cards anew:")
        print(f"  bbjspec plan {best(lambda: seconds(root, *bbjspec, 'plan')):.2f} s")
        dry = (*engine, "--dry-run", "--quiet", "all")
        print(f"  snakemake --dry-run {best(lambda: seconds(root, *dry, idle=False)):.2f} s", flush=True)
        if options.profile:
            profile(root)
            print(f"manifests in build/: {sum(1 for _ in root.glob(f'build/*/*/{store.MANIFEST}'))}")


if __name__ == "__main__":
    main()
