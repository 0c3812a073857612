"""What an export is to the plan: its stages, what an edit runs, where GGUFs are placed, and that weights stay out."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bbjspec import gc, publish, store
from bbjspec.backends import compile_to
from bbjspec.errors import BadInput, StageFailed
from bbjspec.memory import GGUF_BITS, gguf_bytes
from bbjspec.needs import Needs
from bbjspec.placing import place_ggufs
from bbjspec.plan import Plan, read_plan
from bbjspec.planview import PlanView
from bbjspec.spec.export import TYPES
from bbjspec.stage import KINDS, Stage
from bbjspec.workflow import Workflow
from tests.answers import seal
from tests.harness import SPEC, write_project
from tests.unit.test_needs import arch, gpu_spec
from tests.whole import LOG, make_whole, publish_all

WITH = SPEC.replace("gguf: []", "gguf: [q4_k_m, q8_0]")
PER_TYPE = {"gguf": 1, "generate": 2, "score": 2, "release": 1, "card": 1}


def write(root: Path, text: str = WITH) -> Plan:
    """The plan with `text` as v1's spec."""
    (root / "experiments/v1.yaml").write_text(text)
    plan = read_plan(root)
    assert plan.findings() == []
    return plan


def roles(root: Path, text: str = WITH) -> dict[str, Stage]:
    return write(root, text).experiments["v1"].roles


def changed(before: dict[str, Stage], after: dict[str, Stage]) -> set[str]:
    return {role for role in {*before, *after} if role not in before or before[role] != after.get(role)}


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of which nothing was made."""
    root = tmp_path_factory.mktemp("bare") / "project"
    write_project(root)
    return root


@pytest.fixture
def exported(project: Path) -> Path:
    """A project whose one experiment makes two GGUFs; all is whole and published, both types released."""
    release(project, write(project), ["q8_0", "q4_k_m"])
    publish_all(read_plan(project))
    return project


def release(root: Path, plan: Plan, released: list[str]) -> None:
    """Make v1's GGUFs, and a release that lets these types through."""
    made = plan.experiments["v1"].roles
    gguf = make_whole(root, made["gguf"])
    directory = make_whole(root, made["release"])
    (gguf / "gguf/file").unlink(missing_ok=True)
    for file in (directory / "release").iterdir():
        file.unlink()
    types: dict[str, Any] = {}
    for name in made["gguf"].config["types"]:
        (gguf / f"gguf/{name}.gguf").write_text(f"{made['gguf'].digest} {name}")
        size = (gguf / f"gguf/{name}.gguf").stat().st_size
        types[name] = {"released": name in released, "size": size, "sha256": "0" * 64}
        if name in released:
            (directory / f"release/Modelfile.{name}").write_text(f"FROM ./{name}.gguf\n")
    store.write_json(directory / "export.json", {"types": types, "released": bool(released)})
    for stage in (made["gguf"], made["release"]):
        reseal(root, stage)


def reseal(root: Path, stage: Stage) -> None:
    (root / stage.directory / store.MANIFEST).unlink()
    store._finish(root / stage.directory, store.stage_document(stage))


def test_a_spec_without_types_has_no_export(bare: Path) -> None:
    found = roles(bare, SPEC)
    assert not {"gguf", "release"} & set(found)
    assert set(found["card"].inputs) == {"audit", "contamination", "train", "base_score", "tuned_score", "compare"}
    assert "export" not in found["card"].config["spec"]
    assert read_plan(bare).experiments["v1"].placed is None


def test_what_an_export_adds(bare: Path) -> None:
    without, found = roles(bare, SPEC), roles(bare)
    added = {"gguf", "q8_0_generate", "q8_0_score", "q4_k_m_generate", "q4_k_m_score", "release"}
    assert changed(without, found) == {*added, "card"}, "base and tuned model are evaluated as without"
    gguf, one, last = found["gguf"], found["q4_k_m_generate"], found["release"]
    assert set(gguf.inputs) == {"base", "tokenizer", "train"} and not gguf.sources
    assert gguf.config["types"] == ["q8_0", "q4_k_m"], "best first, in whatever order a spec names them"
    assert set(gguf.config) == {"model", "types", "base_weights", "llama_cpp", "licence"}
    assert set(one.inputs) == {"tokenizer", "gguf"} and one.config["backend"] == "llama_cpp"
    assert one.config["gguf"] == "q4_k_m" and one.config["sampling"] == found["generate"].config["sampling"]
    assert one.sources == found["generate"].sources
    assert found["q4_k_m_score"].config == found["score"].config
    assert {"compare", "gguf", "tokenizer", "base", "tuned_score", "q8_0_score", "q4_k_m_score"} == set(last.inputs)
    assert last.inputs["tuned_score"] is found["score"] and set(last.sources) == {"prompts", "template"}
    assert last.config["margin"] == 0.10 and last.config["ollama"] == {"num_ctx": 4096, "create": False}
    assert found["card"].inputs["release"] is last
    assert roles(bare, SPEC.replace("gguf: []", "gguf: [q8_0, q4_k_m]")) == found


