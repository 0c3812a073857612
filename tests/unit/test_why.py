"""`bbjspec plan`: the state of each stage, and why it must run, in words."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bbjspec.cli import app
from bbjspec.history import History, changes
from bbjspec.plan import read_plan
from bbjspec.planview import PlanView
from bbjspec.stage import KINDS
from bbjspec.why import StageReport, last_error, lock_holder, report
from tests.harness import SPEC

Edit = Callable[..., None]
KEPT = ("tokenizer", "audit", "split", "contamination", "base", "base_generate", "base_score")


def reports(root: Path, name: str = "v1", *, refresh: bool = False) -> dict[str, StageReport]:
    plan = read_plan(root, refresh=refresh)
    return {row.role: row for row in report(plan, plan.experiments[name], History(plan)).stages}


def text(root: Path, *names: str) -> str:
    return "\n".join(line for line, _ in PlanView(read_plan(root), names or None).lines())


def bump(monkeypatch: pytest.MonkeyPatch, kind: str) -> str:
    """Raise a stage's version, and give what is said of it."""
    version = KINDS[kind].version
    monkeypatch.setitem(KINDS, kind, dataclasses.replace(KINDS[kind], version=version + 1))
    return f"the stage's version {version} → {version + 1}"


def test_nothing_to_do(project: Path) -> None:
    assert {row.state for row in reports(project).values()} == {"whole", "published"}
    assert text(project) == "1 experiment up to date\nnothing to run"
    assert text(project, "v1").startswith("v1: published\n  tokenizer ")


# What is edited, and what is then said of which stage.
REASONS = [
    ("learning_rate: 1e-3", "learning_rate: 1e-4", "train", "training.learning_rate 0.001 → 1e-04"),
    ("r: 4", "r: 8", "train", "lora.r 4 → 8"),
    ("max_steps: 48", "max_steps: null", "train", "training.max_steps 48 → null"),
    ("gradient_checkpointing: false", "", "card", "training.gradient_checkpointing false → auto"),
    ("per_device_train_batch_size: 8", "per_device_train_batch_size: 2", "card",
     "training.per_device_train_batch_size 8 → 2"),
    ("dtype: float32}", "dtype: float32, attn_implementation: eager}", "train",
     "model.attn_implementation auto → eager"),
    ("path: dataset/rows.jsonl", "path: dataset/rows.jsonl, seed: 7", "split", "data.seed 42 → 7"),
    ("max_length: 160", "max_length: 128", "split", "training.max_length 160 → 128"),
    ("max_length: 160", "max_length: 128", "audit", "training.max_length 160 → 128"),
    ("max_new_tokens: 12", "max_new_tokens: 13", "generate", "eval.sampling.max_new_tokens 12 → 13"),
    ("k: [1, 2]", "k: [1]", "score", "eval.k [1, 2] → [1]"),
    ("{n: 2,", "{n: 3,", "score", "eval.sampling.n 2 → 3"),
    ("k: [1, 2]", "k: [1, 2]\n  gate: {min_effect: 0.2}", "compare", "eval.gate.min_effect 0.1 → 0.2"),
    ("base: pico-qwen2", "base: tiny-qwen2", "base", "model.base pico-qwen2 → tiny-qwen2; the embedded "),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "role", "said"), REASONS, ids=[f"{row[2]}: {row[3]}" for row in REASONS])
def test_a_field_is_named(project: Path, edit: Edit, old: str, new: str, role: str, said: str) -> None:
    edit(old, new)
    row = reports(project)[role]
    assert (row.state, row.runs) == ("to run", True)
    assert "; ".join(row.why).startswith(said)


def test_how_a_machine_goes_about_it_trains_nothing_again(project: Path, edit: Edit) -> None:
    edit("per_device_train_batch_size: 8", "per_device_train_batch_size: 2\n  save_total_limit: 5")
    edit("gradient_checkpointing: false", "gradient_checkpointing: true")
    rows = reports(project)
    assert {role for role, row in rows.items() if row.runs} == {"card", "publish"}
    assert rows["card"].why == (
        "training.per_device_train_batch_size 8 → 2",
        "training.save_total_limit 2 → 5",
        "training.gradient_checkpointing false → true",
    )
    edit("resources: {gpu: 0}", "resources: {gpu: 2}\ntracking: {wandb: {project: bbj}}")
    assert {role for role, row in reports(project).items() if row.runs} == {"card", "publish"}


