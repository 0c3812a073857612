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

from tests.harness import environment, snakemake, write_project


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


def working(root: Path, kind: str) -> bool:
    logs = list(root.glob(f"build/{kind}/*/stage.log"))
    return any("INFO starts" in log.read_text() and "whole after" not in log.read_text() for log in logs)


def checkpoints(root: Path, least: int) -> bool:
    return len(list(root.glob("build/train/*/work/**/trainer_state.json"))) >= least


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


def test_ten_kills(finished: Path, tmp_path: Path) -> None:
    root = tmp_path / "project"
    write_project(root)
    moments: list[tuple[str, Callable[[], bool]]] = [
        ("engine", lambda: working(root, "tokenizer")),
        ("stage", lambda: working(root, "base")),
        ("both", lambda: working(root, "split") or working(root, "audit")),
        ("stage", lambda: working(root, "train")),
        ("stage", lambda: checkpoints(root, 1)),
        ("both", lambda: checkpoints(root, 2)),
        ("engine", lambda: checkpoints(root, 2)),
        ("both", lambda: working(root, "generate")),
        ("engine", lambda: working(root, "score")),
        ("stage", lambda: working(root, "compare") or working(root, "card")),
    ]
    resumed = 0
    for what, moment in moments:
        engine = subprocess.Popen(
            ["snakemake", "--cores", "2", "--resources", "gpu=1"],
            cwd=root,
            env=environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + 120
        while not moment() and engine.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        stages = stage_processes(root)
        if what in ("engine", "both"):
            kill([engine.pid])
        if what in ("stage", "both"):
            kill(stages)
        if what != "stage":
            engine.wait(30)
        else:
            engine.wait(180)
        resumed += 1
    assert resumed == 10
    done = snakemake(root)
    assert done.returncode == 0, done.stdout + done.stderr
    assert stage_processes(root) == []
    assert outputs(root) == outputs(finished)
    for log in root.glob("build/*/*/stage.log"):
        text = log.read_text()
        if log.parent.parent.name != "publish":
            assert len(re.findall(r"INFO whole after", text)) == 1, f"{log}: a finished stage ran once"
    (training,) = root.glob("build/train/*/stage.log")
    text = training.read_text()
    assert "resum" in text, text
    assert not list(root.glob("build/*/*/work")), "scratch is gone"
    assert "Nothing to be done" in (lambda again: again.stdout + again.stderr)(snakemake(root))
