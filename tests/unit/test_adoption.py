"""What is published counts, what differs from its lock is an error that names it and harms whoever places it there."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from bbjspec import publish, published, store
from bbjspec.digest import FileHashes, sha256_file
from bbjspec.errors import BadInput
from bbjspec.plan import MEMO, Plan, read_plan
from bbjspec.workflow import Workflow
from tests.harness import SPEC
from tests.whole import LOG, publish_all

Edit = Callable[..., None]
OTHERS = {
    "rate": SPEC.replace("learning_rate: 1e-3", "learning_rate: 2e-3"),  # shares the baseline
    "k": SPEC.replace("k: [1, 2]", "k: [1]"),  # shares the base's answers, not its verdicts
    "sampling": SPEC.replace("max_new_tokens: 12", "max_new_tokens: 13"),  # shares neither
}


@pytest.fixture
def several(project: Path) -> Path:
    """v1 and three others, all published."""
    for name, spec in OTHERS.items():
        (project / f"experiments/{name}.yaml").write_text(spec)
    publish_all(read_plan(project))
    return project


def bad(plan: Plan) -> dict[str, list[str]]:
    return {name: [str(finding) for finding in found] for name, found in plan.bad.items()}


def test_several_are_up_to_date(several: Path) -> None:
    plan = read_plan(several)
    assert {plan.experiment_state(e) for e in plan.experiments.values()} == {"published"} and not plan.bad


def test_a_tampered_adapter_harms_its_experiment_alone(several: Path) -> None:
    file = several / "adapters/v1/training_log.json"
    file.write_text(file.read_text() + " ")
    (several / "adapters/v1/loss.svg").unlink()
    plan = read_plan(several)
    assert bad(plan) == {
        "v1.yaml": [
            "adapters/v1/loss.svg: missing, though lock.json lists it; restore it with git checkout",
            "adapters/v1/training_log.json: is not the file that lock.json lists; restore it with git checkout, "
            "or remove lock.json beside it to publish anew",
        ]
    }
    assert set(plan.experiments) == set(OTHERS)


def test_a_tampered_baseline_harms_all_that_are_compared_with_it(several: Path) -> None:
    baseline = read_plan(several).experiments["v1"].folders[0]
    results = several / baseline / "eval_results.json"
    results.write_text(results.read_text() + " ")
    plan = read_plan(several)
    assert set(plan.bad) == {"v1.yaml", "rate.yaml"} and set(plan.experiments) == {"k", "sampling"}
    assert len(plan.findings()) == 1, "one finding, however many it harms"
    assert f"{baseline}/eval_results.json: is not the file" in str(plan.findings()[0])
    assert Workflow(several).target("v1") == ["build/invalid/done"]


def test_good_stages_of_a_tampered_folder_are_still_taken(several: Path) -> None:
    before = read_plan(several).experiments["k"]
    own, others = before.folders[0], read_plan(several).experiments["v1"].folders[0]
    shutil.rmtree(several / "build")
    shutil.rmtree(several / own)
    (several / others / "eval_results.json").write_text("{}")
    plan = read_plan(several)
    assert plan.state(before.roles["base_generate"]) == "published", "the answers are as they were"
    (several / others / "generations.jsonl").write_text("")
    assert read_plan(several).state(before.roles["base_generate"]) == "to run"


def test_a_tampered_folder_of_nobody_is_told_and_harms_none(several: Path) -> None:
    shutil.move(several / "adapters/k", several / "adapters/old")
    (several / "experiments/k.yaml").unlink()
    (several / "adapters/old/MODEL_CARD.md").write_text("better than it was")
    plan = read_plan(several)
    assert set(plan.experiments) == {"v1", "rate", "sampling"}
    assert str(plan.findings()[0]).startswith("adapters/old/MODEL_CARD.md: is not the file")
    workflow = Workflow(several)
    assert workflow.experiments == ["rate", "sampling", "v1"] and "build/invalid/done" in workflow.targets()


def test_tampering_that_puts_size_and_time_back_is_seen(project: Path) -> None:
    Workflow(project)  # leaves the memo of hashes
    file = project / "adapters/v1/eval_results.json"
    text, status = file.read_text(), file.stat()
    with file.open("r+") as stream:  # in place: same inode
        stream.write(text.replace("s", "z"))
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    now = file.stat()
    assert (now.st_size, now.st_mtime_ns, now.st_ino) == (status.st_size, status.st_mtime_ns, status.st_ino)
    assert "v1.yaml" in read_plan(project, FileHashes(project / MEMO)).bad


def test_pointers_of_git_lfs(project: Path) -> None:
    adapter = project / "adapters/v1/adapter_model.safetensors"
    sha = sha256_file(adapter)
    shutil.rmtree(project / "build")
    for oid, good in ((sha, True), ("0" * 64, False)):
        adapter.write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize 1\n")
        plan = read_plan(project)
        assert (plan.bad == {}) is good
        if not good:
            assert "adapter_model.safetensors: a Git LFS pointer of another file" in str(plan.findings()[0])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<<<<<<< HEAD\n{}",
        "[]",
        "{}",
        '{"files": [], "stages": {}, "card": null}',
        '{"files": {"a": 1}, "stages": 3}',
    ],
)
def test_a_broken_lock_is_named(project: Path, text: str) -> None:
    (project / "adapters/v1/lock.json").write_text(text)
    assert bad(read_plan(project)).get("v1.yaml") in (
        ["adapters/v1/lock.json: not a lock file; restore it with git checkout"],
        None,  # an empty list of files lists nothing that differs: the card is placed again
    )


@pytest.mark.parametrize("name", ["../../experiments/v1.yaml", "/etc/hostname", "a/../../b", "..\\b", "", "a\0b"])
def test_a_lock_cannot_lead_out_of_its_folder(project: Path, edit: Edit, name: str) -> None:
    lock = project / "adapters/v1/lock.json"
    document = json.loads(lock.read_text())
    document["files"][name] = "0" * 64
    lock.write_text(json.dumps(document))
    assert bad(read_plan(project))["v1.yaml"] == [
        "adapters/v1/lock.json: not a lock file; restore it with git checkout"
    ]
    lock.unlink()  # the state that publishing finds after a person let the lock go and a merge brought it back
    plan = read_plan(project)
    lock.write_text(json.dumps(document))
    publish.run(project, plan.experiments["v1"].publish_document, LOG)
    assert (project / "experiments/v1.yaml").exists()
    assert not read_plan(project).bad


def test_a_lock_says_what_its_stages_were_made_from(project: Path) -> None:
    experiment = read_plan(project).experiments["v1"]
    lock = json.loads((project / "adapters/v1/lock.json").read_text())
    assert set(lock["recipes"]) == {stage.digest for stage in experiment.roles.values()}
    split = lock["recipes"][experiment.roles["split"].digest]
    assert split["config"]["seed"] == 42 and split["sources"]["dataset"]["files"] == ["dataset/rows.jsonl"]
    assert str(project) not in json.dumps(lock)


def test_verify_file_names_what_cannot_be_read(project: Path) -> None:
    with pytest.raises(BadInput, match=r"x: missing, though"):
        published.verify_file(project / "adapters", "x", "0", content=False)
    assert store.is_whole(project / read_plan(project).experiments["v1"].card.directory)


def reference(project: Path, name: str = "v1") -> Path:
    """The same experiment, which now places its sides in dataset/."""
    spec = project / f"experiments/{name}.yaml"
    spec.write_text(spec.read_text().replace("path: dataset/rows.jsonl", "path: dataset/rows.jsonl, publish: true"))
    return spec


def test_the_sides_of_the_reference_experiment_are_placed(several: Path) -> None:
    reference(several)
    plan = read_plan(several)
    # Nothing else changed: the results are those that stand there already, only the sides are to be placed.
    assert plan.experiment_state(plan.experiments["v1"]) == "to run"
    assert all(plan.state(stage) != "to run" for stage in plan.experiments["v1"].roles.values())
    publish_all(plan)
    lock = json.loads((several / "dataset/lock.json").read_text())
    assert set(lock["files"]) == {"train.jsonl", "val.jsonl", "ledger.json"}
    shutil.rmtree(several / "build")
    plan = read_plan(several)
    assert plan.experiment_state(plan.experiments["v1"]) == "published"
    assert plan.state(plan.experiments["v1"].roles["split"]) == "published"
    (several / "dataset/val.jsonl").write_text("mine\n")
    assert list(bad(read_plan(several))) == ["v1.yaml"]


def test_one_experiment_places_its_sides(several: Path) -> None:
    for name in ("rate", "v1"):
        reference(several, name)
    plan = read_plan(several)
    (told,) = bad(plan)["v1.yaml"]
    assert told.endswith(": data.publish: rate places its sides in dataset/ already; one experiment may")
    assert set(plan.experiments) == {"k", "rate", "sampling"}
