"""`bbjspec new`, `diff` and `schema`, as a person types them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bbjspec.digest import FileHashes
from bbjspec.plan import ExperimentPlan, Plan, compile_experiment, read_plan
from bbjspec.published import Published
from bbjspec.spec import load_experiment
from bbjspec.spec.difference import UNTOLD
from tests.harness import REPOSITORY, write_project
from tests.whole import publish_all

SCHEMA = "# yaml-language-server: $schema=schema.json\n"
V3 = (
    SCHEMA
    + """\
# what it is for
description: "first try"

eval:
  compiler: {name: builtin} # approximate
  prompts:
    - eval/prompts/a.jsonl
    # the second one
    - eval/prompts/b.jsonl
lora:
  r: 32 # rank
  lora_alpha: 64
model: {base: tiny-qwen2}
training:
  learning_rate: 5e-3
  early_stopping_patience: null # never
"""
)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments/v3.yaml").write_text(V3)
    return tmp_path


def bbjspec(project: Path, *arguments: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "bbjspec", *arguments],
        cwd=project,
        env={"PYTHONPATH": str(Path(__file__).resolve().parents[2]), "NO_COLOR": "1", "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def new(project: Path, name: str) -> str:
    return (project / f"experiments/{name}.yaml").read_text()


def with_parent(text: str, parent: str) -> str:
    return text.replace("description:", f"parent: {parent}\ndescription:")


def test_a_copy_without_changes_is_the_same_text_but_for_its_parent(project: Path) -> None:
    note = "note: its description is v3's still; say what this run is to find out\n"
    assert bbjspec(project, "new", "v4", "--from", "v3") == (0, "experiments/v4.yaml\n", note)
    assert new(project, "v4") == with_parent(V3, "v3")
    assert bbjspec(project, "new", "v5", "--from", "v4")[0] == 0
    assert new(project, "v5") == with_parent(V3, "v4")
    assert bbjspec(project, "new", "v6", "--from", "v4", "--set", "parent=v3")[0] == 0
    assert new(project, "v6") == with_parent(V3, "v3")


def test_a_copy_with_a_description_of_its_own_needs_no_note(project: Path) -> None:
    assert bbjspec(project, "new", "v4", "--from", "v3", "--set", "description=next")[2] == ""
    assert bbjspec(project, "new", "v5", "--extends", "v3")[2] == ""


def test_a_file_with_another_ending_is_told(project: Path) -> None:
    (project / "experiments/v7.yml").write_text(V3)
    code, _, told = bbjspec(project, "check")
    assert code == 1 and "experiments/v7.yml: an experiment's file ends in .yaml: call it v7.yaml\n" in told


def test_all_files_that_a_spec_misses_are_told_at_once(project: Path) -> None:
    (project / "experiments/v4.yaml").write_text(V3 + "data: {path: dataset/none.jsonl}\n")
    code, _, told = bbjspec(project, "check", "v4")
    assert code == 1 and told.splitlines() == [
        "experiments/v4.yaml:18:14: data.path: dataset/none.jsonl: no such file",
        "experiments/v4.yaml:8:5: eval.prompts: eval/prompts/a.jsonl: no such file",
        "experiments/v4.yaml:1:1: card.template: templates/MODEL_CARD.md.j2: no such file",
    ]


def test_a_base_that_is_not_there_is_told_where_a_run_would_look_for_it(tmp_path: Path) -> None:
    root = tmp_path / "project"
    write_project(root)
    spec = root / "experiments/v1.yaml"
    spec.write_text(spec.read_text().replace("base: pico-qwen2", "base: ./models/coder"))
    assert bbjspec(root, "check")[::2] == (
        1,
        "experiments/v1.yaml:3:15: model.base: ./models/coder: no such directory; one with config.json and "
        "*.safetensors is meant\n",
    )
    publish_all(Plan(root, {"v1": compiled(root)}, {}, Published()))
    assert bbjspec(root, "check")[0] == 0, "a colleague's clone, where all is published, needs no base"


def compiled(root: Path) -> ExperimentPlan:
    spec = load_experiment(root / "experiments/v1.yaml", "v1")
    return compile_experiment(root, "v1", spec, "v1", FileHashes(), {})


def test_a_name_that_is_nearly_there(project: Path) -> None:
    (project / "experiments/demo.yaml").write_text(V3)
    assert bbjspec(project, "check", "dmo")[2] == "bbjspec: no such experiment: dmo; did you mean demo?\n"


def test_a_copy_of_json_names_its_parent_too(project: Path) -> None:
    json = (REPOSITORY / "tests/specs/valid/json.yaml").read_text()
    (project / "experiments/j.yaml").write_text(json)
    assert bbjspec(project, "new", "v4", "--from", "j")[0] == 0
    assert load_experiment(project / "experiments/v4.yaml", "v4").compared_with == "j"


def test_a_parent_must_be_known(project: Path) -> None:
    for parent, said in (
        ("v2", "no experiment v2; there are v3"),
        ("v31", "no experiment v31; did you mean v3?"),
        ("v4", "v4 cannot be its own parent"),
        ("../v3", "not an experiment's name: lower-case letters, digits, “.”, “_” and “-” are meant"),
    ):
        (project / "experiments/v4.yaml").write_text(with_parent(V3, parent))
        code, _, told = bbjspec(project, "check", "v4")
        assert code == 1 and f"experiments/v4.yaml:3:9: parent: {said}\n" in told, told


def test_a_copy_keeps_comments_and_order(project: Path) -> None:
    changes = ("lora.r=16", "training.learning_rate=1e-4", "description=second try", "training.eval_steps=25")
    code, _, _ = bbjspec(project, "new", "v4", "--from", "v3", *(part for c in changes for part in ("--set", c)))
    assert code == 0
    changed = V3.replace("r: 32 #", "r: 16 #").replace("5e-3", "1e-4").replace('"first try"', '"second try"')
    changed = changed.replace("null # never\n", "null # never\n  eval_steps: 25\n")
    assert new(project, "v4") == with_parent(changed, "v3")


def test_a_new_section_and_a_list(project: Path) -> None:
    code, _, said = bbjspec(
        project, "new", "v4", "--from", "experiments/v3.yaml", "--set", "eval.k=[1, 10]", "--set", "data.seed=7"
    )
    assert code == 0, said
    spec = load_experiment(project / "experiments/v4.yaml", "v4")
    assert spec.eval.k == (1, 10) and spec.data.seed == 7


def test_extends_writes_only_what_changes(project: Path) -> None:
    assert bbjspec(project, "new", "v4", "--extends", "v3", "--set", "lora.r=16")[0] == 0
    assert new(project, "v4") == SCHEMA + "extends: v3\n\nlora:\n  r: 16\n"
    spec = load_experiment(project / "experiments/v4.yaml", "v4")
    assert spec.extends == "v3" and spec.lora.r == 16 and spec.training.learning_rate == 5e-3


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("v3", "--from", "v3"), 2, "bbjspec: experiments/v3.yaml exists; choose another name, or edit it\n"),
        (("v4", "--from", "v9"), 2, "bbjspec: no such experiment: v9; there are v3\n"),
        (("v4",), 2, "bbjspec: say what it starts from: --from SPEC copies one, --extends SPEC inherits from it\n"),
        (("v4", "--from", "v3", "--set", "lora.r"), 2, "--set wants section.field=value, such as --set lora.r=16\n"),
        (("v4", "--from", "v3", "--set", "lora..r=1"), 2, "--set wants section.field=value"),
        (("v4", "--from", "v3", "--set", "lora.r=[1"), 2, "--set lora.r: the value is not YAML: "),
        (("all", "--from", "v3"), 1, "experiments/'all.yaml': not an experiment's name: a reserved word\n"),
        (("A b", "--from", "v3"), 1, "not an experiment's name"),
        (("v4", "--from", "v3", "--set", "lora.x=1"), 1, "experiments/v4.yaml (not written): lora.x: unknown field"),
        (("../v4", "--from", "v3"), 2, "'../v4': experiments are in experiments/; a name alone is meant\n"),
        (
            ("v4", "--from", "v3", "--set", "training.learning_rte=1"),
            1,
            "experiments/v4.yaml (not written): training.learning_rte: unknown field; did you mean learning_rate?\n",
        ),
        (("v4", "--extends", "v3", "--set", "lora_r=1"), 1, "lora_r: unknown field; axolotl's lora_r is lora.r here\n"),
        (("v4", "--from", "v3", "--set", "lora.r.x=1"), 1, "lora.r.x: r holds a value here, not fields\n"),
        (("v4", "--from", "v3", "--set", "hf_token=hf_abcdefghij"), 1, "hf_token: a secret has no place in a spec"),
    ],
)
def test_nothing_is_written_unless_it_is_good(project: Path, arguments: tuple[str, ...], code: int, said: str) -> None:
    found, out, err = bbjspec(project, "new", *arguments)
    assert (found, out) == (code, "") and said in err and "hf_abc" not in err
    assert [file.name for file in (project / "experiments").iterdir()] == ["v3.yaml"]
    assert new(project, "v3") == V3


def test_diff_by_section(project: Path) -> None:
    assert bbjspec(project, "new", "v4", "--extends", "v3", "--set", "lora.r=16", "--set", "eval.k=[1]")[0] == 0
    assert bbjspec(project, "diff", "v3", "experiments/v4.yaml") == (
        0,
        "lora\n  lora.r  32 → 16\neval\n  eval.k  [1, 5] → [1]\n",
        "",
    )
    assert bbjspec(project, "diff", "v4", "v4") == (0, "no difference in what they do\n", "")


def test_diff_warns_when_the_cause_cannot_be_known(project: Path) -> None:
    assert (
        bbjspec(
            project, "new", "v4", "--from", "v3", "--set", "lora.r=16", "--set", "data.filters.where={kind: x}",
            "--set", "resources.gpu=0", "--set", "training.optim=adamw_torch",
        )[0] == 0
    )  # fmt: skip
    code, out, err = bbjspec(project, "diff", "v3", "v4")
    assert code == 0 and err == f"warning: {UNTOLD}\n"
    assert "  data.filters.where.kind  null → x\n" in out and "resources (changes no result)\n" in out


def test_diff_says_what_changes_no_result_and_does_not_warn_of_it(project: Path) -> None:
    changes = ("training.per_device_train_batch_size=2", "data.seed=7", "tracking.wandb.project=bbj")
    words = [word for change in changes for word in ("--set", change)]
    assert bbjspec(project, "new", "v4", "--from", "v3", *words)[0] == 0
    code, out, err = bbjspec(project, "diff", "v3", "v4")
    assert (code, err) == (0, "")
    assert "  training.per_device_train_batch_size  1 → 2 (changes no result)\n" in out
    assert "tracking (changes no result)\n  tracking.wandb " in out


def test_diff_of_a_bad_spec_shows_its_findings(project: Path) -> None:
    (project / "experiments/v4.yaml").write_text("extends: v3\nlora: {x: 1}\n")
    code, out, err = bbjspec(project, "diff", "v3", "v4")
    assert (code, out) == (1, "") and err.startswith("experiments/v4.yaml:2:8: lora.x: unknown field")
    assert bbjspec(project, "diff", "v3", "v9")[0] == 2


def test_schema_is_the_checked_in_one(project: Path) -> None:
    checked_in = Path(__file__).resolve().parents[2] / "experiments/schema.json"
    assert bbjspec(project, "schema") == (0, checked_in.read_text(), "")


def test_each_command_shows_an_example(project: Path) -> None:
    for command in ("new", "diff", "schema"):
        assert f"bbjspec {command}" in bbjspec(project, command, "--help")[1]


def test_the_plan_takes_a_child_for_what_it_says(tmp_path: Path) -> None:
    root = tmp_path / "project"
    write_project(root)
    text = (root / "experiments/v1.yaml").read_text()
    (root / "experiments/v2.yaml").write_text("extends: v1\nlora: {r: 8}\n")
    (root / "experiments/v3.yaml").write_text(text.replace("r: 4,", "r: 8,"))
    (root / "experiments/v4.yaml").write_text("extends: v2\ndescription: another name for it\n")
    plan = read_plan(root)
    assert not plan.bad
    first, *others = (plan.experiments[name].card.digest for name in ("v1", "v2", "v3", "v4"))
    assert len(set(others)) == 1 and first not in others


def test_a_bad_parent_is_told_once(tmp_path: Path) -> None:
    root = tmp_path / "project"
    write_project(root)
    with (root / "experiments/v1.yaml").open("a") as spec:
        spec.write("card: {x: 1}\n")
    for name in ("v2", "v3"):
        (root / f"experiments/{name}.yaml").write_text("extends: v1\n")
    (root / "experiments/v5.yaml").write_text((root / "experiments/v1.yaml").read_text().replace("card: {x: 1}", ""))
    plan = read_plan(root)
    assert set(plan.experiments) == {"v5"} and set(plan.bad) == {"v1.yaml", "v2.yaml", "v3.yaml"}
    assert sorted(str(finding) for finding in plan.findings()) == [
        "experiments/v1.yaml:24:8: card.x: unknown field; known here: template",
        "experiments/v2.yaml:1:10: extends: experiments/v1.yaml has errors",
        "experiments/v3.yaml:1:10: extends: experiments/v1.yaml has errors",
    ]
