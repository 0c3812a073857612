"""Whatever a spec file holds, loading it gives a good experiment or findings: no other error, and no hang."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from bbjspec.errors import BadInput
from bbjspec.spec import Experiment, load_experiment
from bbjspec.spec.findings import fields

SECONDS = 20.0  # generous: a shared machine under load
BASE = """\
# a spec of every section
description: &text one
model: {base: tiny-qwen2, dtype: float32}
data:
  filters: {where: {tags: starter}, exclude_ids: [a, b]}
lora: {r: 8, target_modules: [q_proj]}
training: {learning_rate: 1e-4, seed: &seed 3}
eval:
  compiler: {name: builtin}
  sampling: {n: 10, seed: *seed}
export: {gguf: [q4_k_m], ollama: {num_ctx: 4096}}
resources: {gpu: 1}
"""
PIECES = [
    *"\t\n :{}[]&*!|>'\"%@`#,?-0e.~é\x00\x85\u2028\ufeff",
    "",
    "<<: ",
    "<<: *text",
    "<<: *seed",
    "*text",
    "&text ",
    "!!binary aGk=",
    "!!binary %%%",
    "!!set {a, b}",
    "!!omap [a: 1]",
    "!!timestamp 2025-13-45",
    "!!int x",
    "!!float y",
    "!!python/object/apply:os.system [x]",
    "2025-02-31",
    "0x",
    "1_0",
    "9" * 400,
    "9" * 5000,
    "1e999",
    ".nan",
    "---\n",
    "...\n",
    "%YAML 1.1\n",
    "%TAG ! x\n",
    "? [a]\n: b\n",
    "? {a: b}\n: c\n",
    "{{",
    "[" * 70,
    "null",
    "yes",
    "extends: v1\n",
    "extends: v2\n",
    "日本語",
    "\U0001f600",
    "\\",
    '"\\ud800"',
    '"\\x',
]
SLOW = {"max_examples": 120, "deadline": None, "suppress_health_check": [HealthCheck.too_slow]}


def outcome(folder: Path, name: str = "v2") -> Experiment | BadInput:
    """What loading gives. Anything but a good experiment or findings fails the test, and so does a long wait."""
    began = time.monotonic()
    try:
        result: Experiment | BadInput = load_experiment(folder / f"{name}.yaml", f"{name}.yaml")
    except BadInput as error:
        assert error.findings
        assert all("\n" not in str(finding) for finding in error.findings)
        result = error
    assert time.monotonic() - began < SECONDS
    return result


def mutated(data: st.DataObject, text: str) -> str:
    characters = list(text)
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, len(characters) - 1))
        characters[position] = data.draw(st.sampled_from(PIECES))
    return "".join(characters)


def write(folder: Path, name: str, text: str) -> None:
    (folder / f"{name}.yaml").write_bytes(text.encode("utf-8", "surrogatepass"))


@given(st.text(max_size=200))
@settings(**SLOW)
def test_any_text(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    folder = tmp_path_factory.mktemp("spec")
    write(folder, "v2", text)
    outcome(folder)


@given(st.binary(max_size=200))
@settings(**SLOW)
def test_any_bytes(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    folder = tmp_path_factory.mktemp("spec")
    (folder / "v2.yaml").write_bytes(content)
    outcome(folder)


@given(st.data())
@settings(**{**SLOW, "max_examples": 300})
def test_a_mutated_spec(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("spec")
    write(folder, "v2", mutated(data, BASE))
    outcome(folder)


@given(st.data())
@settings(**SLOW)
def test_a_mutated_parent(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("spec")
    write(folder, "v1", mutated(data, BASE))
    write(folder, "v2", "extends: v1\nlora: {lora_alpha: 16}\n")
    parent, child = outcome(folder, "v1"), outcome(folder)
    if isinstance(parent, BadInput):
        assert isinstance(child, BadInput)
        assert set(parent.findings) < set(child.findings)
        assert any(finding.message == "v1.yaml has errors" for finding in child.findings)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.binary(max_size=8) | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(fields(Experiment)), VALUES)
@settings(**{**SLOW, "max_examples": 300})
def test_any_value_of_any_field(tmp_path_factory: pytest.TempPathFactory, path: str, value: Any) -> None:
    folder = tmp_path_factory.mktemp("spec")
    document: dict[str, Any] = {"model": {"base": "tiny-qwen2"}, "eval": {"compiler": {"name": "builtin"}}}
    node = document
    *sections, leaf = path.split(".")
    for section in sections:
        node = node.setdefault(section, {})
    node[leaf] = value
    with (folder / "v2.yaml").open("w", encoding="utf-8", errors="replace") as stream:
        YAML(typ="safe", pure=True).dump(document, stream)
    outcome(folder)


@pytest.mark.parametrize(
    "text",
    [
        "description: " + "x" * 190_000,
        "description: |\n" + "  line of text\n" * 13_000,
        'description: "' + "\\n" * 90_000 + '"',
        "x" * 1_000_000,
        "? " * 20_000,
        "a: &a {<<: *a}",
        "a: &a [*a]",
        "&a a: *a",
        "".join(f"k{i}: {{<<: *k{i - 1}, a{i}: 1}}\n" if i else "k0: &k0 {a: 1}\n" for i in range(3)),
        "".join(
            f"k{i}: &k{i} {{<<: [{', '.join([f'*k{i - 1}'] * 9)}]}}\n" if i else "k0: &k0 {a: 1}\n" for i in range(9)
        ),
        "k: !!binary " + "A" * 100_000,
        "k: [" + "1, " * 40_000 + "]",
        "".join(f"k{i}: 1\n" for i in range(18_000)),
        "k: 1" + "0" * 100_000,
    ],
    ids=lambda text: f"{text[:12]!r}-{len(text)}",
)
def test_bombs(tmp_path: Path, text: str) -> None:
    write(tmp_path, "v2", text)
    assert isinstance(outcome(tmp_path), BadInput | Experiment)
