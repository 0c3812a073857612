"""Tokenizer, base, train and generate, in this process, on the smallest embedded model."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from bbjspec.digest import sha256_file
from bbjspec.embedded import recipe_config
from bbjspec.errors import EnvironmentLacks, StageFailed
from bbjspec.spec.eval import SamplingSpec
from bbjspec.spec.lora import LoraSpec
from bbjspec.spec.model import ModelSpec
from bbjspec.spec.training import TrainingSpec
from bbjspec.stage import StageRun
from bbjspec.stages import base, devices, generate, models, tokenizer, train
from bbjspec.stages.sampler import Sampler

MODEL = ModelSpec(base="pico-qwen2", dtype="float32").model_dump(mode="json")
LORA = LoraSpec(r=4, lora_alpha=8, lora_dropout=0.0).model_dump(mode="json")
TRAINING = TrainingSpec(
    learning_rate=1e-3,
    max_steps=8,
    global_train_batch_size=4,
    per_device_train_batch_size=4,
    max_length=128,
    optim="adamw_torch",
    eval_steps=4,
    save_steps=4,
    logging_steps=2,
    early_stopping_patience=None,
    gradient_checkpointing=False,
).model_dump(mode="json")
SAMPLING = SamplingSpec(n=2, max_new_tokens=6, batch_size=4).model_dump(mode="json")


def stage(kind: str, root: Path, config: Mapping[str, Any], sources: Any = None, **inputs: Path) -> StageRun:
    directory = root / kind
    directory.mkdir(parents=True, exist_ok=True)
    return StageRun(
        kind=kind,
        digest="0" * 16,
        root=root,
        directory=directory,
        config=config,
        inputs=inputs,
        sources=sources or {},
        resources={"gpu": 0},
        log=logging.getLogger("test"),
    )


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with tokenizer, base, split and prompts."""
    root = tmp_path_factory.mktemp("built")
    config = {"base": "pico-qwen2", "revision": None, "recipe": recipe_config("pico-qwen2")}
    tokenizer.run(stage("tokenizer", root, config))
    base.run(stage("base", root, config, tokenizer=root / "tokenizer"))
    (root / "split").mkdir()
    for side, numbers in (("train", range(16)), ("val", range(50, 54))):
        with (root / f"split/{side}.jsonl").open("w") as file:
            for i in numbers:
                chat = [("system", "You write BBj."), ("user", f"Print {i}."), ("assistant", f"```bbj\nprint {i}\n```")]
                messages = [{"role": role, "content": content} for role, content in chat]
                file.write(json.dumps({"id": f"r{i}", "messages": messages}) + "\n")
    (root / "split/ledger.json").write_text("{}\n")
    with (root / "prompts.jsonl").open("w") as file:
        for i in range(5):
            prompt = {
                "id": f"t/{i}",
                "tier": "syntax",
                "category": "print",
                "difficulty": "basic",
                "generation": "all",
                "input": f"Show {'the number ' * i}{i}.",
                "reference": f"print {i}, 1",
                "checks": {"require": [], "forbid": [], "min_statements": 1, "mode": "write"},
            }
            file.write(json.dumps(prompt) + "\n")
    return root


def trained(built: Path, out: Path, **changes: Any) -> StageRun:
    config = {"model": MODEL, "lora": LORA, "training": TRAINING | changes}
    made = stage("train", out, config, base=built / "base", tokenizer=built / "tokenizer", split=built / "split")
    train.run(made)
    return made