EDITS = [
    ("eval.gate", ("k: [1, 2]", "k: [1, 2]\n  gate: {min_effect: 0.2}"), {"compare", "release", "card"}),
    ("export.gate", ("[q4_k_m, q8_0]", "[q4_k_m, q8_0], gate: none"), {"release", "card"}),
    (
        "export.licence",
        ("[q4_k_m, q8_0]", "[q4_k_m, q8_0], licence: MIT"),
        {"gguf", "q8_0_generate", "q8_0_score", "q4_k_m_generate", "q4_k_m_score", "release", "card"},
    ),
    ("export.ollama", ("[q4_k_m, q8_0]", "[q4_k_m, q8_0], ollama: {num_ctx: 512}"), {"release", "card"}),
    ("export.dir", ("[q4_k_m, q8_0]", "[q4_k_m, q8_0], dir: /srv/models"), set[str]()),
    (
        "export.base_weights",
        ("[q4_k_m, q8_0]", "[q4_k_m, q8_0], base_weights: nf4"),
        {"gguf", "q8_0_generate", "q8_0_score", "q4_k_m_generate", "q4_k_m_score", "release", "card"},
    ),
    (
        "export.gguf",
        ("[q4_k_m, q8_0]", "[q8_0]"),
        {"gguf", "q8_0_generate", "q8_0_score", "q4_k_m_generate", "q4_k_m_score", "release", "card"},
    ),
]


@pytest.mark.parametrize(("edit", "expected"), [edit[1:] for edit in EDITS], ids=[edit[0] for edit in EDITS])
def test_what_an_edit_changes(bare: Path, edit: tuple[str, str], expected: set[str]) -> None:
    before = roles(bare)
    assert changed(before, roles(bare, WITH.replace(*edit))) == expected


def test_an_edited_prompt_never_quantizes_again(bare: Path) -> None:
    before = roles(bare)
    prompts = bare / "eval/prompts/print.jsonl"
    text = prompts.read_text()
    try:
        prompts.write_text(text.replace("Show 100 on the screen.", "Let me see 100."))
        after = roles(bare)
    finally:
        prompts.write_text(text)
    kept = {"tokenizer", "base", "audit", "split", "train", "gguf"}
    assert changed(before, after) == set(before) - kept


def test_the_template_of_the_modelfile_must_be_there(bare: Path) -> None:
    write(bare)
    template = bare / "templates/Modelfile.j2"
    text = template.read_text()
    template.unlink()
    (found,) = read_plan(bare).findings()
    template.write_text(text)
    assert str(found) == "experiments/v1.yaml:22:16: export.gguf: templates/Modelfile.j2: no such file"


def test_both_engines_know_the_stages(bare: Path) -> None:
    write(bare)
    makefile = compile_to("make", bare)
    assert "/gguf/" in makefile and "/release/" in makefile
    rules = (bare / "Snakefile").read_text() + "".join(path.read_text() for path in (bare / "rules").iterdir())
    assert all(f"rule _stage_{kind}:" in rules for kind in KINDS) and 'include: "rules/export.smk"' in rules
    document = json.loads(compile_to("json", bare))
    (made,) = (stage for stage in document["stages"].values() if stage["kind"] == "gguf")
    assert not made["gpu"] and len(made["after"]) == 3


# Sizes in GB that llama.cpp's quantize gave, as the Hub lists them: Qwen2.5-Coder-32B and 7B (bartowski's, 2024).
SIZES = {
    "32B": {
        "q8_0": 34.8, "q6_k": 26.9, "q5_k_m": 23.3, "q5_k_s": 22.6, "q4_k_m": 19.9, "q4_k_s": 18.8, "q4_0": 18.7,
        "iq4_xs": 17.7, "q3_k_l": 17.2, "q3_k_m": 15.9, "q3_k_s": 14.4, "q2_k": 12.3,
    },
    "7B": {"f16": 15.2, "q8_0": 8.1, "q4_k_m": 4.68},
}  # fmt: skip


@pytest.mark.parametrize(("size", "kind"), [(size, kind) for size, table in SIZES.items() for kind in table])
def test_the_size_of_a_gguf(size: str, kind: str) -> None:
    assert gguf_bytes(arch(size), kind) / 1e9 == pytest.approx(SIZES[size][kind], rel=0.015)


def test_every_type_has_its_bits() -> None:
    assert tuple(GGUF_BITS) == TYPES


