"""Moved, copied, linked, and under another clock: what was done stays done."""

from __future__ import annotations

import os
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bbjspec.plan import read_plan
from tests.harness import snakemake, would_run, write_project
from tests.reliability.disks import small_disk
from tests.reliability.kills import leftovers, outputs, placed
from tests.reliability.soak import FOLDER
from tests.whole import publish_all

DAY = 86_400.0


def moved(root: Path, elsewhere: Path) -> Path:
    return root.rename(elsewhere)


def build_copied(root: Path, elsewhere: Path) -> Path:
    """A clone that has no build/ of its own, and no times: they are those of the copy."""
    write_project(elsewhere)
    for name in ("build", "adapters", "eval/baselines"):
        shutil.copytree(root / name, elsewhere / name, copy_function=shutil.copyfile)
    return elsewhere


def timed(root: Path, when: Callable[[], float]) -> Path:
    for path in (root, *root.rglob("*")):
        then = when()
        os.utime(path, (then, then))
    return root


def in_the_past(root: Path, elsewhere: Path) -> Path:
    return timed(root, lambda: 1.0)


def in_the_future(root: Path, elsewhere: Path) -> Path:
    return timed(root, lambda: time.time() + 3650 * DAY)


def at_any_time(root: Path, elsewhere: Path) -> Path:
    rng = random.Random(5)
    return timed(root, lambda: time.time() + rng.uniform(-1000, 1000) * DAY)


def sources_in_the_future(root: Path, elsewhere: Path) -> Path:
    for name in ("dataset", "experiments", "eval/prompts", "templates", "rules"):
        timed(root / name, lambda: time.time() + DAY)
    return root


@pytest.mark.parametrize(
    "change", [moved, build_copied, in_the_past, in_the_future, at_any_time, sources_in_the_future]
)
def test_nothing_runs_again(tmp_path: Path, change: Callable[[Path, Path], Path]) -> None:
    (tmp_path / FOLDER).mkdir()
    root = tmp_path / "project"
    write_project(root)
    publish_all(read_plan(root))
    root = change(root, tmp_path / FOLDER / "elsewhere")
    plan = read_plan(root)
    assert not plan.bad and plan.experiment_state(plan.experiments["v1"]) == "published"
    shutil.rmtree(root / "adapters")
    assert would_run(root) == {"publish": 1}, "what is in build/ counts by itself"


def test_a_run_with_all_times_wrong(finished: Path, small: Path) -> None:
    """What is left to do is done, once, whatever the files before and behind it claim to be older than."""
    shutil.rmtree(small / "adapters")
    for kind in ("contamination", "compare", "card", "publish"):
        shutil.rmtree(small / "build" / kind)
    at_any_time(small, small)
    done = snakemake(small)
    assert done.returncode == 0, done.stdout + done.stderr
    assert outputs(small) == outputs(finished) and placed(small) == placed(finished)
    assert would_run(small) == {}


def test_build_is_a_link_onto_another_disk(finished: Path, small: Path, tmp_path: Path) -> None:
    disk = tmp_path / "another disk"
    with small_disk(disk, 100_000):
        shutil.copytree(small / "build", disk / "of this project")
        shutil.rmtree(small / "build")
        (small / "build").symlink_to(disk / "of this project")
        assert would_run(small) == {}
        shutil.rmtree(small / "adapters")
        for kind in ("contamination", "compare", "card", "publish"):
            shutil.rmtree(small / "build" / kind)
        done = snakemake(small)
        assert done.returncode == 0, done.stdout + done.stderr
        assert outputs(small) == outputs(finished) and placed(small) == placed(finished)
        assert (small / "build").is_symlink() and would_run(small) == {} and leftovers(small) == []
