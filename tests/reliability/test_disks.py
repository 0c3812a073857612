"""Read-only and full disks: one line, exit code 3, nothing lost; with room again the same command finishes."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bbjspec import store
from bbjspec.errors import EnvironmentLacks
from bbjspec.stagelog import LOG
from tests.harness import run, snakemake
from tests.reliability.disks import read_only, resize, small_disk
from tests.reliability.kills import leftovers, outputs, placed

PAGE = 4  # kilobytes, in which a small disk is given out


def stage_of(root: Path, kind: str) -> Path:
    """The stage.json of the only stage of that kind."""
    (path,) = root.glob(f"build/{kind}/*/stage.json")
    return path


def unmake(path: Path) -> None:
    """All of a stage but its stage.json."""
    for left in path.parent.iterdir():
        if left != path:
            shutil.rmtree(left) if left.is_dir() else left.unlink()


def by_hand(root: Path, path: Path) -> subprocess.CompletedProcess[str]:
    return run(root, sys.executable, "-m", "bbjspec", "run", path.relative_to(root).as_posix())


def one_line(done: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    """That it ended so, with these words in one line, the last, and no frames."""
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr and "Logging error" not in done.stderr, done.stderr
    assert all(word in done.stderr.splitlines()[-1] for word in words), done.stderr


def files(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("kind", ["compare", "publish"])
def test_a_read_only_build(small: Path, kind: str) -> None:
    path = stage_of(small, kind)
    with read_only(small / "build"):
        one_line(by_hand(small, path), 3, f"{kind}: Read-only file system: ")
    assert leftovers(small) == [] and by_hand(small, path).returncode == 0


def test_read_only_adapters(small: Path) -> None:
    before = files(small / "adapters")
    with read_only(small / "adapters"):
        one_line(by_hand(small, stage_of(small, "publish")), 3, "publish: Read-only file system: ", "adapters")
    assert files(small / "adapters") == before
    (small / "adapters/v1/lock.json").unlink()
    with read_only(small / "adapters"):
        done = snakemake(small)
        assert done.returncode == 1 and "publish: Read-only file system: " in done.stderr.replace("\n", " ")
    done = snakemake(small)
    assert done.returncode == 0, done.stderr
    assert files(small / "adapters").keys() == before.keys()


def test_a_read_only_project(small: Path) -> None:
    with read_only(small / "build"):
        again = snakemake(small)
        assert "Nothing to be done" in again.stdout + again.stderr
    with read_only(small):
        for words in (["plan"], ["check"], ["gc"]):
            done = run(small, "bbjspec", *words)
            assert done.returncode == 0, done.stderr
        one_line(by_hand(small, stage_of(small, "compare")), 3, "Read-only file system")


def test_a_disk_that_is_full_at_any_moment_of_a_stage(small: Path) -> None:
    """A page more each time: first the log does not fit, then an output, then the manifest, at last the marker."""
    wanted, path = outputs(small), stage_of(small, "compare")
    kept, told = path.read_bytes(), 0
    with small_disk(path.parent, PAGE * 2):
        path.write_bytes(kept)
        for pages in range(2, 40):
            resize(path.parent, PAGE * pages)
            try:
                store.run(path, console=False)
            except EnvironmentLacks as error:
                told += 1
                assert re.fullmatch(r"compare: No space left on device: \S+", str(error))
                assert not store.is_whole(path.parent)
                continue
            break
        assert store.corrupted(path.parent) == [] and leftovers(small) == []
        assert outputs(small) == wanted
    assert told > 2


def test_a_disk_that_is_full_at_any_moment_of_publishing(small: Path) -> None:
    wanted, path, target = placed(small), stage_of(small, "publish"), small / "adapters"
    shutil.rmtree(target)
    failed = 0
    with small_disk(target, PAGE):
        for pages in range(1, 400, 5):
            resize(target, PAGE * pages)
            try:
                store.run(path, console=False)
            except EnvironmentLacks as error:
                failed += 1
                assert str(error).startswith("publish: No space left on device: ")
                assert not (target / "v1/lock.json").exists(), "nothing counts as published"
                continue
            break
        assert placed(small) == wanted and leftovers(small) == []
        again = snakemake(small)
        assert "Nothing to be done" in again.stdout + again.stderr
    assert failed > 5


def test_a_disk_that_is_full_when_a_checkpoint_is_saved(small: Path) -> None:
    wanted, path = outputs(small), stage_of(small, "train")
    kept = path.read_bytes()
    unmake(path)
    with small_disk(path.parent, 400):
        path.write_bytes(kept)
        with pytest.raises(EnvironmentLacks, match=r"^train: No space left on device: \S+$"):
            store.run(path, console=False)
        assert re.search(r"step \d+ of 48", (path.parent / LOG).read_text()) and not store.is_whole(path.parent)
        resize(path.parent, 100_000)
        store.run(path, console=False)
        assert outputs(small) == wanted and leftovers(small) == []
