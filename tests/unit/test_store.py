"""Whole or not there; done once; never twice at a time."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from bbjspec import store
from bbjspec.digest import sha256_file
from bbjspec.errors import BadInput, EnvironmentLacks, StageFailed
from bbjspec.stage import KINDS, Kind, Source, Stage
from bbjspec.stagelog import LOG

# A stage kind of its own: it copies its source, and counts in `runs` how often it was at work.
MODULE = """
import os, time
def run(stage):
    with (stage.root / "runs").open("a") as runs:
        runs.write("x")
    (source,) = stage.sources["text"]
    if stage.config.get("seconds"):
        (stage.root / "started").touch()
        time.sleep(stage.config["seconds"])
    if stage.config.get("fail"):
        raise ValueError("of its\\nown making")
    (stage.work / "scratch").touch()
    (stage.directory / "copy.txt").write_bytes(source.read_bytes())
"""
DRIVER = """
import sys, types
from bbjspec import store
from bbjspec.stage import KINDS, Kind
KINDS["dummy"] = Kind(1, ("copy.txt",), publish={"copy.txt": "copy.txt"})
module = types.ModuleType("bbjspec.stages.dummy")
exec(open(sys.argv[1]).read(), module.__dict__)
sys.modules["bbjspec.stages.dummy"] = module
from pathlib import Path
store.run(Path(sys.argv[2]))
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    import types

    monkeypatch.setitem(KINDS, "dummy", Kind(1, ("copy.txt",), publish={"copy.txt": "copy.txt"}))
    module = types.ModuleType("bbjspec.stages.dummy")
    exec(MODULE, module.__dict__)
    monkeypatch.setitem(sys.modules, "bbjspec.stages.dummy", module)
    (tmp_path / "text").write_text("hello")
    (tmp_path / "module.py").write_text(MODULE)
    (tmp_path / "driver.py").write_text(textwrap.dedent(DRIVER))
    return tmp_path


def dummy(root: Path, **config: object) -> Stage:
    return Stage("dummy", config, {}, {"text": Source(("text",), sha256_file(root / "text"))})


def runs(root: Path) -> int:
    return len((root / "runs").read_text()) if (root / "runs").exists() else 0


def start(root: Path, path: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, str(root / "driver.py"), str(root / "module.py"), str(path)], stderr=subprocess.PIPE
    )


def test_a_stage_is_made_once(root: Path) -> None:
    stage = dummy(root)
    path = store.prepare(root, stage)
    directory = root / stage.directory
    assert not store.is_whole(directory)
    store.run(path)
    assert store.is_whole(directory) and store.corrupted(directory) == []
    assert not (directory / "work").exists()
    (directory / store.DONE).unlink()
    store.run(path)
    assert (directory / store.DONE).exists(), "a lost marker is written again"
    assert runs(root) == 1


def test_nothing_absolute_is_recorded(root: Path) -> None:
    path = store.prepare(root, dummy(root))
    store.run(path)
    for file in (path, path.with_name(store.MANIFEST)):
        assert str(root) not in file.read_text()


@pytest.mark.parametrize("damage", ["delete", "change", "manifest"])
def test_damage_is_found_and_mended(root: Path, damage: str) -> None:
    stage = dummy(root)
    path = store.prepare(root, stage)
    store.run(path)
    copy = root / stage.directory / "copy.txt"
    if damage == "delete":
        copy.unlink()
        assert not store.is_whole(copy.parent)
    elif damage == "change":
        copy.write_text("HELLO")
        assert store.corrupted(copy.parent) == ["copy.txt"]
    else:
        (copy.parent / store.MANIFEST).write_text("{")
        assert not store.is_whole(copy.parent)
    store.run(path)
    assert copy.read_text() == "hello" and store.is_whole(copy.parent)
    assert runs(root) == 2


def test_a_failure_keeps_nothing_and_says_one_line(root: Path) -> None:
    stage = dummy(root, fail=True)
    path = store.prepare(root, stage)
    with pytest.raises(StageFailed) as error:
        store.run(path)
    assert str(error.value) == (
        f"dummy {stage.digest} failed: ValueError: of its own making; details in {stage.directory}/stage.log"
    )
    assert not store.is_whole(path.parent) and not (path.parent / store.DONE).exists()
    assert "Traceback" in (path.parent / LOG).read_text()


