"""One spec's stages: which fields are in which digest, and what a stage is given besides."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import BaseModel

from bbjspec import yamlio
from bbjspec.plan import read_plan
from bbjspec.spec.lora import LoraSpec
from bbjspec.spec.model import ModelSpec
from bbjspec.spec.training import EXECUTION, TrainingSpec
from bbjspec.stage import Stage
from bbjspec.store import DONE, prepare
from bbjspec.workflow import Workflow
from tests.harness import SPEC, write_project

PINNED = SPEC.replace("pico-qwen2", f"org/model, revision: {'0123456789' * 3}abcdef0123").replace("gpu: 0", "gpu: 1")
# A value other than the spec's, for each field that training may depend on.
OTHER: dict[str, dict[str, Any]] = {
    "model": {
        "base": "org/other", "revision": "f" * 40, "allow_unpinned": True, "dtype": "bfloat16", "load_in_4bit": False,
        "bnb_4bit_quant_type": None, "bnb_4bit_use_double_quant": False, "attn_implementation": "sdpa",
    },
    "lora": {"r": 5, "lora_alpha": 9, "lora_dropout": 0.1, "target_modules": ["q_proj"], "use_rslora": True},
    "training": {
        "learning_rate": 1e-4, "num_train_epochs": 3.0, "max_steps": 49, "global_train_batch_size": 16,
        "per_device_train_batch_size": 4, "max_length": 161, "lr_scheduler_type": "linear", "warmup_steps": 0.1,
        "weight_decay": 0.1, "max_grad_norm": 1.0, "optim": "paged_adamw_8bit", "packing": True, "eval_steps": 2,
        "save_steps": 8, "early_stopping_patience": 3, "save_total_limit": 3, "gradient_checkpointing": "auto",
        "seed": 7,
    },
}  # fmt: skip
BLIND = {*(f"training.{field}" for field in EXECUTION), "model.allow_unpinned"}
ONE_VALUE = {"model.bnb_4bit_quant_type"}


SECTIONS: dict[str, type[BaseModel]] = {"model": ModelSpec, "lora": LoraSpec, "training": TrainingSpec}
FIELDS = [f"{section}.{field}" for section, spec in SECTIONS.items() for field in spec.model_fields]


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of which nothing was made."""
    root = tmp_path_factory.mktemp("bare") / "project"
    write_project(root)
    return root


def stages(root: Path, text: str, **more: str) -> dict[str, Stage]:
    """The stages of v1, by role, where `text` is its spec and `more` are other specs."""
    for file in (root / "experiments").glob("*.yaml"):
        file.unlink()
    for name, spec in {"v1": text, **more}.items():
        (root / f"experiments/{name}.yaml").write_text(spec)
    plan = read_plan(root)
    assert plan.findings() == []
    return plan.experiments["v1"].roles


def test_three_fields_say_only_how_the_machine_goes_about_it() -> None:
    assert EXECUTION == ("per_device_train_batch_size", "gradient_checkpointing", "save_total_limit")
    assert set(FIELDS) == {f"{section}.{field}" for section, fields in OTHER.items() for field in fields}


@pytest.mark.parametrize("path", [path for path in FIELDS if path not in ONE_VALUE])
def test_a_training_depends_on_every_field_but_these(bare: Path, path: str) -> None:
    before = stages(bare, PINNED)
    section, field = path.split(".")
    assert field in OTHER[section], "a new field needs a value that is not the spec's"
    document = yamlio.parse(PINNED, "v1.yaml")
    document[section] = {**document[section], field: OTHER[section][field]}
    after = stages(bare, json.dumps(document))
    assert (after["train"].digest == before["train"].digest) is (path in BLIND)
    # The card shows them all, but for a permission, which is no property of a model.
    assert (after["card"].digest == before["card"].digest) is (path == "model.allow_unpinned")


