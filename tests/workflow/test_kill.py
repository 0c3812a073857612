"""kill -9 of Snakemake, of a stage, and of both, at ten moments: the same command finishes, to the same hashes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from tests.harness import environment, snakemake, working, write_project


def stage_processes(root: Path) -> list[int]:
    """Processes at work on a stage of this project."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if b"bbjspec" in words and b"run" in words and (entry / "cwd").readlink() == root:
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def kill(pids: list[int]) -> None:
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def trained(root: Path, step: int) -> bool:
    """Whether training has a whole checkpoint of this step or a later one."""
    states = root.glob("build/train/*/work/checkpoint-*/trainer_state.json")
    return any(int(state.parent.name.removeprefix("checkpoint-")) >= step for state in states)


def outputs(root: Path) -> dict[str, str]:
    """SHA-256 of every reproducible output, by stage and name."""
    found = {}
    for manifest in sorted(root.glob("build/*/*/manifest.json")):
        document = json.loads(manifest.read_text())
        for name, entry in document["files"].items():
            # The card quotes records (when, how long); everything else must be the same bytes.
            if entry["group"] == "output" and document["kind"] != "card":
                found[f"{document['kind']}/{document['digest']}/{name}"] = entry["sha256"]
    return found


# What is killed, and when: each moment lies behind the one before, so that each is met.
MOMENTS: list[tuple[str, Callable[[Path], bool]]] = [
    ("engine", lambda root: working(root, "tokenizer")),
    ("stage", lambda root: working(root, "base")),
    ("both", lambda root: working(root, "base")),
    ("stage", lambda root: working(root, "train")),
    ("stage", lambda root: trained(root, 4)),
    ("both", lambda root: trained(root, 16)),
    ("engine", lambda root: trained(root, 28)),
    ("both", lambda root: working(root, "generate")),
    ("stage", lambda root: working(root, "score")),
    ("engine", lambda root: any(root.glob("build/compare/*/stage.log"))),
]


def test_ten_kills(finished: Path, tmp_path: Path) -> None:
    root = tmp_path / "project"
    write_project(root)
    for number, (what, moment) in enumerate(MOMENTS, 1):
        engine = subprocess.Popen(
            ["snakemake", "--cores", "2", "--resources", "gpu=1"],
            cwd=root,
            env=environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + 120
        while not moment(root):
            assert engine.poll() is None and time.monotonic() < deadline, f"moment {number} was not met"
            time.sleep(0.01)
        stages = stage_processes(root)
        if what in ("engine", "both"):
            kill([engine.pid])
        if what in ("stage", "both"):
            kill(stages)
        engine.wait(180)
    done = snakemake(root)
    assert done.returncode == 0, done.stdout + done.stderr
    assert stage_processes(root) == []
    assert outputs(root) == outputs(finished)
    for log in root.glob("build/*/*/stage.log"):
        if log.parent.parent.name != "publish":
            assert log.read_text().count(" INFO whole after") == 1, f"{log}: a finished stage ran once"
    (training,) = root.glob("build/train/*/stage.log")
    resumed = [int(step) for step in re.findall(r" INFO resuming from step (\d+)", training.read_text())]
    assert len(resumed) >= 2 and resumed[0] >= 4 and resumed[1] >= 16, training.read_text()
    assert not list(root.glob("build/*/*/work")), "scratch is gone"
    again = snakemake(root)
    assert "Nothing to be done" in again.stdout + again.stderr
