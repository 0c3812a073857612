"""Files that are not what they were: found by hash, made again where their size or their manifest says so."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from bbjspec import store
from bbjspec.cli import entry
from bbjspec.plan import read_plan
from tests.harness import log_starts, run, snakemake, would_run
from tests.reliability.kills import leftovers, outputs, placed

GARBAGE = [
    b"",
    b"{",
    b"null",
    b"[]",
    b"{}",
    b'"text"',
    b"\xff\xfe\0",
    b'{"files": []}',
    b'{"files": {"comparison.json": 5}}',
    b'{"files": {"comparison.json": {"size": "x"}}}',
]


def only(root: Path, kind: str) -> Path:
    (directory,) = root.glob(f"build/{kind}/*")
    return directory


def flip(file: Path) -> None:
    """One bit, in the middle; size and times stay."""
    stat, data = file.stat(), bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))


@pytest.mark.parametrize(
    "name",
    ["base/*/model/*", "train/*/adapter/adapter_model.safetensors", "train/*/training_log.json", "compare/*/*.json"],
)
def test_a_flipped_bit_is_found_by_hash(small: Path, name: str) -> None:
    file = max((f for f in small.glob(f"build/{name}") if f.name not in (store.STAGE, store.MANIFEST)), key=str)
    directory = next(parent for parent in file.parents if (parent / store.MANIFEST).exists())
    flip(file)
    assert store.is_whole(directory), "its size is right: no run looks closer"
    assert would_run(small) == {}
    assert store.corrupted(directory) == [file.relative_to(directory).as_posix()]
    found = run(small, "bbjspec", "doctor", "--verify")
    shown, stage = file.relative_to(small).as_posix(), directory.relative_to(small).as_posix()
    assert found.returncode == 1 and found.stderr.startswith(f"{shown}: not what manifest.json says; remove {stage};")
    assert len(found.stderr.splitlines()) == 1 and "1 not as they were made" in found.stdout


def test_asked_for_by_name_a_corrupted_stage_is_made_again(small: Path) -> None:
    wanted, directory = outputs(small), only(small, "compare")
    flip(directory / "comparison.json")
    done = run(small, sys.executable, "-m", "bbjspec", "run", str(directory / store.STAGE))
    assert done.returncode == 0 and "made again: comparison.json is not what the manifest says" in done.stderr
    assert store.corrupted(directory) == [] and outputs(small) == wanted


def test_all_kinds_of_damage_at_once(finished: Path, small: Path) -> None:
    """Each damaged stage is made again, and none that builds on it: the bytes are the same."""
    shutil.rmtree(small / "adapters")
    shutil.rmtree(small / "eval/baselines")
    audit, contamination, compare, card = (only(small, k) for k in ("audit", "contamination", "compare", "card"))
    (audit / "audit.json").write_bytes((audit / "audit.json").read_bytes()[:-1])  # cut short
    (contamination / "contamination.json").unlink()
    for score in small.glob("build/score/*"):
        (score / store.MANIFEST).unlink()  # and the marker stays
        (score / store.STAGE).write_text("{")
    (compare / store.MANIFEST).write_text("")
    (card / store.MANIFEST).write_text('{"files": 3}')
    (card / store.STAGE).write_text("[]")
    assert (only(small, "card") / store.DONE).exists()
    again = {"audit": 1, "contamination": 1, "score": 2, "compare": 1, "card": 1}
    assert would_run(small) == again | {"publish": 1}
    before = log_starts(small)
    done = snakemake(small)
    assert done.returncode == 0, done.stdout + done.stderr
    begun = [stage.split("/")[0] for stage in (log_starts(small) - before).elements()]
    assert sorted(begun) == sorted(kind for kind, count in again.items() for _ in range(count))
    assert outputs(small) == outputs(finished) and placed(small) == placed(finished) and leftovers(small) == []
    assert would_run(small) == {}


@pytest.mark.parametrize("text", GARBAGE)
def test_a_manifest_of_garbage_is_no_manifest(small_stage: Path, text: bytes) -> None:
    (small_stage / store.MANIFEST).write_bytes(text)
    assert not store.is_whole(small_stage)
    assert store.corrupted(small_stage) in ([store.MANIFEST], ["comparison.json"])


@pytest.fixture
def small_stage(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(only(finished, "compare"), tmp_path / "stage"))


@pytest.mark.parametrize("text", [*GARBAGE, b'{"kind": "compare"}', b'{"kind": 3, "digest": "x"}'])
def test_a_stage_json_of_garbage_is_told_in_one_line(
    finished: Path, tmp_path: Path, text: bytes, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "build/compare/0123456789abcdef/stage.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(text)
    monkeypatch.setattr(sys, "argv", ["bbjspec", "run", str(path)])
    with pytest.raises(SystemExit) as ended:
        entry()
    assert ended.value.code == 1
    assert capsys.readouterr().err == "stage.json: not a stage.json; the engines get theirs from the plan\n"
    assert list(path.parent.iterdir()) == [path]


CONFLICT = b"<<<<<<< HEAD\n{}\n=======\n{}\n>>>>>>> v2\n"
NO_LOCK = "adapters/v1/lock.json: not a lock file; restore it with git checkout"


@pytest.mark.parametrize("text", [*GARBAGE, CONFLICT])
def test_a_lock_file_of_garbage_is_told(small: Path, text: bytes) -> None:
    (small / "adapters/v1/lock.json").write_bytes(text)
    plan = read_plan(small)
    assert [str(finding) for finding in plan.findings()] == [NO_LOCK] and not plan.experiments


def test_nothing_is_written_over_while_a_lock_file_is_garbage(small: Path) -> None:
    lock = small / "adapters/v1/lock.json"
    lock.write_bytes(CONFLICT)
    card = (small / "adapters/v1/MODEL_CARD.md").read_bytes()
    for done in (run(small, "bbjspec", "plan", "v1"), snakemake(small)):
        assert done.returncode == 1 and NO_LOCK in done.stderr and "Traceback" not in done.stderr
    assert (lock.read_bytes(), (small / "adapters/v1/MODEL_CARD.md").read_bytes()) == (CONFLICT, card)
    lock.unlink()
    assert would_run(small) == {"publish": 1}, "without it, all is placed anew"
