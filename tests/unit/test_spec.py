"""A bad spec gets one line a finding: file, line, column, field, what to write instead."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bbjspec.errors import BadInput
from bbjspec.spec import experiment_name, load_experiment

GOOD = "model: {base: tiny-qwen2}\neval: {compiler: {name: builtin}}\n"
HUB = "model: {base: Qwen/Qwen2.5-Coder-32B-Instruct, revision: %s}\neval: {compiler: {name: builtin}}\n"


def findings(tmp_path: Path, text: str | bytes) -> list[str]:
    file = tmp_path / "v1.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    try:
        load_experiment(file, "v1.yaml")
    except BadInput as error:
        return str(error).splitlines()
    return []


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        GOOD + "training: {learning_rate: 1e-4}\n",
        GOOD + "training: {num_train_epochs: 3}\n",
        GOOD + "lora: {target_modules: [q_proj, v_proj]}\n",
        HUB % ("a" * 40),
        "\ufeff" + GOOD,
    ],
)
def test_good(tmp_path: Path, text: str) -> None:
    assert findings(tmp_path, text) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "v1.yaml:1:1: empty; an experiment needs at least model, data and eval"),
        ("- 1", "v1.yaml:1:1: a mapping of sections is meant, not a list"),
        (b"\xff", "v1.yaml:1:1: not UTF-8; save the file as UTF-8"),
        (GOOD + "a: 1\na: 2\n", 'v1.yaml:4:1: duplicate key "a": each field stands once'),
        (GOOD + "1: 2\n", "v1.yaml: a field's name is text, not 1"),
        (
            GOOD + "training: {learning_rte: 1}\n",
            "v1.yaml:3:12: training.learning_rte: unknown field; did you mean learning_rate?",
        ),
        (
            GOOD + "training:\n  learning_rate: fast\n",
            "v1.yaml:4:18: training.learning_rate: input should be a valid number; found 'fast'",
        ),
        (
            GOOD + "training: {per_device_train_batch_size: 3}\n",
            "v1.yaml:3:11: training: global_train_batch_size 32 is no multiple of per_device_train_batch_size 3",
        ),
        (
            GOOD + "training: {save_steps: 75}\n",
            "v1.yaml:3:11: training: save_steps 75 is no multiple of eval_steps 50; "
            "the best checkpoint could not be restored",
        ),
        (
            GOOD + "lora: {target_modules: [lm_head]}\n",
            "v1.yaml:3:24: lora.target_modules: lm_head cannot be adapted: merged with tied embeddings it gives "
            "another model",
        ),
        (
            HUB % "main",
            "v1.yaml:1:8: model: revision must pin Qwen/Qwen2.5-Coder-32B-Instruct to a commit of 40 hex digits; its "
            "Hub page lists them under “Files and versions”, “History”",
        ),
        (
            "model: {base: gpt}\neval: {compiler: {name: builtin}}\n",
            "v1.yaml:1:15: model.base: unknown base 'gpt'; write a Hub id (org/name) with a revision, a directory "
            "(./dir), or one of the embedded pico-qwen2, tiny-qwen2",
        ),
        ("model: {base: tiny-qwen2}\n", "v1.yaml:1:1: eval: missing; it has no default"),
        (
            "model: {base: tiny-qwen2}\neval: {compiler: {name: bbjcpl}}\n",
            "v1.yaml:2:18: eval.compiler: version is needed with bbjcpl: the version of BBj that is meant, such as "
            "“26.03”",
        ),
        (
            "model: {base: tiny-qwen2}\neval: {compiler: {name: builtin}, k: [1, 11]}\n",
            "v1.yaml:2:7: eval: compile@11 needs 1 <= k <= n, and sampling.n is 10",
        ),
        (
            "model: {base: tiny-qwen2}\neval: {compiler: {name: builtin}, sampling: {temperature: 0}}\n",
            "v1.yaml:2:45: eval.sampling: temperature 0 gives 10 times the same answer; write n: 1, or a temperature",
        ),
        (
            GOOD + "resources: {gpu: 0}\n",
            "v1.yaml:1:1: training.optim paged_adamw_8bit needs a GPU; with resources.gpu 0 write adamw_torch",
        ),
        (GOOD + "training: {learning_rate: .nan}\n", "v1.yaml:3:27: training.learning_rate: "),
    ],
)
def test_bad(tmp_path: Path, text: str | bytes, expected: str) -> None:
    (found,) = findings(tmp_path, text)
    assert found == expected or (expected.endswith(": ") and found.startswith(expected))


def test_all_errors_at_once(tmp_path: Path) -> None:
    text = "model: {base: gpt}\ndata: {path: 3}\ntraining: {x: 1}\neval: {compiler: {name: javac}}\n"
    assert [line.split(":")[1] for line in findings(tmp_path, text)] == ["1", "2", "3", "4"]


@pytest.mark.parametrize("bomb", ["[" * 100_000, "{a: " * 5000, "- " * 50_000])
def test_deep_nesting_is_one_line(tmp_path: Path, bomb: str) -> None:
    (found,) = findings(tmp_path, bomb)
    assert found.startswith("v1.yaml")


def test_an_anchor_bomb_is_one_line(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    assert findings(tmp_path, "\n".join(lines)) == ["v1.yaml: more than 20,000 values once anchors are expanded"]


@given(st.text(max_size=200))
@settings(max_examples=150, deadline=None)
def test_any_text_is_good_or_findings(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    for found in findings(tmp_path_factory.mktemp("spec"), text.encode("utf-8", "surrogatepass")):
        assert found.startswith("v1.yaml")


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_a_mutated_spec_is_good_or_findings(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    text = list(GOOD + "training: {learning_rate: 1e-4, seed: 3}\ndata: {filters: {exclude_ids: [a]}}\n")
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, len(text) - 1))
        text[position] = data.draw(st.sampled_from([*"\t\n :{}[]&*!|>'\"%@`#,?-0e.\x00é", ""]))
    for found in findings(tmp_path_factory.mktemp("spec"), "".join(text)):
        assert found.startswith("v1.yaml")


@pytest.mark.parametrize("name", ["v1", "demo", "card", "v1.2", "a-b_c", "0"])
def test_names(name: str) -> None:
    assert experiment_name(Path(f"experiments/{name}.yaml")) == name


@pytest.mark.parametrize("name", ["all", "V1", "a b", "$(x)", "a;b", ".x", "-x", "é", "x.", "a\nb"])
def test_names_that_are_refused(name: str) -> None:
    with pytest.raises(BadInput, match="not an experiment's name"):
        experiment_name(Path("experiments") / f"{name}.yaml")