def test_what_an_export_needs(bare: Path) -> None:
    text = gpu_spec().replace("gguf: []", "gguf: [q4_k_m]")
    plan = write(bare, text)
    needs, made = Needs(plan), plan.experiments["v1"].roles
    gguf, answers = needs.of(made["gguf"]), needs.of(made["q4_k_m_generate"])
    merged = 2 * arch("32B").parameters
    assert merged == gguf_bytes(arch("32B"), "bf16")
    assert gguf.gpu_memory == gguf.gpu_hours == 0
    assert gguf.disk == 2 * merged, "merged weights beside the bf16 file made of them"
    assert answers.gpu_memory == pytest.approx(gguf_bytes(arch("32B"), "q4_k_m") + 1e9)
    assert answers.gpu_hours and answers.source == "stated rate"
    (line,) = (line for line, _ in PlanView(plan, {"v1"}).lines() if line.startswith("  gguf "))
    assert line.endswith("[about 131.1 GB of disk]")
    plan = write(bare, text.replace("gguf: [q4_k_m]", "gguf: [q4_k_m, f16]"))
    both = Needs(plan).of(plan.experiments["v1"].roles["gguf"]).disk
    assert both == pytest.approx(2 * merged + gguf_bytes(arch("32B"), "q4_k_m")), "all files, and the one they are of"
    plan = write(bare, gpu_spec("org/other").replace("gguf: []", "gguf: [q4_k_m]"))
    needs, made = Needs(plan), plan.experiments["v1"].roles
    assert needs.of(made["gguf"]).disk is None and needs.of(made["q4_k_m_generate"]).gpu_hours is None


def test_what_is_published(exported: Path) -> None:
    plan = read_plan(exported)
    assert plan.experiment_state(plan.experiments["v1"]) == "published" and not plan.bad
    folder = exported / "adapters/v1"
    assert {"export.json", "Modelfile.q8_0", "Modelfile.q4_k_m"} <= {path.name for path in folder.iterdir()}
    assert {path.name for path in (folder / "gguf/q8_0").iterdir()} == {
        "generations.jsonl", "generation_record.json", "scores.jsonl", "eval_results.json", "lock.json",
    }  # fmt: skip
    weights = {path.name for path in folder.rglob("*") if path.suffix in (".gguf", ".safetensors")}
    assert weights == {"adapter_model.safetensors"}, "never full weights"
    placed = exported / "build/export/v1"
    assert {path.name for path in placed.iterdir()} == {
        "export.json", "q8_0.gguf", "q4_k_m.gguf", "Modelfile.q8_0", "Modelfile.q4_k_m",
    }  # fmt: skip
    made = exported / plan.experiments["v1"].roles["gguf"].directory
    assert (placed / "q8_0.gguf").samefile(made / "gguf/q8_0.gguf"), "a link takes no room"


def test_no_kind_publishes_full_weights() -> None:
    names = {name for kind in KINDS.values() for name in kind.publish.values()}
    assert not any(name.endswith(".gguf") for name in names)
    assert {name for name in names if name.endswith(".safetensors")} == {"adapter_model.safetensors"}
    assert not KINDS["gguf"].publish and not KINDS["base"].publish


def test_another_dir_places_and_makes_nothing_else(exported: Path, tmp_path: Path, edit: Callable[..., None]) -> None:
    elsewhere = tmp_path / "models"
    edit("[q4_k_m, q8_0]", f"[q4_k_m, q8_0], dir: {elsewhere}")
    plan = read_plan(exported)
    made = plan.experiments["v1"]
    assert plan.experiment_state(made) == "to run" and not list(plan.needed(made))
    *_, row = PlanView(plan, {"v1"}).reports[0].stages
    assert (row.role, row.why) == ("publish", (f"export.dir null → {elsewhere}",))
    publish.run(exported, plan.publishing(made), LOG)
    plan = read_plan(exported)
    assert plan.experiment_state(plan.experiments["v1"]) == "published"
    assert (elsewhere / "v1/q8_0.gguf").is_file() and (elsewhere / "v1/Modelfile.q8_0").is_file()


