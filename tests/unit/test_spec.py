"""A bad spec gets one line a finding: file, line, column, field, what to write instead. A good one gets none.

The tables are `tests/specs/valid/` and `tests/specs/invalid/`; what a bad one gets stands in its `# expect:` lines.
Those that extend find their parents in `tests/specs/parents/`.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from pydantic import BaseModel

from bbjspec.errors import BadInput
from bbjspec.spec import Experiment, experiment_name, findings, load_experiment, renamed

REPOSITORY = Path(__file__).resolve().parents[2]
SPECS = REPOSITORY / "tests/specs"
EXAMPLES = sorted((REPOSITORY / "docs/examples").glob("*.yaml"))
GOOD = "model: {base: tiny-qwen2}\neval: {compiler: {name: builtin}}\n"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def table(folder: str) -> list[Path]:
    return sorted((SPECS / folder).glob("*.yaml"))


def found_in(file: Path) -> list[str]:
    try:
        load_experiment(file, file.name)
    except BadInput as error:
        return [line.removeprefix(f"{file.name}:").strip() for line in str(error).splitlines()]
    return []


def found(tmp_path: Path, text: str | bytes) -> list[str]:
    file = tmp_path / "v1.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return found_in(file)


def with_parents(tmp_path: Path, file: Path) -> Path:
    shutil.copytree(SPECS / "parents", tmp_path, dirs_exist_ok=True)
    text = "".join(line for line in file.read_text().splitlines(keepends=True) if not line.startswith("# expect: "))
    (tmp_path / file.name).write_text(text)
    return tmp_path / file.name


@pytest.mark.parametrize("file", table("valid"), ids=lambda p: p.stem)
def test_good(tmp_path: Path, file: Path) -> None:
    assert found_in(with_parents(tmp_path, file)) == []


@pytest.mark.parametrize("file", table("invalid"), ids=lambda p: p.stem)
def test_bad(tmp_path: Path, file: Path) -> None:
    expected = [
        line.removeprefix("# expect: ") for line in file.read_text().splitlines() if line.startswith("# expect: ")
    ]
    assert expected
    assert found_in(with_parents(tmp_path, file)) == expected


def test_the_tables_are_not_empty() -> None:
    assert len(table("valid")) + len(table("invalid")) >= 95


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"\xff", "1:1: not UTF-8; save the file as UTF-8"),
        (b"a: 1\nb: \xe9\n", "2:4: not UTF-8; save the file as UTF-8"),
        ("#" * 200_001, "larger than 200,000 bytes; a spec is a page of text"),
    ],
)
def test_what_is_no_text(tmp_path: Path, text: str | bytes, expected: str) -> None:
    assert found(tmp_path, text) == [expected]


def test_a_byte_order_mark_is_no_error(tmp_path: Path) -> None:
    assert found(tmp_path, "\ufeff" + GOOD) == []


def test_numbers_are_numbers(tmp_path: Path) -> None:
    for written, meant in (("1e-4", 1e-4), ("1E-4", 1e-4), ("5e-3", 5e-3), ("0.0001", 1e-4), ("1.0e-4", 1e-4)):
        (tmp_path / "v1.yaml").write_text(GOOD + f"training: {{learning_rate: {written}}}\n")
        assert load_experiment(tmp_path / "v1.yaml", "v1").training.learning_rate == meant


def test_accumulation_follows_from_the_global_batch(tmp_path: Path) -> None:
    (tmp_path / "v1.yaml").write_text(
        GOOD + "training: {global_train_batch_size: 64, per_device_train_batch_size: 4}\n"
    )
    assert load_experiment(tmp_path / "v1.yaml", "v1").gradient_accumulation_steps == 16


def test_a_page_of_unknown_fields_is_cut_short(tmp_path: Path) -> None:
    lines = found(tmp_path, GOOD + "".join(f"x{i}: 1\n" for i in range(5000)))
    assert len(lines) == findings.MAX_FINDINGS + 1
    assert "more findings like these" in " ".join(lines)


@pytest.mark.parametrize("bomb", ["[" * 100_000, "{a: " * 5000, "- " * 50_000, "a:\n" + "  - " * 3000])
def test_deep_nesting_is_one_line(tmp_path: Path, bomb: str) -> None:
    assert len(found(tmp_path, bomb)) == 1


def test_an_anchor_bomb_is_one_line(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    assert found(tmp_path, "\n".join(lines)) == ["more than 20,000 values once anchors are expanded"]


def test_a_secret_is_never_repeated(tmp_path: Path) -> None:
    token = "hf_" + "AbCdEfGhIjKlMnOpQr"
    texts = [
        f"model: {{base: {token}}}\neval: {{compiler: {{name: {token}}}}}\n",
        GOOD + f"token: {token}\n",
        GOOD + f"{token}: 1\n",
        GOOD + f"training: {{seed: [{token}]}}\n",
        GOOD + f"{token}: 1\n{token}: 1\n",
        GOOD + f"data: !{token} 1\n",
        GOOD + "api_key: {deep: [hunter2]}\n",
    ]
    for text in texts:
        lines = found(tmp_path, text)
        assert lines and not any(token in line or "hunter2" in line for line in lines)


# -- extends


def write(tmp_path: Path, **specs: str) -> None:
    for name, text in specs.items():
        (tmp_path / f"{name}.yaml").write_text(text)


def load(tmp_path: Path, name: str) -> Experiment:
    return load_experiment(tmp_path / f"{name}.yaml", f"experiments/{name}.yaml")


def test_extends_merges_mappings_and_replaces_the_rest(tmp_path: Path) -> None:
    write(
        tmp_path,
        v1=GOOD.replace("}}", "}, k: [1, 3, 10]}") + "description: first\nlora: {r: 8, target_modules: [q_proj]}\n"
        "data: {filters: {where: {tags: a}}, publish: true}\n",
        v2="extends: v1\nlora: {target_modules: [v_proj]}\neval: {k: [2]}\ndata: {filters: {where: {kind: b}}}\n",
        v3="extends: v2\ndescription: third\ntraining: {early_stopping_patience: null}\n",
    )
    third = load(tmp_path, "v3")
    assert third.lora.r == 8 and third.lora.target_modules == ("v_proj",)
    assert third.eval.k == (2,)
    assert third.data.filters.where == {"tags": "a", "kind": "b"}
    assert load(tmp_path, "v1").data.publish and not third.data.publish
    assert third.training.early_stopping_patience is None
    assert third.extends == "v2" and third.description == "third"
    assert load(tmp_path, "v2").description == ""


def test_extends_says_the_same_as_writing_it_out(tmp_path: Path) -> None:
    write(
        tmp_path,
        v1=GOOD + "training: {learning_rate: 1e-3}\n",
        v2="extends: v1\nlora: {r: 8}\n",
        v3=GOOD + "training: {learning_rate: 0.001}\nlora: {r: 8}\n",
    )
    inherited, written = (load(tmp_path, name).model_dump(mode="json") for name in ("v2", "v3"))
    assert inherited.pop("extends") == "v1" and written.pop("extends") is None
    assert inherited == written


def test_an_edit_of_the_parent_is_seen(tmp_path: Path) -> None:
    write(tmp_path, v1=GOOD, v2="extends: v1\n")
    assert load(tmp_path, "v2").lora.r == 32
    write(tmp_path, v1=GOOD + "lora: {r: 4}\n")
    assert load(tmp_path, "v2").lora.r == 4


def test_a_long_chain_is_refused(tmp_path: Path) -> None:
    write(tmp_path, v0=GOOD, **{f"v{i}": f"extends: v{i - 1}\n" for i in range(1, 60)})
    assert load(tmp_path, "v19").extends == "v18"
    with pytest.raises(BadInput, match="more than 20 specs in a row; write this one out"):
        load(tmp_path, "v20")
    with pytest.raises(BadInput):
        load(tmp_path, "v59")


# -- names


@pytest.mark.parametrize("name", ["v1", "demo", "card", "v1.2", "a-b_c", "0"])
def test_names(name: str) -> None:
    assert experiment_name(Path(f"experiments/{name}.yaml")) == name


@pytest.mark.parametrize("name", ["all", "V1", "a b", "$(x)", "a;b", ".x", "-x", "é", "x.", "a\nb"])
def test_names_that_are_refused(name: str) -> None:
    with pytest.raises(BadInput, match="not an experiment's name"):
        experiment_name(Path("experiments") / f"{name}.yaml")


# -- what the models promise about themselves


def leaves(model: type[BaseModel], prefix: str = "") -> list[tuple[str, object]]:
    rows: list[tuple[str, object]] = []
    for name, info in model.model_fields.items():
        kind = info.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            assert info.description, prefix + name
            rows += leaves(kind, f"{prefix}{name}.")
        else:
            rows.append((prefix + name, info))
    return rows


@pytest.mark.parametrize(("path", "info"), leaves(Experiment), ids=lambda x: x if isinstance(x, str) else "")
def test_every_field_says_what_it_is(path: str, info: object) -> None:
    extra = info.json_schema_extra or {}
    assert info.description and info.description.endswith((".", "}.", "?"))
    assert info.is_required() or extra.get("why"), "a default needs a reason"
    if info.annotation in (int, float, int | None):
        assert extra.get("unit"), "a number needs a unit"
        bounds = {type(item).__name__ for item in info.metadata}
        assert bounds & {"Ge", "Gt"} and bounds & {"Le", "Lt"}, "a number needs both bounds"


def test_other_tools_names_lead_to_fields_that_exist() -> None:
    paths = set(findings.fields(Experiment))
    assert len(renamed.RENAMED) + len(renamed.EXPLAINED) >= 90
    for name, (whose, here) in renamed.RENAMED.items():
        assert here.split(":")[0].split(" ")[0] in paths, name
        assert whose and name not in renamed.EXPLAINED and name not in renamed.REFUSED
    assert not set(renamed.EXPLAINED) & set(renamed.REFUSED)


@pytest.mark.parametrize("name", sorted({*renamed.RENAMED, *renamed.EXPLAINED, *renamed.REFUSED}))
def test_other_tools_names_get_one_line(tmp_path: Path, name: str) -> None:
    (line,) = found(tmp_path, f"{GOOD}{name}: 1\n")
    assert line == f"3:1: {name}: {renamed.elsewhere(name)}" and "did you mean" not in line


# -- the specs that ship


def shipped() -> list[Path]:
    return [*sorted((REPOSITORY / "experiments").glob("*.yaml")), *EXAMPLES]


@pytest.mark.parametrize("file", shipped(), ids=lambda p: p.stem)
def test_shipped_specs_name_their_schema(file: Path) -> None:
    line = file.read_text().splitlines()[0]
    assert line.startswith("# yaml-language-server: $schema=")
    assert (file.parent / line.partition("=")[2]).resolve() == REPOSITORY / "experiments/schema.json"


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda p: p.stem)
def test_examples_want_nothing_but_a_commit(tmp_path: Path, file: Path) -> None:
    with pytest.raises(BadInput) as caught:
        load_experiment(file, file.name)
    said = [finding for finding in caught.value.findings if not finding.message.endswith(" has errors")]
    assert said and all(finding.path == "model.revision" for finding in said)
    assert all("is no commit; replace it by a commit of Qwen/" in finding.message for finding in said)
    for other in EXAMPLES:
        (tmp_path / other.name).write_text(other.read_text().replace("COMMIT-OF-40-HEX-DIGITS", COMMIT))
    assert load_experiment(tmp_path / file.name, file.name).model.revision == COMMIT
