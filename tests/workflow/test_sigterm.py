"""SIGTERM, as a cluster sends it, and Ctrl-C: to a training, to Snakemake, to both; the same command finishes."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from bbjspec.stages import checkpoints
from bbjspec.store import is_whole
from tests.harness import environment, snakemake
from tests.reliability.kills import MARK, outputs, processes, trained


def started(root: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        words,
        cwd=root,
        env=environment() | {MARK: str(root)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # the tests may run in the background
    )


def until_trained(root: Path, step: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not trained(root, step):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()[0]
        time.sleep(0.01)


def saved(stage: Path) -> int:
    newest = checkpoints.newest(stage / "work")
    return checkpoints.step(newest) if newest else 0


def test_training_goes_on_after_sigterm(finished: Path, small: Path) -> None:
    (stage,) = small.glob("build/train/*")
    mine = f"train/{stage.name}/"
    wanted = {name: found for name, found in outputs(finished).items() if name.startswith(mine)}
    shutil.rmtree(small / "adapters")
    for kind in ("generate", "score", "compare", "card", "publish"):
        shutil.rmtree(small / "build" / kind)
    for left in stage.iterdir():
        if left.name != "stage.json":
            shutil.rmtree(left) if left.is_dir() else left.unlink()

    # The training alone, asked from outside.
    process = started(small, sys.executable, "-m", "bbjspec", "run", f"build/train/{stage.name}/stage.json")
    until_trained(small, 8, process)
    process.terminate()
    said = process.communicate(timeout=300)[0]
    first = saved(stage)
    assert process.returncode == 143 and "Traceback" not in said, said
    assert said.splitlines()[-1] == (
        f"train {stage.name[:8]}: training was asked to stop: step {first} of 48 is saved; run the same "
        "command again to go on from there"
    )

    # Snakemake and all that it started, as by Ctrl-C, and as when a batch job's time is over.
    target = f"build/train/{stage.name}/done"
    words = ("snakemake", "--cores", "2", target, "--resources", "gpu=1")
    stops = [first]
    for number in (signal.SIGINT, signal.SIGTERM):
        process = started(small, *words)
        until_trained(small, stops[-1] + 4, process)
        os.killpg(process.pid, number)
        said = process.communicate(timeout=300)[0]
        assert process.returncode == 1 and "Traceback" not in said and "ended without a word" not in said, said
        stops.append(saved(stage))
        assert f": training was asked to stop: step {stops[-1]} of 48 is saved" in said
        assert not (stage / "done").exists() and stops[-2] + 4 <= stops[-1] < 48

    # Snakemake alone: it lets the training end.
    process = started(small, *words)
    until_trained(small, stops[-1] + 4, process)
    process.terminate()
    said = process.communicate(timeout=300)[0]
    assert "Traceback" not in said and is_whole(stage), said

    done = snakemake(small, target)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not processes(small)
    assert {name: found for name, found in outputs(small).items() if name.startswith(mine)} == wanted
    resumed = re.findall(r" INFO resuming from step (\d+)", (stage / "stage.log").read_text())
    assert [int(step) for step in resumed] == stops