def test_a_clone_converts_nothing_for_the_card_alone(exported: Path) -> None:
    shutil.rmtree(exported / "build")
    plan = read_plan(exported)
    assert plan.experiment_state(plan.experiments["v1"]) == "published", "though no GGUF is here"
    template = exported / "templates/MODEL_CARD.md.j2"
    template.write_text(template.read_text().replace("## Limits", "## What this does not say"))
    plan = read_plan(exported)
    made = plan.experiments["v1"]
    assert [stage.kind for stage in plan.needed(made) if plan.state(stage) == "to run"] == ["card"]
    for stage in plan.needed(made):
        if plan.state(stage) == "published":
            store.run(store.prepare(exported, stage, plan.published.stages[stage.digest]), console=False)
    make_whole(exported, made.card)
    publish.run(exported, plan.publishing(made), LOG)
    assert not (exported / "build/export").exists()
    plan = read_plan(exported)
    assert plan.experiment_state(plan.experiments["v1"]) == "published"
    # Where the lock is gone, nobody knows of GGUFs that were placed: they are made again.
    (exported / "adapters/v1/lock.json").unlink()
    plan = read_plan(exported)
    wanted = {stage.kind for stage in plan.needed(plan.experiments["v1"])}
    assert "gguf" in wanted
    directory = Workflow(exported).published_stages(plan.experiments["v1"])
    assert plan.experiments["v1"].roles["gguf"] in directory


def test_what_is_no_longer_released_is_taken_away(exported: Path) -> None:
    plan = read_plan(exported)
    placed = exported / "build/export/v1"
    (placed / "notes.txt").write_text("somebody's own")
    release(exported, plan, ["q8_0"])
    publish.run(exported, plan.publishing(plan.experiments["v1"]), LOG)
    assert {path.name for path in placed.iterdir()} == {"export.json", "q8_0.gguf", "Modelfile.q8_0", "notes.txt"}
    assert not (exported / "adapters/v1/Modelfile.q4_k_m").exists()
    release(exported, plan, [])
    publish.run(exported, plan.publishing(plan.experiments["v1"]), LOG)
    assert {path.name for path in placed.iterdir()} == {"notes.txt"}
    assert (exported / "adapters/v1/export.json").is_file()
    (placed / "q8_0.gguf").write_text("somebody's own")
    publish.run(exported, plan.publishing(plan.experiments["v1"]), LOG)
    assert (placed / "q8_0.gguf").read_text() == "somebody's own"


def test_a_type_that_is_dropped_goes_with_its_answers(exported: Path, edit: Callable[..., None]) -> None:
    edit("[q4_k_m, q8_0]", "[q8_0]")
    plan = read_plan(exported)
    release(exported, plan, ["q8_0"])
    publish_all(plan)
    assert {path.name for path in (exported / "adapters/v1/gguf").iterdir()} == {"q8_0"}
    assert not (exported / "build/export/v1/q4_k_m.gguf").exists()


def test_another_file_system_gets_a_copy(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    export = {**read_plan(exported).experiments["v1"].placed, "dir": str(tmp_path / "models")}  # type: ignore[dict-item]
    place_ggufs(exported, "v1", export, LOG)
    made = exported / f"build/gguf/{export['gguf']}/gguf/q8_0.gguf"
    copy = tmp_path / "models/v1/q8_0.gguf"
    assert copy.read_text() == made.read_text() and not copy.samefile(made)
    assert not list((tmp_path / "models/v1").glob(".*")), "no scratch file stays"

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    copy.unlink()
    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(OSError, match="No space left"):
        place_ggufs(exported, "v1", export, LOG)
    assert not list((tmp_path / "models/v1").glob("*.gguf*")) or not copy.exists()
    assert not (tmp_path / "models/v1/export.json").exists(), "it comes last"


def test_a_dir_that_leads_into_adapters_after_all(exported: Path) -> None:
    (exported / "out").symlink_to(exported / "adapters")
    export = {**read_plan(exported).experiments["v1"].placed, "dir": "out"}  # type: ignore[dict-item]
    with pytest.raises(BadInput, match=r"^export\.dir: out leads into adapters/, which never holds full weights$"):
        place_ggufs(exported, "v1", export, LOG)


def test_an_export_that_cannot_be_read(exported: Path) -> None:
    export = read_plan(exported).experiments["v1"].placed
    assert export is not None
    (exported / f"build/release/{export['release']}/export.json").write_text("{")
    with pytest.raises(StageFailed, match=r"export\.json is not readable; remove build/release and run again"):
        place_ggufs(exported, "v1", export, LOG)


def test_gc_takes_the_links_of_a_spec_that_is_gone(exported: Path) -> None:
    assert not [entry for entry in gc.find(exported) if entry.path.startswith("build/export")]
    (exported / "experiments/v1.yaml").rename(exported / "experiments/v2.yaml")
    assert "build/export/v1" in [entry.path for entry in gc.find(exported)]


def test_the_card_is_told_where_they_lie(exported: Path, edit: Callable[..., None]) -> None:
    plan = read_plan(exported)
    made = plan.experiments["v1"]
    card = exported / made.card.directory
    (card / "MODEL_CARD.md").write_text("cd @EXPORT_DIR@\n")
    seal(card)
    publish.run(exported, plan.publishing(made), LOG)
    assert (exported / "adapters/v1/MODEL_CARD.md").read_text() == "cd build/export/v1\n"
