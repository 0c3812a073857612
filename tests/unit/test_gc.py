"""`bbjspec gc`: what no spec needs goes, on demand; nothing else, whatever lies in build/."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bbjspec import gc
from bbjspec.digest import FileHashes
from bbjspec.errors import BadInput, EnvironmentLacks
from bbjspec.plan import MEMO, read_plan
from bbjspec.workflow import Workflow

Edit = Callable[..., None]
AFTER = {"train", "generate", "score", "compare", "card", "publish"}


def kinds(root: Path) -> set[str]:
    return {garbage.path.split("/")[1] for garbage in gc.find(root)}


def files(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*")}


def collect(root: Path, *, delete: bool = True) -> list[str]:
    return list(gc.collect(root, delete=delete))


def test_all_is_needed(project: Path) -> None:
    before = files(project)
    assert collect(project) == ["nothing to delete"] and files(project) == before


def test_an_edit_leaves_the_old_stages(project: Path, edit: Edit) -> None:
    old = read_plan(project).experiments["v1"].roles
    edit("learning_rate: 1e-3", "learning_rate: 2e-3")
    before = files(project)
    listed = collect(project, delete=False)
    assert files(project) == before, "listing deletes nothing"
    assert kinds(project) == AFTER and listed[-1].startswith("6 things, ")
    assert f"build/train/{old['train'].digest}" in listed[-2] and listed[-2].endswith("no spec needs it")
    done = collect(project)
    assert done[-1].startswith("deleted: 6 things, ")
    left = files(project)
    assert {name for name in before - left if not name.startswith("build/")} == set()
    assert (project / old["split"].directory / "manifest.json").exists()
    assert not (project / old["train"].directory).exists()
    assert collect(project) == ["nothing to delete"]
    edit("learning_rate: 2e-3", "learning_rate: 1e-3")
    plan = read_plan(project)
    assert plan.state(old["train"]) == "published" and not list(plan.needed(plan.experiments["v1"]))


def test_a_bad_spec_keeps_everything(project: Path, edit: Edit) -> None:
    (project / "experiments/v2.yaml").write_text("model: {base: pico-qwen2}\n")
    edit("r: 4", "r: 8")
    with pytest.raises(BadInput, match=r"experiments/v2.yaml:1:1: eval: missing"):
        collect(project)


def test_a_running_stage_and_its_inputs_are_kept(project: Path, edit: Edit) -> None:
    old = read_plan(project).experiments["v1"].roles
    edit("path: dataset/rows.jsonl", "path: dataset/rows.jsonl, seed: 7")
    assert kinds(project) == {"split", "contamination", *AFTER}
    with (project / old["train"].directory / ".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert kinds(project) == {"contamination", *AFTER} - {"train"}
        found = gc.Garbage(old["train"].directory, 1, gc.UNNEEDED)
        assert gc.delete(project, found) == gc.HELD, "locked between listing and deleting"
        collect(project)
    assert (project / old["train"].directory / "manifest.json").exists()
    assert (project / old["split"].directory / "manifest.json").exists()


def test_links_are_never_followed(project: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    shutil.copytree(project / "build/train", outside / "train")
    (outside / "precious").write_text("1")
    (project / "build/train" / ("a" * 16)).symlink_to(outside)
    (project / "build/gguf").symlink_to(outside / "train")
    inside = project / "build/card" / ("b" * 16)
    inside.mkdir()
    (inside / "link").symlink_to(outside)
    (project / "build/card" / ("c" * 16)).symlink_to("/nowhere")
    assert [g.path for g in gc.find(project)] == [
        f"build/card/{'b' * 16}",
        f"build/card/{'c' * 16}",
        f"build/train/{'a' * 16}",
    ]
    assert all(g.size < 1000 for g in gc.find(project))
    before = files(outside)
    collect(project)
    assert files(outside) == before and (project / "build/gguf").is_symlink()
    assert not os.path.lexists(project / "build/train" / ("a" * 16)) and not inside.exists()


def test_what_is_not_ours_stays(project: Path) -> None:
    (project / "build/notes.txt").write_text("mine")
    (project / "build/mine/sub").mkdir(parents=True)
    (project / "build/train/notes").mkdir()
    assert collect(project) == ["nothing to delete"]


def test_stages_of_a_kind_that_is_no_more(project: Path) -> None:
    stage = project / "build/former" / ("d" * 16) / "stage.json"
    stage.parent.mkdir(parents=True)
    stage.write_text("{}")
    assert [g.path for g in gc.find(project)] == [f"build/former/{'d' * 16}"]


def test_leftovers(project: Path) -> None:
    train = project / read_plan(project).experiments["v1"].roles["train"].directory
    (train / "work/checkpoint-1").mkdir(parents=True)
    (train / "work/checkpoint-1/weights").write_text("x" * 2000)
    for path in (train / ".manifest.json.77.tmp", project / "build/hashes.json.77.tmp", train / ".new.json.78.tmp"):
        path.write_text("{")
        old = time.time() - (0 if "new" in path.name else 7200)
        os.utime(path, (old, old))
    (project / "build/invalid").mkdir()
    assert {g.path.removeprefix("build/") for g in gc.find(project)} == {
        "invalid",
        "hashes.json.77.tmp",
        f"train/{train.name}/work",
        f"train/{train.name}/.manifest.json.77.tmp",
    }
    collect(project)
    assert (
        not (train / "work").exists() and (train / "manifest.json").exists() and (train / ".new.json.78.tmp").exists()
    )


def test_checkpoints_of_an_unfinished_training_stay(project: Path) -> None:
    train = project / read_plan(project).experiments["v1"].roles["train"].directory
    (train / "manifest.json").unlink()
    (train / "work").mkdir()
    assert collect(project) == ["nothing to delete"]


def test_what_cannot_be_deleted_is_told_and_the_rest_goes(
    project: Path, edit: Edit, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit("learning_rate: 1e-3", "learning_rate: 2e-3")
    real = shutil.rmtree

    def rmtree(path: Path, **options: Any) -> None:
        if path.parent.name == "score":
            raise PermissionError(13, "Permission denied", str(path))
        real(path, **options)

    monkeypatch.setattr(shutil, "rmtree", rmtree)
    said: list[str] = []
    with pytest.raises(EnvironmentLacks, match="1 of 6 could not be deleted"):
        said.extend(iter_all(gc.collect(project, delete=True), said))
    assert any(line.endswith("cannot be deleted: Permission denied") for line in said)
    assert said[-1].startswith("deleted: 5 things") and kinds(project) == {"score"}


def iter_all(lines: Any, said: list[str]) -> list[str]:
    """Keep what was said before an error."""
    for line in lines:
        said.append(line)
    return []


def test_an_unreadable_folder_counts_for_nothing(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = project / "build/train" / ("e" * 16)
    (stage / "shut").mkdir(parents=True)
    (stage / "known").write_text("12345")
    real = Path.iterdir

    def iterdir(self: Path) -> Any:
        if self.name == "shut":
            raise PermissionError(13, "Permission denied", str(self))
        return real(self)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    assert [(g.path, g.size) for g in gc.find(project)] == [(f"build/train/{'e' * 16}", 5)]


def test_the_memo_forgets_files_that_are_gone(project: Path) -> None:
    extra = project / "dataset/more.jsonl"
    extra.write_text("{}")
    hashes = FileHashes(project / MEMO)
    hashes(extra)
    hashes.save()
    Workflow(project)
    extra.unlink()
    before = len(json.loads((project / MEMO).read_text()))
    assert collect(project, delete=False)[0] == f"{MEMO}  1 entries of files that are gone"
    collect(project)
    assert len(json.loads((project / MEMO).read_text())) == before - 1