def test_what_a_training_is_given_besides(bare: Path) -> None:
    text = SPEC.replace("gpu: 0", "gpu: 1") + "tracking: {wandb: {project: bbj, mode: offline}}\n"
    roles = stages(bare, text)
    assert not set(EXECUTION) & set(roles["train"].config["training"])
    everyone = {
        "gpu": 1,
        "gpu_model": None,
        "mem_mb": 65_536,
        "runtime": 1440,
        "cpus_per_task": 8,
        "compiler_path": None,
    }
    assert roles["train"].resources == everyone | {
        "training": {"per_device_train_batch_size": 8, "gradient_checkpointing": False, "save_total_limit": 2},
        "tracking": {"wandb": {"project": "bbj", "entity": None, "mode": "offline"}, "name": "v1"},
    }
    others = [stage for stage in roles.values() if stage.kind != "train"]
    assert all(stage.resources == everyone for stage in others)
    assert stages(bare, SPEC)["train"].resources["tracking"] == {"wandb": None, "name": "v1"}


def test_of_equal_trainings_the_first_experiment_is_asked(bare: Path) -> None:
    other = SPEC.replace("per_device_train_batch_size: 8", "per_device_train_batch_size: 2")
    train = stages(bare, SPEC, v0=other, v2=other)["train"]
    assert train.resources["training"]["per_device_train_batch_size"] == 2
    assert train.resources["tracking"]["name"] == "v0"


def asks(root: Path, kind: str, digest: str, *, remote: bool) -> dict[str, Any]:
    functions = Workflow(root, remote=remote).resources(kind)
    said = {name: function(SimpleNamespace(digest=digest)) for name, function in functions.items()}
    return {name: value for name, value in said.items() if value is not None}


@pytest.mark.parametrize(("gpu", "asked"), [(0, 1), (1, 1), (3, 3)])
def test_a_training_asks_an_engine_for_its_gpus(bare: Path, gpu: int, asked: int) -> None:
    text = SPEC.replace("gpu: 0", f"gpu: {gpu}").replace("global_train_batch_size: 8", "global_train_batch_size: 24")
    train = stages(bare, text)["train"]
    assert asks(bare, "train", train.digest, remote=False) == {"gpu": asked}
    # A node of a cluster reads the Snakefile again; by then the spec may say something else.
    prepare(bare, train)
    stages(bare, text.replace("r: 4", "r: 16"))
    assert asks(bare, "train", train.digest, remote=False) == {"gpu": asked}


def test_a_job_asks_a_cluster_for_what_the_spec_says(bare: Path) -> None:
    own = "gpu: 2, gpu_model: h100, mem_mb: 9000, runtime: 77, cpus_per_task: 5"
    text = SPEC.replace("gpu: 0", own).replace("per_device_train_batch_size: 8", "per_device_train_batch_size: 4")
    roles = stages(bare, text.replace("gguf: []", "gguf: [f16]"))
    always = {"nodes": 1, "slurm_extra": "--signal=TERM@120"}
    said = {"mem_mb": 9000, "runtime": 77, "cpus_per_task": 5} | always
    small = {"mem_mb": 16_000, "runtime": 240} | always
    wanted = {
        "train": {"gpu": 2, "gpu_model": "h100"} | said,
        "generate": {"gpu": 1, "gpu_model": "h100"} | said,
        "base_generate": {"gpu": 1, "gpu_model": "h100"} | said,
        "gguf": said,
        **dict.fromkeys(("audit", "split", "contamination", "score"), small),
    }
    for role, asked in wanted.items():
        assert asks(bare, roles[role].kind, roles[role].digest, remote=True) == asked, role
    prepare(bare, roles["train"])
    assert asks(bare, "score", roles["score"].digest, remote=False) == {}
    on_cpu = stages(bare, SPEC.replace("r: 4", "r: 16"))
    assert "gpu" not in asks(bare, "train", on_cpu["train"].digest, remote=True)
    assert asks(bare, "train", roles["train"].digest, remote=True) == wanted["train"]  # as its stage.json has it
    # What an older bbjspec wrote says less.
    document = json.loads((bare / roles["train"].directory / "stage.json").read_text())
    document["resources"] = {}
    (bare / roles["train"].directory / "stage.json").write_text(json.dumps(document))
    assert asks(bare, "train", roles["train"].digest, remote=True) == {"gpu": 1} | small


def test_a_node_removes_no_marker(bare: Path) -> None:
    """It may not see yet the manifest of what another node has made."""
    directory = prepare(bare, stages(bare, SPEC)["split"]).parent
    (directory / DONE).touch()
    Workflow(bare, node=True)
    assert (directory / DONE).exists()
    Workflow(bare)
    assert not (directory / DONE).exists()
