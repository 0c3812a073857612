"""kill -9 of Snakemake, of a stage, of both, of all: the same command finishes, to the same hashes, leaving nothing."""

from __future__ import annotations

import random
import re
import shutil
from pathlib import Path

from tests.harness import write_project
from tests.reliability.kills import VICTIMS, Killer, Undisturbed, finish, trained
from tests.reliability.soak import FOLDER

KILLS = 10
BEFORE = 3  # of them at random moments before training
# At fixed moments of the training: each lies behind the one before, so that each is met.
TRAINING = [("stage", 4), ("both", 16), ("engine", 28)]


def test_ten_kills(finished: Path, tmp_path: Path) -> None:
    """The seed chooses what is killed and when; on a machine of another speed it will be elsewhere, and must do too."""
    undisturbed = Undisturbed.of(finished)
    rng = random.Random(9)
    killer = Killer(tmp_path / FOLDER / "project", rng)
    root = killer.root
    root.parent.mkdir()
    write_project(root)
    for _ in range(BEFORE):
        killer.after(rng.uniform(0, undisturbed.seconds / 4), rng.choice(VICTIMS))
    for what, step in TRAINING:
        assert killer.at(lambda at, step=step: trained(at, step), what, kind="train"), f"step {step} was not met"
    (training,) = root.glob("build/train/*/stage.log")
    while len(killer.kills) < KILLS:
        if not killer.after(rng.uniform(0, undisturbed.remaining(root)), rng.choice(VICTIMS)):
            assert finish(root, undisturbed) == [], killer.kills
            take_back(root)
    assert finish(root, undisturbed) == [], killer.kills
    resumed = [int(step) for step in re.findall(r" INFO resuming from step (\d+)", training.read_text())]
    assert len(resumed) >= 2 and resumed[0] >= 4 and resumed[1] >= 16, training.read_text()


def take_back(root: Path) -> None:
    """What stands behind the training, so that there is something to kill again."""
    shutil.rmtree(root / "adapters")
    for kind in ("generate", "score", "compare", "card", "publish"):
        shutil.rmtree(root / "build" / kind)