def test_training_learns_the_answer_alone_and_twice_the_same(built: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    one, two = (trained(built, tmp_path / name).directory for name in ("one", "two"))
    log = json.loads((one / "training_log.json").read_text())
    for text in log["first_batch"]:
        assert text.startswith("```bbj\nprint ") and text.endswith("```<|im_end|>\n")
    assert [entry["step"] for entry in log["log"] if "eval_loss" in entry] == [4, 8]
    adapter = one / "adapter/adapter_model.safetensors"
    assert {str(tensor.dtype) for tensor in load_file(adapter).values()} == {"torch.bfloat16"}
    assert sha256_file(adapter) == sha256_file(two / "adapter/adapter_model.safetensors")
    config = json.loads((one / "adapter/adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "pico-qwen2"
    assert str(built) not in (one / "adapter/adapter_config.json").read_text()
    assert (one / "loss.svg").read_bytes() == (two / "loss.svg").read_bytes()


def test_a_row_that_trl_would_cut_is_refused(built: Path, tmp_path: Path) -> None:
    with pytest.raises(StageFailed, match=r"train\.jsonl line 1 \(r0\): \d+ tokens, more than training\.max_length 16"):
        trained(built, tmp_path, max_length=16)


def generated(built: Path, out: Path, **changes: Any) -> StageRun:
    config = {"model": MODEL, "sampling": SAMPLING | changes, "adapter": False}
    sources = {"prompts": [built / "prompts.jsonl"]}
    return stage("generate", out, config, sources, base=built / "base", tokenizer=built / "tokenizer")


def test_an_interrupted_generation_equals_an_undisturbed_one(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = generated(built, tmp_path / "whole")
    generate.run(whole)
    rows = [json.loads(line) for line in (whole.directory / "generations.jsonl").read_text().splitlines()]
    assert [(row["task_id"], row["sample_idx"]) for row in rows] == [(f"t/{i}", k) for i in range(5) for k in range(2)]
    assert {row["finish_reason"] for row in rows} <= {"stop", "length"}
    cut = generated(built, tmp_path / "cut")
    sample, calls = Sampler.sample, []

    def dies(self: Sampler, *arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return sample(self, *arguments)

    monkeypatch.setattr(Sampler, "sample", dies)
    with pytest.raises(KeyboardInterrupt):
        generate.run(cut)
    with (cut.work / "batches.jsonl").open("a") as journal:
        journal.write('{"cells": [["t/')  # torn by the kill
    generate.run(cut)
    assert len(calls) == 4, "what was whole was not generated again"
    assert (cut.directory / "generations.jsonl").read_bytes() == (whole.directory / "generations.jsonl").read_bytes()


def test_sampling_is_the_specs_block_and_nothing_of_the_bases(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import GenerationMixin

    run = generated(built, built / "spy", temperature=0.5, top_p=0.9)
    tok = models.load_tokenizer(run, "left")
    model = models.load_base(run, MODEL)
    model.generation_config.repetition_penalty, model.generation_config.top_k = 1.3, 7  # as a base may ship them
    used: list[Any] = []
    real = GenerationMixin._sample

    def spy(self: Any, input_ids: Any, logits_processor: Any, **rest: Any) -> Any:
        used.extend(logits_processor)
        return real(self, input_ids, logits_processor=logits_processor, **rest)

    monkeypatch.setattr(GenerationMixin, "_sample", spy)
    Sampler(model, tok, run.config["sampling"]).sample([[5, 6, 7]], seed=1)
    assert {type(one).__name__: next(iter(vars(one).values())) for one in used} == {
        "TemperatureLogitsWarper": 0.5,
        "TopPLogitsWarper": 0.9,
    }
    used.clear()
    Sampler(model, tok, run.config["sampling"]).greedy([[5, 6, 7]], 4)
    assert used == []


def test_too_little_memory_is_told_before_loading_and_in_the_middle(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = generated(built, tmp_path / "small")
    with monkeypatch.context() as patched:
        patched.setattr(devices, "memory", lambda count: devices.Memory(9e9, 7e5))
        patched.setattr(models, "load_base", lambda *_: pytest.fail("loaded all the same"))
        with pytest.raises(EnvironmentLacks) as error:
            generate.run(run)
    assert str(error.value) == (
        "pico-qwen2 does not fit: it needs about 0.9 MB (weights 0.6 MB, activations 0.2 MB, logits 0.1 MB, the rest "
        "0.0 MB), and 0.7 MB of memory are free here; write eval.sampling.batch_size: 1, which needs about 0.6 MB"
    )

    def dies(*_: Any) -> Any:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 400000000 bytes.")

    monkeypatch.setattr(Sampler, "sample", dies)
    with pytest.raises(
        EnvironmentLacks, match=r"^out of memory at the batch of t/4: 0\.4 GB more were asked for, with "
    ):
        generate.run(run)
