"""References and the few-shot baseline in a plan: what they share, what they are keyed by, what is ever taken again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from bbjspec import publish
from bbjspec.needs import Needs
from bbjspec.plan import ExperimentPlan, read_plan
from bbjspec.stage import Stage
from tests.harness import SPEC
from tests.whole import LOG, publish_all

DIGEST = "sha256:" + "ab" * 32
REFERENCES = f"""\
  few_shot: 2
  references:
    - {{name: floats, server: "http://127.0.0.1:1/v1", model: "m:32b"}}
    - {{name: pinned, server: "http://127.0.0.1:1/v1", model: "m:32b", digest: "{DIGEST}"}}
    - {{name: q4, gguf: models/x.gguf}}
"""
WITH = SPEC.replace("  k: [1, 2]\n", "  k: [1, 2]\n" + REFERENCES)


@pytest.fixture
def referring(project: Path) -> Path:
    """The published project, with references and a few-shot baseline in its spec."""
    (project / "models").mkdir()
    (project / "models/x.gguf").write_bytes(b"GGUF")
    (project / "experiments/v1.yaml").write_text(WITH)
    return project


def of(root: Path, name: str = "v1") -> ExperimentPlan:
    plan = read_plan(root)
    assert not plan.bad, plan.findings()
    return plan.experiments[name]


def digest_of(roles: dict[str, Stage], role: str) -> str | None:
    return roles[role].digest if role in roles else None


def changed(root: Path, old: str, new: str) -> set[str]:
    """The roles whose digests differ after an edit of the spec, which is undone."""
    before, file = of(root).roles, root / "experiments/v1.yaml"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    after = of(root).roles
    file.write_text(text)
    return {role for role in {*before, *after} if digest_of(before, role) != digest_of(after, role)}


def test_nothing_else_changes_by_them(project: Path, referring: Path) -> None:
    with_them = of(referring).roles
    (referring / "experiments/v1.yaml").write_text(SPEC)
    without = of(referring).roles
    beside = {f"{who}_{kind}" for who in ("few_shot", "floats", "pinned", "q4") for kind in ("generate", "score")}
    assert set(with_them) - set(without) == beside
    assert {role for role in without if without[role] != with_them[role]} == {"compare", "card"}  # few-shot decides too


def test_where_a_server_runs_is_no_part_of_a_result(referring: Path) -> None:
    assert changed(referring, "http://127.0.0.1:1/v1", "https://models.example.org/v1") == set()
    assert changed(referring, 'model: "m:32b"}', 'model: "m:32b", timeout: 3, concurrency: 9, api_key_env: K}') == set()
    assert changed(referring, DIGEST, "sha256:" + "cd" * 32) == {"pinned_generate", "pinned_score", "card"}
    assert changed(referring, 'model: "m:32b"}', 'model: "m:14b"}') == {"floats_generate", "floats_score", "card"}
    server = of(referring).roles["floats_generate"]
    assert server.resources["server"]["url"] == "http://127.0.0.1:1/v1" and server.resources["gpu"] == 0
    assert "127.0.0.1" not in json.dumps(dict(of(referring).card.config))


def test_a_gguf_is_keyed_by_its_bytes(referring: Path) -> None:
    before = of(referring).roles
    (referring / "models/x.gguf").write_bytes(b"GGUF2")
    after = of(referring).roles
    assert {r for r in before if before[r] != after[r]} == {"q4_generate", "q4_score", "card"}
    (referring / "models/x.gguf").unlink()
    assert [str(f) for f in read_plan(referring).findings()] == [
        "experiments/v1.yaml:26:24: eval.references.2.gguf: models/x.gguf: no such file"
    ]


def test_few_shot_is_shared_by_equal_base_suite_sampling_and_split(referring: Path) -> None:
    (referring / "experiments/rate.yaml").write_text(WITH.replace("learning_rate: 1e-3", "learning_rate: 2e-3"))
    (referring / "experiments/split.yaml").write_text(
        WITH.replace("{path: dataset/rows.jsonl}", "{path: dataset/rows.jsonl, seed: 7}")
    )
    ours, rate, split = (of(referring, name).roles["few_shot_score"] for name in ("v1", "rate", "split"))
    assert ours is not None and ours == rate != split
    assert changed(referring, "few_shot: 2", "few_shot: 3") == {
        "few_shot_generate",
        "few_shot_score",
        "compare",
        "card",
    }


def test_what_is_published_where_and_what_is_taken_again(referring: Path) -> None:
    publish_all(read_plan(referring))
    experiment = of(referring)
    few_shot = f"eval/baselines/pico-qwen2/{experiment.roles['few_shot_score'].digest}"
    for folder in (few_shot, *(f"adapters/v1/references/{name}" for name in ("floats", "pinned", "q4"))):
        assert folder in experiment.folders
        names = {file.name for file in (referring / folder).iterdir()}
        assert names == {
            "generations.jsonl",
            "generation_record.json",
            "scores.jsonl",
            "eval_results.json",
            "lock.json",
        }
    shutil.rmtree(referring / "build")
    plan = read_plan(referring)
    states = {role: plan.state(stage) for role, stage in plan.experiments["v1"].roles.items()}
    assert plan.experiment_state(plan.experiments["v1"]) == "published"
    assert {role for role, state in states.items() if "generate" in role or "score" in role if state == "to run"} == {
        "floats_generate",
        "floats_score",
    }
    lock = json.loads((referring / "adapters/v1/references/floats/lock.json").read_text())
    assert lock["stages"] == {} and len(lock["files"]) == 4, "vouched for, never adopted"


def test_a_reference_that_left_the_spec_leaves_the_folder(referring: Path) -> None:
    publish_all(read_plan(referring))
    (referring / "adapters/v1/references/q4/notes.txt").write_text("a person's")
    file = referring / "experiments/v1.yaml"
    file.write_text(
        "".join(line for line in WITH.splitlines(keepends=True) if "q4" not in line and "pinned" not in line)
    )
    publish_all(read_plan(referring))
    assert {path.name for path in (referring / "adapters/v1/references").iterdir()} == {"floats", "q4"}
    assert [path.name for path in (referring / "adapters/v1/references/q4").iterdir()] == ["notes.txt"]


def test_tampering_with_a_reference_harms_its_experiment(referring: Path) -> None:
    publish_all(read_plan(referring))
    (referring / "adapters/v1/references/pinned/scores.jsonl").write_text("better")
    assert "adapters/v1/references/pinned/scores.jsonl: is not the file" in str(read_plan(referring).findings()[0])


def test_what_they_need(referring: Path) -> None:
    (referring / "experiments/v1.yaml").write_text(WITH.replace("gpu: 0", "gpu: 1"))
    plan = read_plan(referring)
    needs, roles = Needs(plan), plan.experiments["v1"].roles
    server, file = needs.of(roles["floats_generate"]), needs.of(roles["q4_generate"])
    assert (server.gpu_memory, server.gpu_hours, server.source) == (0, 0, "on a server")
    assert file.gpu_memory and file.gpu_hours and file.source == "stated rate"


def test_publishing_survives_a_lock_of_a_reference_that_is_none(referring: Path) -> None:
    publish_all(read_plan(referring))
    old = referring / "adapters/v1/references/old"
    old.mkdir()
    (old / "lock.json").write_text("[]")
    assert list(read_plan(referring).bad) == ["adapters/v1/references/old"]
    publish.run(referring, read_plan(referring).experiments["v1"].publish_document, LOG)
    assert not old.exists() and not read_plan(referring).bad
