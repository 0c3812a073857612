"""Estimates: the arithmetic, what it may never do, and where the hours come from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bbjspec import needs
from bbjspec.architecture import Architecture, architecture, read
from bbjspec.plan import read_plan
from tests.harness import SPEC

ROOT = Path()
QWEN = "Qwen/Qwen2.5-Coder-{}-Instruct"
# Parameters that Qwen's technical report gives, in thousands of millions (arXiv:2412.15115, table 1; model cards).
REPORTED = {"0.5B": 0.49, "1.5B": 1.54, "3B": 3.09, "7B": 7.61, "14B": 14.7, "32B": 32.5, "72B": 72.7}


def arch(size: str) -> Architecture:
    found = architecture(QWEN.format(size), ROOT)
    assert found is not None
    return found


@pytest.mark.parametrize("size", REPORTED)
def test_parameters_are_those_that_are_reported(size: str) -> None:
    assert arch(size).parameters / 1e9 == pytest.approx(REPORTED[size], rel=0.01)


def test_the_stated_rate() -> None:
    assert needs.training_rate(arch("32B"), recomputing=True) == pytest.approx(1500, rel=0.02)


def test_architectures(tmp_path: Path) -> None:
    assert architecture("org/other", tmp_path) is None and architecture("./none", tmp_path) is None
    pico = architecture("pico-qwen2", tmp_path)
    assert pico is not None and pico.tied and pico.vocabulary == 2048
    (tmp_path / "mine").mkdir()
    document = {"hidden_size": 64, "num_hidden_layers": 2, "intermediate_size": 64, "num_attention_heads": 4}
    file = tmp_path / "mine/config.json"
    file.write_text(json.dumps({**document, "vocab_size": 100}))
    assert architecture("./mine", tmp_path) == Architecture(64, 2, 64, 4, 4, 100, False)
    assert read(tmp_path / "mine") == architecture("./mine", tmp_path) and read(tmp_path) is None
    file.write_text(json.dumps({**document, "vocab_size": "100"}))
    assert architecture("./mine", tmp_path) is None


def gpu_spec(base: str = QWEN.format("32B"), **changes: str) -> str:
    text = SPEC.replace("base: pico-qwen2, dtype: float32", f"base: {base}, allow_unpinned: true")
    for old, new in {"gpu: 0": "gpu: 1", **changes}.items():
        text = text.replace(old, new)
    return text


def need_of(root: Path, role: str) -> needs.Need:
    plan = read_plan(root)
    return needs.Needs(plan).of(plan.experiments["v2"].roles[role])


def test_hours_by_a_rate_until_there_is_a_record(project: Path) -> None:
    (project / "experiments/v2.yaml").write_text(gpu_spec())
    by_rate = need_of(project, "train")
    assert by_rate.source == "stated rate" and by_rate.gpu_hours
    # A run of the embedded model on the CPU says nothing about this.
    record = {
        "config": {"model": {"base": QWEN.format("32B"), "load_in_4bit": True}},
        "resolved": {"use_cpu": True},
        "tokens_per_s": 10.0,
        "card": "NVIDIA H100",
    }
    file = project / "adapters/v0/training_config.json"
    file.parent.mkdir()
    file.write_text(json.dumps(record))
    assert need_of(project, "train") == by_rate
    file.write_text(json.dumps({**record, "resolved": {"use_cpu": False}}))
    by_record = need_of(project, "train")
    assert by_record.source == "record of adapters/v0 on NVIDIA H100"
    rate = needs.training_rate(arch("32B"), recomputing=False)
    assert by_record.gpu_hours == pytest.approx(by_rate.gpu_hours * rate / 10)
    for broken in ("[]", "{", json.dumps({**record, "resolved": None}), json.dumps({**record, "tokens_per_s": None})):
        file.write_text(broken)
        assert need_of(project, "train") == by_rate


def test_epochs_and_steps_bound_the_tokens(project: Path) -> None:
    spec = project / "experiments/v2.yaml"
    spec.write_text(gpu_spec())
    few = need_of(project, "train").gpu_hours
    spec.write_text(gpu_spec(**{"max_steps: 48": "max_steps: 480"}))
    many = need_of(project, "train").gpu_hours
    assert few is not None and many == pytest.approx(10 * few)


def test_auto_is_shown_with_checkpointing_the_least_it_needs(project: Path) -> None:
    spec = project / "experiments/v2.yaml"
    shown = {}
    for said in ("auto", "true", "false"):
        spec.write_text(gpu_spec(**{"gradient_checkpointing: false": f"gradient_checkpointing: {said}"}))
        shown[said] = need_of(project, "train")
    assert shown["auto"] == shown["true"]
    assert shown["true"].gpu_memory < shown["false"].gpu_memory and shown["true"].gpu_hours > shown["false"].gpu_hours


def test_an_unknown_base_is_unknown_and_the_cpu_needs_no_gpu(project: Path) -> None:
    spec = project / "experiments/v2.yaml"
    spec.write_text(gpu_spec("org/other"))
    need = need_of(project, "train")
    assert (need.gpu_memory, need.gpu_hours, need.disk, need.source) == (None, None, None, "unknown base")
    assert need_of(project, "base").disk is None
    from bbjspec.planview import PlanView

    lines = [line for line, _ in PlanView(read_plan(project), {"v2"}).lines()]
    assert any("GPU memory unknown, GPU hours unknown (unknown base), disk unknown" in line for line in lines)
    assert lines[-1].endswith("an unknown number of GPU hours, unknown disk")
    spec.write_text(SPEC)
    assert need_of(project, "train").gpu_hours == 0 and need_of(project, "train").source == "on the CPU"
