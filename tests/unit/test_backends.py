"""The Makefile's writer by exact strings; both back ends by what they say of a small project. Nothing is run."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from bbjspec.backends import BACKENDS, compile_to, make
from bbjspec.errors import BadInput, UsageError
from bbjspec.stage import KINDS
from bbjspec.workflow import Workflow
from tests.harness import REPOSITORY, run, write_project


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    write_project(root)
    return root


@pytest.mark.parametrize(
    ("line", "held"),
    [
        ("true", "true"),
        ("echo $HOME", "echo $$HOME"),
        ("'/a b/$(x)/python' -m bbjspec", "'/a b/$$(x)/python' -m bbjspec"),
        ("echo '#' \\", "echo '#' \\"),
    ],
)
def test_escape(line: str, held: str) -> None:
    assert make.escape(line) == held


def test_a_line_break_cannot_be_held() -> None:
    with pytest.raises(BadInput, match="Make cannot hold a line break in a command"):
        make.escape("a\nb")


@pytest.mark.parametrize("name", ["a b", "a:b", "a%", "$(a)", "a#b", "a=b", "a|b", "ä", "~a", "a*", "-k", "", "a\nb"])
def test_a_path_that_make_would_misread(name: str) -> None:
    with pytest.raises(BadInput, match="Make takes paths of letters, digits"):
        make.path(name)


def test_rules() -> None:
    assert make.rule("all") == "all:\n"
    assert make.rule("all", after=["b", "a"]) == "all: b a\n"
    assert make.rule("x/done", order_only=["y/done"], recipe=["echo $x", "exit 1"]) == (
        "x/done: | y/done\n\t@echo $$x\n\texit 1\n"
    )
    assert make.phony(["all", "v1"]) == ".PHONY: all v1\n"


def test_the_makefile_is_the_plan(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/opt/a b/$x/python")
    text = compile_to("make", project)
    rules = dict(re.findall(r"^(build/\S+/done):(.*)\n\t@exec (?:.*)$", text, re.MULTILINE))
    for prerequisites in rules.values():
        assert not prerequisites or prerequisites.startswith(" | ")
        assert set(prerequisites.split()) - {"|"} <= set(rules)
    kinds = sorted(target.split("/")[1] for target in rules)
    assert kinds == sorted([*set(KINDS) - {"gguf", "release"}, "generate", "score", "publish"])
    for target in rules:
        directory = target.removesuffix("/done")
        assert (project / directory / "stage.json").is_file(), "what the run needs is there"
        slot = "flock build/gpu.lock " if directory.split("/")[1] in ("train", "generate") else ""
        line = f"\t@exec {slot}'/opt/a b/$$x/python' -m bbjspec run {directory}/stage.json\n"
        assert f"{target}:{rules[target]}\n{line}" in text
    (publish,) = (target for target in rules if target.startswith("build/publish/"))
    assert f".PHONY: all v1\nall: {publish}\n\nv1: {publish}\n" in text


def test_the_gpu_slot_is_the_same_on_both_engines(project: Path) -> None:
    rules = "".join(file.read_text() for file in sorted((REPOSITORY / "rules").glob("*.smk")))
    workflow = Workflow(project)
    asking = re.findall(r'^rule _stage_(\w+):(?:\n .*|\n)*?\n +\*\*WORKFLOW\.resources\("\1"\),$', rules, re.MULTILINE)
    of_snakemake = {kind for kind in asking if "gpu" in workflow.resources(kind)}
    assert of_snakemake == {kind for kind, row in KINDS.items() if row.gpu} != set()
    assert "gpu=0" not in rules, "Snakemake takes gpu=0 for a request"


def test_json_is_deterministic_and_says_what_its_docstring_says(project: Path) -> None:
    text = compile_to("json", project)
    assert text == compile_to("json", project) and text.endswith("}\n")
    document = json.loads(text)
    stage = next(iter(document["stages"].values()))
    for key in (*document, *document["experiments"]["v1"], *stage):
        assert re.search(rf"\b{key}\b", BACKENDS["json"].__doc__ or ""), key
    roles = document["experiments"]["v1"]["roles"]
    train = document["stages"][roles["train"]]
    assert (train["state"], train["runs"], train["gpu"], train["adopt"]) == ("to run", True, True, None)
    assert train["after"] == sorted(train["inputs"].values())
    base = f"eval/baselines/pico-qwen2/{roles['base_score']}"
    assert [folder["folder"] for folder in document["experiments"]["v1"]["folders"]] == [base, "adapters/v1"]
    assert (project / document["experiments"]["v1"]["publish"] / "stage.json").is_file()
    assert str(project) not in text and sys.executable not in text


def test_a_bad_spec_has_a_target_that_fails_and_says_why(project: Path) -> None:
    (project / "experiments/bad.yaml").write_text("model: {base: pico-qwen2}\ntraining: {learning_rte: 1}\n")
    (project / "experiments/No Name.yaml").write_text("{}")
    compiled = run(project, "bbjspec", "compile", "--to", "make")
    line = "experiments/bad.yaml:2:12: training.learning_rte: unknown field; did you mean learning_rate?"
    assert compiled.returncode == 0 and line in compiled.stderr
    (project / "Makefile.bbjspec").write_text(compiled.stdout)
    assert re.search(r"^\.PHONY: all bad v1\nall: build/publish/\w+/done build/invalid/done$", compiled.stdout, re.M)
    failed = run(project, "make", "-f", "Makefile.bbjspec", "bad")
    assert failed.returncode == 2 and line in failed.stderr
    for name in ("bad", "No Name"):
        (project / f"experiments/{name}.yaml").unlink()
    mended = run(project, "make", "-f", "Makefile.bbjspec", "bad")
    assert mended.returncode == 2 and "the specs are good by now: compile the Makefile again" in mended.stderr


def test_a_back_end_that_is_not_there(project: Path) -> None:
    with pytest.raises(UsageError, match="no back end 'ninja'; there are make, json"):
        compile_to("ninja", project)
    assert run(project, "bbjspec", "compile", "--to", "ninja").returncode == 2


class Wildcards:
    """What Snakemake gives a rule's functions."""

    def __init__(self, digest: str) -> None:
        self.digest = digest