def test_a_source_that_changed_since_the_plan_is_refused(root: Path) -> None:
    path = store.prepare(root, dummy(root))
    (root / "text").write_text("changed")
    with pytest.raises(StageFailed, match=r"dummy: text \(text\) changed after the plan was made; run again"):
        store.run(path)
    assert runs(root) == 0


def test_an_input_that_is_not_whole_is_named(root: Path) -> None:
    upstream = dummy(root, name="upstream")
    stage = Stage("dummy", {}, {"first": upstream}, {})
    with pytest.raises(StageFailed, match=rf"its input first \({upstream.directory}\) is not whole; run again"):
        store.run(store.prepare(root, stage))


def test_a_job_waits_for_what_another_node_has_written(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    upstream = dummy(root, name="upstream")
    store.run(store.prepare(root, upstream))
    manifest = root / upstream.directory / store.MANIFEST
    manifest.rename(manifest.with_name("not seen yet"))
    stage = Stage("dummy", {}, {"first": upstream}, {"text": Source(("text",), sha256_file(root / "text"))})
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setattr(store, "_LATENCY_S", 20.0)
    seen = threading.Timer(0.5, lambda: manifest.with_name("not seen yet").rename(manifest))
    seen.start()
    store.run(store.prepare(root, stage))
    seen.join()
    assert runs(root) == 2
    manifest.unlink()
    monkeypatch.setattr(store, "_LATENCY_S", 0.5)
    other = Stage("dummy", {"n": 2}, {"first": upstream}, {})
    with pytest.raises(StageFailed, match=rf"its input first \({upstream.directory}\) is not whole; run again"):
        store.run(store.prepare(root, other))


def test_not_a_stage_file(root: Path) -> None:
    (root / "stage.json").write_text("[]")
    with pytest.raises(BadInput, match=r"not a stage\.json"):
        store.run(root / "stage.json")


def test_a_second_run_waits_for_an_orphan_instead_of_doubling_it(root: Path) -> None:
    path = store.prepare(root, dummy(root, seconds=2))
    first = start(root, path)
    while not (root / "started").exists():
        time.sleep(0.01)
    second = start(root, path)
    assert first.wait(30) == 0
    _, said = second.communicate(timeout=30)
    assert second.returncode == 0
    assert f"waiting: process {first.pid} on " in said.decode() and "already whole" in said.decode()
    assert runs(root) == 1


def test_kill_leaves_nothing_that_counts_and_the_next_run_finishes(root: Path) -> None:
    path = store.prepare(root, dummy(root, seconds=1))
    first = start(root, path)
    while not (root / "started").exists():
        time.sleep(0.01)
    first.kill()
    first.wait()
    assert not store.is_whole(path.parent)
    store.run(path)
    assert store.is_whole(path.parent) and runs(root) == 2


def published(root: Path, text: str = "hello") -> dict[str, object]:
    folder = root / "adapters" / "v1"
    folder.mkdir(parents=True)
    (folder / "copy.txt").write_text(text)
    return {"copy.txt": {"path": "adapters/v1/copy.txt", "sha256": sha256_file(root / "text"), "group": "output"}}


def test_a_published_stage_is_taken_not_made(root: Path) -> None:
    path = store.prepare(root, dummy(root), published(root))
    store.run(path)
    assert store.is_whole(path.parent) and (path.parent / "copy.txt").read_text() == "hello"
    assert runs(root) == 0


def test_a_published_file_that_differs_is_named(root: Path) -> None:
    path = store.prepare(root, dummy(root), published(root, "tampered"))
    with pytest.raises(BadInput, match=r"adapters/v1/copy.txt: is not the file that lock.json lists"):
        store.run(path)


def test_a_git_lfs_pointer_is_recognised(root: Path) -> None:
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256_file(root / 'text')}\nsize 5\n"
    path = store.prepare(root, dummy(root), published(root, pointer))
    with pytest.raises(EnvironmentLacks, match=r"copy.txt: only a Git LFS pointer is here; run git lfs pull"):
        store.run(path)


def test_stage_files_are_written_once(root: Path) -> None:
    path = store.prepare(root, dummy(root))
    before = path.stat().st_mtime_ns
    assert json.loads(path.read_text())["sources"]["text"]["files"] == ["text"]
    store.prepare(root, dummy(root))
    assert path.stat().st_mtime_ns == before
