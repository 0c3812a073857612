"""Generation, attention and memory, in this process, on the smallest embedded model."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from bbjspec.errors import EnvironmentLacks
from bbjspec.spec.eval import SamplingSpec
from bbjspec.stage import StageRun
from bbjspec.stages import devices, generate, models
from bbjspec.stages.sampler import Sampler
from tests.stages import tiny

SAMPLING = SamplingSpec(n=2, max_new_tokens=6, batch_size=4).model_dump(mode="json")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with tokenizer, base and prompts."""
    root = tmp_path_factory.mktemp("built")
    tiny.models(root)
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


@pytest.mark.parametrize(
    ("name", "training", "gpus", "dtype", "flash", "taken"),
    [
        ("auto", True, 1, "bfloat16", True, "flash_attention_2"),
        ("auto", True, 1, "bfloat16", False, "sdpa"),
        ("auto", True, 0, "bfloat16", True, "sdpa"),
        ("auto", True, 1, "float32", True, "sdpa"),
        ("auto", False, 1, "bfloat16", True, "sdpa"),
        ("flash_attention_2", False, 1, "bfloat16", True, "flash_attention_2"),
        ("sdpa", True, 1, "bfloat16", True, "sdpa"),
        ("eager", True, 1, "bfloat16", True, "eager"),
    ],
)
def test_attention(
    monkeypatch: pytest.MonkeyPatch, name: str, training: bool, gpus: int, dtype: str, flash: bool, taken: str
) -> None:
    monkeypatch.setattr("transformers.utils.is_flash_attn_2_available", lambda: flash)
    assert models.attention(name, training, gpus, dtype) == taken


def test_flash_attention_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transformers.utils.is_flash_attn_2_available", lambda: False)
    with pytest.raises(
        EnvironmentLacks, match="needs the package flash-attn, which is not installed here; install it,"
    ):
        models.attention("flash_attention_2", True, 1)


def test_generation_works_on_one_gpu_whatever_it_was_given(tmp_path: Path) -> None:
    given = tiny.stage("generate", tmp_path, {})
    assert [models.gpus(dataclasses.replace(given, resources={"gpu": gpu})) for gpu in (0, 1, 8)] == [0, 1, 1]


def generated(built: Path, out: Path, **changes: Any) -> StageRun:
    config = {"model": tiny.MODEL, "sampling": SAMPLING | changes, "adapter": False}
    sources = {"prompts": [built / "prompts.jsonl"]}
    return tiny.stage("generate", out, config, sources, base=built / "base", tokenizer=built / "tokenizer")


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
    model = models.load_base(run, tiny.MODEL)
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
