"""How fast answers are generated and judged, against the simple ways. On the CPU, one after the other.

    python benchmarks/eval.py

Generation: the demo's base, prompts and sampling by the stage's own sampler: one of the batches that the stage makes,
against one answer after another for every third sample of that batch, scaled. Judging: 500 programs in one call of what
`score` calls, against one `bbjspec cpl` a file, 40 of them, scaled. Prints a table.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from bbjspec.bbj.compiler import open_compiler  # noqa: E402
from bbjspec.bbj.parallel import compile_all  # noqa: E402
from bbjspec.generation.base import derived_seed  # noqa: E402
from bbjspec.generation.journal import plan  # noqa: E402
from bbjspec.generation.prompts import rendered  # noqa: E402
from bbjspec.plan import read_plan  # noqa: E402
from bbjspec.stage import Stage, StageRun  # noqa: E402
from bbjspec.stages import base, models, tokenizer  # noqa: E402
from bbjspec.stages.sampler import Sampler  # noqa: E402

EVERY = 3  # of the batch's samples, one by one
PROGRAMS = 500
PROCESSES = 40
CPL = [sys.executable, "-c", "from bbjspec.cli import entry; entry()", "cpl", "-N"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def stage_run(stage: Stage, out: Path) -> StageRun:
    """The stage at work in `out`, on the repository's files."""
    (out / stage.kind).mkdir(parents=True, exist_ok=True)
    return StageRun(
        kind=stage.kind,
        digest=stage.digest,
        root=ROOT,
        directory=out / stage.kind,
        config=stage.config,
        inputs={role: out / upstream.kind for role, upstream in stage.inputs.items()},
        sources={role: [ROOT / name for name in source.files] for role, source in stage.sources.items()},
        resources={"gpu": 0},
        log=logging.getLogger("benchmark"),
    )


def generation() -> tuple[float, float, int]:
    """Seconds of one batch, of a loop over its samples, and how many there are."""
    roles = read_plan(ROOT).experiments["demo"].roles
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        for kind, work in (("tokenizer", tokenizer.run), ("base", base.run)):
            found = ROOT / roles[kind].directory
            if (found / "manifest.json").is_file():
                (out / kind).symlink_to(found)
            else:
                work(stage_run(roles[kind], out))
        run = stage_run(roles["base_generate"], out)
        sampling = run.config["sampling"]
        models.prepare(run)
        words = models.load_tokenizer(run, "left")
        sampler = Sampler(models.load_base(run, run.config["model"]), words, sampling)
        batch = [task.ids for task, _ in plan(rendered(run, words), sampling["n"], sampling["batch_size"])[0]]
        sampler.greedy(batch[:1], 4)
        began = time.perf_counter()
        sampler.sample(batch, derived_seed(sampling["seed"], 0))
        together = time.perf_counter() - began
        began = time.perf_counter()
        for index, ids in enumerate(batch[::EVERY]):
            sampler.sample([ids], derived_seed(sampling["seed"], index))
        apart = (time.perf_counter() - began) * len(batch) / len(batch[::EVERY])
    return together, apart, len(batch)


def judging() -> tuple[float, float]:
    """Seconds for all programs in one call, and for as many processes of a file each."""
    references = [
        json.loads(row)["reference"]
        for path in sorted((ROOT / "eval/prompts/syntax").glob("*.jsonl"))
        for row in path.read_text(encoding="utf-8").splitlines()
    ]
    programs = [f"{references[i % len(references)]}\nprint {i}\n" for i in range(PROGRAMS)]  # all different
    compiler = open_compiler("builtin", None, None)
    began = time.perf_counter()
    compile_all(compiler, programs)
    together = time.perf_counter() - began
    with tempfile.TemporaryDirectory() as folder:
        for i in range(PROCESSES):
            Path(folder, f"p{i}.bbj").write_text(programs[i], encoding="utf-8")
        began = time.perf_counter()
        for i in range(PROCESSES):
            subprocess.run([*CPL, f"p{i}.bbj"], cwd=folder, env=ENVIRONMENT, check=True, capture_output=True)
        apart = (time.perf_counter() - began) * PROGRAMS / PROCESSES
    return together, apart


def main() -> None:
    """Prints the table."""
    batched, loop, samples = generation()
    together, apart = judging()
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} cores, on the CPU")
    print("| what | together | one by one | times as fast | goal |\n|---|---|---|---|---|")
    rows = [
        (f"a batch of {samples} of the demo", batched, loop, 4),
        (f"{PROGRAMS} programs judged", together, apart, 20),
    ]
    for what, fast, slow, goal in rows:
        print(f"| {what} | {fast:.2f} s | {slow:.0f} s | {slow / fast:.0f} | {goal} at least |")


if __name__ == "__main__":
    main()