def asked(workflow: Workflow, kind: str, digest: str) -> dict[str, object]:
    found = {name: of(Wildcards(digest)) for name, of in workflow.resources(kind).items()}
    return {name: value for name, value in found.items() if value is not None}


def test_what_experiments_share_asks_a_cluster_for_the_largest(project: Path) -> None:
    (project / "experiments/v0.yaml").write_text(
        "extends: v1\ntraining: {learning_rate: 2e-3}\nresources: {mem_mb: 1000, runtime: 2880, cpus_per_task: 1}\n"
    )
    workflow = Workflow(project, remote=True)
    roles = [workflow.plan.experiments[name].roles for name in ("v0", "v1")]
    assert roles[0]["base_generate"] is roles[1]["base_generate"]
    shared = asked(workflow, "generate", roles[0]["base_generate"].digest)
    assert (shared["mem_mb"], shared["runtime"], shared["cpus_per_task"]) == (65536, 2880, 8)
    own = asked(workflow, "train", roles[0]["train"].digest)
    assert (own["mem_mb"], own["runtime"], own["cpus_per_task"]) == (1000, 2880, 1)


def test_a_job_keeps_what_it_was_submitted_with(project: Path) -> None:
    workflow = Workflow(project, remote=True)
    digest = workflow.plan.experiments["v1"].roles["train"].digest
    before = asked(workflow, "train", digest)
    workflow.prepare()
    spec = project / "experiments/v1.yaml"
    text = re.sub("^resources: .*\n", "", spec.read_text(), flags=re.MULTILINE)
    spec.write_text(f"{text}resources: {{gpu: 1, mem_mb: 1000}}\n")
    assert asked(Workflow(project, remote=True, node=True), "train", digest) == before
    assert asked(Workflow(project, remote=True), "train", digest) == {**before, "gpu": 1, "mem_mb": 1000}


def test_why_a_stage_failed_on_a_node_is_told_here(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    workflow = Workflow(project, remote=True)
    stage = workflow.plan.experiments["v1"].roles["train"]
    log = project / stage.directory / "stage.log"
    log.parent.mkdir(parents=True)
    log.write_text("2026-01-02T03:04:05 INFO starts\n2026-01-02T03:04:06 ERROR no GPU here\n")
    capsys.readouterr()
    workflow.failed()
    assert capsys.readouterr().err == (
        f"bbjspec: train {stage.digest[:8]}: no GPU here ({stage.directory}/stage.log)\n"
    )
