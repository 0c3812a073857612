"""Several runs in one project: each stage does its work once, a stopped run is waited for, a dead one is not."""

from __future__ import annotations

import logging
import os
import random
import shutil
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bbjspec import publish, store
from bbjspec.digest import FileHashes
from bbjspec.plan import read_plan
from bbjspec.published import Published
from bbjspec.stagelog import LOG as STAGE_LOG
from tests.harness import SPEC, environment, log_starts, snakemake, working, write_project
from tests.reliability.kills import at_work, leftovers, outputs, placed, started
from tests.unit.test_store import dummy, root, runs, start
from tests.whole import publish_whole

__all__ = ["root"]  # a fixture


def test_three_runs_at_once(finished: Path, small: Path) -> None:
    """Two of everything, and one of an experiment that shares all but its publishing."""
    (small / "experiments/v2.yaml").write_text(SPEC.replace("description: the", "description: once more the"))
    shutil.rmtree(small / "adapters")
    shutil.rmtree(small / "eval/baselines")
    again = ("contamination", "score", "compare", "card", "publish")
    for kind in again:
        shutil.rmtree(small / "build" / kind)
    words = ["snakemake", "--cores", "2"]
    engines = [
        subprocess.Popen(
            [*words, *target, "--resources", "gpu=1"],
            cwd=small,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for target in ([], [], ["v2"])
    ]
    said = [engine.communicate(timeout=300)[0] for engine in engines]
    assert [engine.returncode for engine in engines] == [0, 0, 0], said
    done_again = {stage: count for stage, count in log_starts(small).items() if stage.split("/")[0] in again}
    assert len(done_again) == 5 and set(done_again.values()) == {1}, done_again
    assert outputs(small) == outputs(finished) and leftovers(small) == []
    found = placed(small)
    assert {name: sha for name, sha in found.items() if "/v2/" not in name} == placed(finished)
    assert not Published.read(small, FileHashes()).bad
    again_said = snakemake(small)
    assert "Nothing to be done" in again_said.stdout + again_said.stderr


def test_many_publish_at_once(tmp_path: Path) -> None:
    """They share the folder of the base's answers."""
    root = tmp_path / "project"
    write_project(root)
    names = [f"w{i}" for i in range(6)]
    for name in names:
        (root / f"experiments/{name}.yaml").write_text(SPEC.replace("1e-3", f"{random.Random(name).random():.4f}"))
    plan = read_plan(root)
    for experiment in plan.experiments.values():
        publish_whole(root, experiment)
    with ThreadPoolExecutor(7) as pool:
        for _ in range(5):
            list(pool.map(lambda e: publish.run(root, e.publish_document, LOG), plan.experiments.values()))
            found = read_plan(root)
            assert not found.bad and {found.experiment_state(e) for e in found.experiments.values()} == {"published"}
    assert leftovers(root) == []


LOG = logging.getLogger("tests.at_once")
LOG.propagate = False


@pytest.mark.parametrize("then", ["continued", "killed"])
def test_a_stopped_orphan_is_waited_for(root: Path, then: str) -> None:
    """Stopped, as by a terminal or a cluster that lets another job go first."""
    path = store.prepare(root, dummy(root, seconds=0.5))
    first = start(root, path)
    while not (root / "started").exists():
        time.sleep(0.01)
    os.kill(first.pid, signal.SIGSTOP)
    second = start(root, path)
    time.sleep(1.5)
    assert second.poll() is None, "it waits"
    os.kill(first.pid, signal.SIGCONT if then == "continued" else signal.SIGKILL)
    _, said = second.communicate(timeout=30)
    assert second.returncode == 0 and f"waiting: process {first.pid} on " in said.decode(), said
    assert first.wait(30) == (0 if then == "continued" else -signal.SIGKILL)
    assert runs(root) == (1 if then == "continued" else 2) and store.is_whole(path.parent)


@pytest.mark.parametrize("left", [b"process 1 on here\n", b"\xff\xfe\0", b""])
def test_the_lock_of_a_machine_that_lost_its_power_holds_nobody_up(root: Path, left: bytes) -> None:
    path = store.prepare(root, dummy(root))
    (path.parent / store.LOCK).write_bytes(left)
    (path.parent / STAGE_LOG).write_text("2026-01-01T00:00:00 INFO starts\n")
    store.run(path)
    assert store.is_whole(path.parent) and "waiting" not in (path.parent / STAGE_LOG).read_text()


def test_a_stage_that_is_killed_is_told_in_one_line(small: Path) -> None:
    """It cannot say so itself: a fault in a library, or a system that is out of memory."""
    shutil.rmtree(small / "adapters")
    for kind in ("generate", "score", "compare", "card", "publish"):
        shutil.rmtree(small / "build" / kind)
    for by in (signal.SIGSEGV, signal.SIGKILL):
        (small.parent / "said.log").unlink(missing_ok=True)
        engine = started(small)
        while not working(small, "generate") and engine.poll() is None:
            time.sleep(0.01)
        (log,) = (log for log in small.glob("build/generate/*/stage.log") if log.read_text().endswith(" starts\n"))
        for pid in at_work(small):
            os.kill(pid, by)
        assert engine.wait(60) == 1
        said = (small.parent / "said.log").read_text()
        lines = [line for line in said.splitlines() if line.startswith("bbjspec: ")]
        assert "Traceback" not in said and lines == [
            f"bbjspec: generate {log.parent.name[:8]} ended without a word: it was killed, for want of memory most "
            "often; run the same command again, and it goes on from what is saved"
        ]
        shutil.rmtree(log.parent)