def test_a_field_that_a_newer_version_dropped_is_no_edit(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for lock in [*project.glob("adapters/*/lock.json"), *project.glob("eval/baselines/*/*/lock.json")]:
        document = json.loads(lock.read_text())
        for recipe in document["recipes"].values():
            if recipe["kind"] == "train":
                recipe["version"] = 1
                recipe["config"]["training"] |= {"logging_steps": 10, "save_total_limit": 2, "learning_rate": 0.5}
        lock.write_text(json.dumps(document))
    shutil.rmtree(project / "build")
    plan = read_plan(project)
    history, experiment = History(plan), plan.experiments["v1"]
    made = history.nearest(experiment.roles["train"], experiment)
    assert made is not None and made.version == 1
    version = KINDS["train"].version
    assert changes(experiment.roles["train"], made) == [
        f"the stage's version 1 → {version}",
        "training.learning_rate 0.5 → 0.001",
    ]


def test_files_and_inputs(project: Path, edit: Edit) -> None:
    edit("Print 3 for ", "Now print 3 for ", "dataset/rows.jsonl")
    rows = reports(project)
    assert rows["audit"].why == rows["split"].why == ("dataset/rows.jsonl changed",)
    assert rows["train"].why == ("its input split is to run",)
    assert rows["compare"].why == ("its inputs score and contamination are to run",)
    assert rows["publish"].why == ("adapters/v1/lock.json names another card",)
    assert not any(rows[role].runs for role in ("tokenizer", "base", "base_generate", "base_score"))


def test_prompts(project: Path, edit: Edit) -> None:
    edit("Show 100 on the screen.", "Let me see 100.", "eval/prompts/print.jsonl")
    rows = reports(project)
    assert rows["base_generate"].why == ("a prompt of eval/prompts/print.jsonl changed",)
    assert rows["contamination"].why == ("a prompt or its reference of eval/prompts/print.jsonl changed",)
    assert not rows["train"].runs
    prompts = project / "eval/prompts/print.jsonl"
    prompts.with_name("more.jsonl").write_text(prompts.read_text().replace("t/print/", "t/more/"))
    assert reports(project)["base_generate"].why == ("eval/prompts/more.jsonl added",)


def test_never_made_before(project: Path) -> None:
    shutil.rmtree(project / "build")
    shutil.rmtree(project / "adapters")
    shutil.rmtree(project / "eval/baselines")
    rows = reports(project)
    assert rows["split"].why == ("never made before", "its input tokenizer is to run")
    assert rows["publish"].why == ("adapters/v1/lock.json is not there yet",)


def test_a_fresh_clone_knows_why_too(project: Path, edit: Edit) -> None:
    shutil.rmtree(project / "build")
    assert reports(project)["split"].state == "not needed"
    edit("learning_rate: 1e-3", "learning_rate: 2e-3")
    rows = reports(project)
    assert rows["train"].why[0] == "training.learning_rate 0.001 → 0.002"
    assert rows["split"].why == ("made before, but no longer in build/",)
    assert (rows["base_score"].state, rows["base_score"].why) == (
        "published",
        (f"a later stage reads it: copied from eval/baselines/pico-qwen2/{rows['base_score'].digest}",),
    )


def test_the_own_last_published_is_preferred_to_a_nearer_one(project: Path) -> None:
    spec = project / "experiments/v2.yaml"
    spec.write_text(SPEC.replace("learning_rate: 1e-3", "learning_rate: 2e-3").replace("r: 4", "r: 8"))
    assert reports(project, "v2")["train"].why == ("lora.r 4 → 8", "training.learning_rate 0.001 → 0.002")
    from tests.whole import publish_all

    publish_all(read_plan(project))
    spec.write_text(SPEC.replace("learning_rate: 1e-3", "learning_rate: 1.1e-3"))  # one field from v1, two from itself
    assert reports(project, "v2")["train"].why == ("lora.r 8 → 4", "training.learning_rate 0.002 → 0.0011")


def test_damage_is_named(project: Path, edit: Edit) -> None:
    edit("k: [1, 2]", "k: [1]")
    before = reports(project)
    directory = f"build/generate/{before['generate'].digest}"
    shutil.rmtree(project / "adapters")
    shutil.rmtree(project / "eval/baselines")
    (project / directory / "generations.jsonl").unlink()
    assert reports(project)["generate"].why == (f"{directory}/generations.jsonl is missing",)
    (project / directory / "generations.jsonl").write_text("shorter")
    assert reports(project)["generate"].why == (f"{directory}/generations.jsonl is not the file that was made",)
    (project / directory / "manifest.json").write_text("[")
    assert reports(project)["generate"].why == (f"{directory}/manifest.json is broken",)


def test_running_is_told_without_disturbing(project: Path, edit: Edit) -> None:
    edit("r: 4", "r: 8")
    directory = project / "build/train" / reports(project)["train"].digest
    directory.mkdir()
    assert lock_holder(directory) is None and not list(directory.iterdir()), "looking leaves no trace"
    with (directory / ".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        held.write("process 7 on there\n")
        held.flush()
        row = reports(project)["train"]
        assert (row.state, row.runs, row.why[0]) == ("running", True, "process 7 on there")
    assert reports(project)["train"].state == "to run"


def test_failed_is_told_with_its_last_error(project: Path, edit: Edit) -> None:
    edit("r: 4", "r: 8")
    directory = project / "build/train" / reports(project)["train"].digest
    directory.mkdir()
    log = directory / "stage.log"
    log.write_text("2026-01-01T00:00:00 INFO starts\n2026-01-01T00:00:01 ERROR out of memory\n")
    row = reports(project)["train"]
    assert (row.state, row.why) == ("failed", ("the last run said: out of memory", "lora.r 4 → 8"))
    with log.open("a") as again:
        again.write("2026-01-02T00:00:00 INFO starts\n")
    assert reports(project)["train"].state == "to run", "killed, not failed"
    log.write_text("2026-01-01T00:00:01 ERROR a.jsonl:1: bad\na.jsonl:2: bad\n")
    assert last_error(log) == "a.jsonl:1: bad (and 1 more)"
    log.write_bytes(b"\xff\xfe not a log")
    assert last_error(log) is None


def test_a_version_alone_is_outdated_and_nothing_runs(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = bump(monkeypatch, "score")
    rows = reports(project)
    assert not any(row.runs for row in rows.values())
    assert {role for role, row in rows.items() if row.state == "outdated"} == {
        "base_score", "score", "compare", "card", "publish",
    }  # fmt: skip
    assert "nothing to run; outdated, kept until a refresh is asked for: v1" in text(project)
    rows = reports(project, refresh=True)
    assert {role for role, row in rows.items() if row.runs} == {"base_score", "score", "compare", "card", "publish"}
    assert rows["score"].why == (said,)
    assert "a refresh is asked for" in rows["publish"].why[0]


def test_a_version_and_an_edit_run_what_both_need(project: Path, edit: Edit, monkeypatch: pytest.MonkeyPatch) -> None:
    said = bump(monkeypatch, "compare")
    edit("k: [1, 2]", "k: [1, 2]\n  gate: {min_effect: 0.2}")
    rows = reports(project)
    assert {role for role, row in rows.items() if row.runs} == {"compare", "card", "publish"}
    assert rows["compare"].why == (said, "eval.gate.min_effect 0.1 → 0.2")
    bump(monkeypatch, "score")
    assert {role for role, row in reports(project).items() if row.runs} == {
        "base_score", "score", "compare", "card", "publish",
    }  # fmt: skip


def test_locks_of_an_earlier_day_tell_less_but_do_no_harm(project: Path, edit: Edit) -> None:
    for lock in [*project.glob("adapters/*/lock.json"), *project.glob("eval/baselines/*/*/lock.json")]:
        document = json.loads(lock.read_text())
        document["recipes"] = {"x": 1, "y": {"kind": "train"}} if "adapters" in lock.parts else None
        lock.write_text(json.dumps(document))
    shutil.rmtree(project / "build")
    assert text(project) == "1 experiment up to date\nnothing to run"
    edit("r: 4", "r: 8")
    assert reports(project)["train"].why[0] == "never made before"


def test_the_command(project: Path, edit: Edit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    edit("k: [1, 2]", "k: [1]")
    said = CliRunner().invoke(app, ["plan"]).stdout
    assert not [line for line in said.splitlines() if line != line.rstrip()] and str(project) not in said
    assert said.splitlines()[-1] == "5 of 13 stages to run for v1: no GPU hours, under 1 MB of disk"
    document = json.loads(CliRunner().invoke(app, ["plan", "--json"]).stdout)["v1"]
    (score,) = (row for row in document["stages"] if row["role"] == "score")
    assert (score["state"], score["runs"], score["why"]) == ("to run", True, ["eval.k [1, 2] → [1]"])
    assert CliRunner().invoke(app, ["plan", "nothing"]).exception
