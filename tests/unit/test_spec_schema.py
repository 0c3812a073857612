"""The schema that editors use: current, no stricter than the models, and with their bounds."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from bbjspec import yamlio
from bbjspec.spec.reference import reference_text
from bbjspec.spec.schema import schema, schema_text

REPOSITORY = Path(__file__).resolve().parents[2]
SPECS = REPOSITORY / "tests/specs"
VALIDATOR = Draft202012Validator(schema())
GOOD: dict[str, Any] = {"model": {"base": "tiny-qwen2"}, "eval": {"compiler": {"name": "builtin"}}}


def errors(document: Any) -> list[str]:
    return [error.message for error in VALIDATOR.iter_errors(document)]


def test_the_checked_in_schema_is_current() -> None:
    assert (REPOSITORY / "experiments/schema.json").read_text() == schema_text(), (
        "bbjspec schema > experiments/schema.json"
    )


def test_it_is_a_schema() -> None:
    Draft202012Validator.check_schema(json.loads(schema_text()))


@pytest.mark.parametrize(
    "file",
    [
        *sorted((SPECS / "valid").glob("*.yaml")),
        *sorted((REPOSITORY / "experiments").glob("*.yaml")),
        *sorted((REPOSITORY / "docs/examples").glob("*.yaml")),
    ],
    ids=lambda p: p.stem,
)
def test_it_accepts_every_good_spec(file: Path) -> None:
    # What an editor checks is JSON's view: lists, not tuples.
    assert errors(json.loads(json.dumps(yamlio.load(file, file.name)))) == []


@pytest.mark.parametrize(
    "name",
    [
        *("typo", "typo-in-a-section", "missing-eval", "missing-model", "missing-base", "missing-compiler", "axolotl"),
        *("text-for-a-number", "rank-zero", "rate-above-bound", "seed-too-large", "nine-gpus", "section-as-a-list"),
        *("gguf-capitals", "gate-fail", "fp4", "secret-field"),
    ],
)
def test_it_refuses_what_it_can_know(name: str) -> None:
    file = SPECS / f"invalid/{name}.yaml"
    assert errors(yamlio.load(file, file.name))


@pytest.mark.parametrize(
    ("section", "field", "good", "bad"),
    [
        ("training", "learning_rate", [1e-4, 0.99], [0, 1, "1e-4"]),
        ("training", "num_train_epochs", [1, 0.5], [0]),
        ("training", "early_stopping_patience", [None, 1], [0]),
        ("training", "optim", ["adamw_torch"], ["adamw_8bit"]),
        ("lora", "target_modules", ["all-linear", ["q_proj"]], ["q_proj", 3]),
        ("export", "gguf", [[], ["q4_k_m", "bf16"]], [["q4"], "q4_k_m"]),
        ("export", "base_weights", ["bf16", "nf4"], ["fp16"]),
        ("data", "val_size", [0.5], [0, 1]),
        ("resources", "gpu", [0, 1, 8], [9, -1]),
        ("training", "gradient_checkpointing", ["auto", True, False], ["yes", 1]),
        ("tracking", "wandb", [None, {"project": "bbj"}], [True, {"project": 3}]),
    ],
)
def test_bounds_are_the_models(section: str, field: str, good: list[Any], bad: list[Any]) -> None:
    for value in good:
        assert errors(GOOD | {section: {field: value}}) == []
    for value in bad:
        assert errors(GOOD | {section: {field: value}})


def test_a_spec_that_extends_needs_nothing_else() -> None:
    assert errors({"extends": "v1", "model": {"dtype": "float32"}, "eval": {"compiler": {"version": "26.03"}}}) == []
    assert errors({"extends": None}) and errors({"extends": 3})


def test_descriptions_tell_unit_and_reason() -> None:
    field = schema()["$defs"]["TrainingSpec"]["properties"]["max_length"]
    assert field["description"].startswith("Longest row") and "Unit: tokens." in field["description"]
    assert "Default: " in field["description"] and field["minimum"] == 16


def test_the_reference_is_current() -> None:
    assert (REPOSITORY / "docs/spec-reference.md").read_text(encoding="utf-8") == reference_text(), (
        "bbjspec schema --markdown > docs/spec-reference.md"
    )


def test_the_reference_has_every_field_with_its_unit_and_reason() -> None:
    page = reference_text()
    for part in (schema(), *schema()["$defs"].values()):
        for name, field in part["properties"].items():
            if part.get("title") == "Experiment" and "$ref" in field:
                assert re.search(rf"^## `{name}`$", page, re.MULTILINE)
                continue
            rows = [line for line in page.splitlines() if line.startswith(f"| `{name}` |")]
            for said in (field.get("unit", ""), field.get("why", "")):
                assert any(said in row for row in rows), name
