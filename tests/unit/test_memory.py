"""The estimate: the arithmetic, what it may never do, what a real block keeps, and what it advises."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bbjspec import memory
from bbjspec.architecture import Architecture, architecture

SIZES = ("0.5B", "1.5B", "3B", "7B", "14B", "32B", "72B")
RUN = {"per_device_train_batch_size": 1, "gradient_checkpointing": True}


def arch(size: str) -> Architecture:
    found = architecture(f"Qwen/Qwen2.5-Coder-{size}-Instruct", Path())
    assert found is not None
    return found


def config(**changes: Any) -> dict[str, Any]:
    """What the recommended spec says, with changes to any section's field."""
    document: dict[str, dict[str, Any]] = {
        "model": {"dtype": "bfloat16", "load_in_4bit": True, "bnb_4bit_use_double_quant": True},
        "lora": {"r": 32, "target_modules": "all-linear", "lora_dropout": 0.05},
        "training": {"max_length": 2048, "optim": "paged_adamw_8bit"},
        "sampling": {"batch_size": 16, "max_new_tokens": 1024},
    }
    for section in document.values():
        section.update({key: value for key, value in changes.items() if key in section})
    return document


def training(size: str, run: dict[str, Any] | None = None, **changes: Any) -> float:
    return memory.training_memory(arch(size), config(**changes), RUN | (run or {})).total


def test_what_training_measured() -> None:
    # r 32 on all linear layers of the 32B base: 268 M parameters, 1.07 GB in float32.
    assert memory.lora_parameters(arch("32B"), config()["lora"]) == 268_435_456


def test_nf4_is_about_four_bits_and_double_quantization_saves_0_37() -> None:
    single = memory.weight_bytes(arch("32B"), config(bnb_4bit_use_double_quant=False)["model"])
    double = memory.weight_bytes(arch("32B"), config()["model"])
    assert (single - double) * 8 / arch("32B").linear_parameters == pytest.approx(0.373, abs=0.001)
    assert 18e9 < double < 20e9


def test_cards() -> None:
    assert 24e9 < training("32B") < 48e9, "the QLoRA paper trains 33B on one card of 48 GB, and none of 24 GB holds it"
    assert training("32B", load_in_4bit=False) > 66e9
    assert training("72B", load_in_4bit=False) > 141e9
    assert training("7B") < 16e9
    assert memory.generation_memory(arch("32B"), config(), config()["lora"]).total < 80e9


ranks, lengths, batches = st.integers(1, 1024), st.integers(16, 131_072), st.integers(1, 4096)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(SIZES), ranks, ranks, lengths, lengths, batches, batches, st.booleans())
def test_more_is_never_less(size: str, r: int, s: int, n: int, m: int, b: int, c: int, checkpointing: bool) -> None:
    low = config(r=min(r, s), max_length=min(n, m), batch_size=min(b, c))
    high = config(r=max(r, s), max_length=max(n, m), batch_size=max(b, c))
    few = {"per_device_train_batch_size": min(b, c), "gradient_checkpointing": checkpointing}
    many = {**few, "per_device_train_batch_size": max(b, c)}
    base = arch(size)

    def train(of: Any, run: Any) -> float:
        return memory.training_memory(base, of, run).total

    def generate(of: Any, lora: Any) -> float:
        return memory.generation_memory(base, of, lora).total

    assert train(low, few) <= train(low, many) <= train(high, many)
    assert generate(low, None) <= generate(low, low["lora"]) <= generate(high, high["lora"])
    assert train(low, {**few, "gradient_checkpointing": True}) <= train(low, {**few, "gradient_checkpointing": False})


def test_fewer_modules_are_fewer_parameters() -> None:
    some = {"r": 8, "target_modules": ("model.layers.0.self_attn.q_proj", "v_proj"), "lora_dropout": 0.0}
    every = {**some, "target_modules": "all-linear"}
    assert 0 < memory.lora_parameters(arch("7B"), some) < memory.lora_parameters(arch("7B"), every)
    model = config()["model"]
    assert memory.block_bytes(arch("7B"), model, some) < memory.block_bytes(arch("7B"), model, every)


def test_the_cuda_context_is_a_gpus_alone() -> None:
    pico = architecture("pico-qwen2", Path())
    assert pico is not None
    small = config(dtype="float32", load_in_4bit=False, max_length=160)
    run = {"per_device_train_batch_size": 8, "gradient_checkpointing": False}
    assert memory.training_memory(pico, small, run).total > 1e9
    assert memory.training_memory(pico, small, run, gpu=False).total < 50e6, "it must never be in a test's way"
    assert memory.generation_memory(pico, small, small["lora"], gpu=False).total < 50e6


def saved(of: Architecture, tokens: int, *, dropout: float, checkpointing: bool) -> int:
    """Bytes that autograd keeps of one forward pass of a real Qwen2 with LoRA, weights not counted."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import Qwen2Config, Qwen2ForCausalLM

    shape = Qwen2Config(
        hidden_size=of.hidden,
        num_hidden_layers=of.layers,
        intermediate_size=of.intermediate,
        num_attention_heads=of.heads,
        num_key_value_heads=of.kv_heads,
        vocab_size=of.vocabulary,
        use_cache=False,
    )
    lora = LoraConfig(r=16, lora_dropout=dropout, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(Qwen2ForCausalLM(shape).to(torch.bfloat16), lora).train()
    if checkpointing:
        model.enable_input_require_grads()
        model.gradient_checkpointing_enable({"use_reentrant": False})
    for parameter in model.parameters():
        parameter.data = parameter.data.float() if parameter.requires_grad else parameter.data
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    held: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        held[storage.data_ptr()] = storage
        return tensor

    ids = torch.zeros((1, tokens), dtype=torch.long)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), torch.autocast("cpu", torch.bfloat16):
        model.base_model.model.model(ids)
    return sum(storage.nbytes() for at, storage in held.items() if at not in weights)


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_a_real_block_keeps_what_is_estimated(dropout: float) -> None:
    def of(layers: int) -> Architecture:
        return Architecture(128, layers, 320, 4, 2, 64, False)

    def a_token(checkpointing: bool) -> float:
        """Bytes that one more layer keeps of one more token: what weights and embedding keep falls out."""
        sizes = [
            saved(of(layers), tokens, dropout=dropout, checkpointing=checkpointing)
            for layers, tokens in ((1, 64), (1, 128), (3, 64), (3, 128))
        ]
        return (sizes[3] - sizes[2] - sizes[1] + sizes[0]) / 2 / 64

    model, lora = config()["model"], config(r=16, lora_dropout=dropout)["lora"]
    # On the CPU the mask of a dropout is as wide as what it masks; on a GPU it is a byte.
    wider = sum(inputs for inputs, _ in of(1).linear.values()) if dropout else 0
    assert memory.block_bytes(of(1), model, lora) + wider == pytest.approx(a_token(False), rel=0.01)
    assert a_token(True) == of(1).hidden * 2


def test_auto_recomputes_where_memory_asks_for_it() -> None:
    auto = RUN | {"gradient_checkpointing": "auto"}
    keeping = training("7B", {"gradient_checkpointing": False})
    of = partial(memory.recomputes, arch("7B"), config())
    assert of(auto, keeping - 1) and not of(auto, keeping) and of(auto, None)
    assert of(RUN, 1e15) and not of(RUN | {"gradient_checkpointing": False}, 1.0)


def advised(size: str, room: float, run: dict[str, Any] | None = None, **changes: Any) -> memory.Advice | None:
    given_ = {name: config(**changes)[name] for name in ("model", "lora", "training")}
    return memory.advice(partial(memory.training_memory, arch(size)), given_, RUN | (run or {}), room)


def changed(found: memory.Advice | None) -> dict[str, Any]:
    assert found is not None
    return dict(found.changes)


def test_advice_is_the_first_change_that_is_enough() -> None:
    keeping = {"gradient_checkpointing": False}
    assert changed(advised("7B", 24e9, keeping)) == {"training.gradient_checkpointing": True}
    twelve = {"per_device_train_batch_size": 12}
    found = advised("7B", 16e9, twelve)
    assert changed(found) == {"training.per_device_train_batch_size": 4}, "the largest divisor of 12 that fits"
    assert found and found.estimate.total == training("7B", {"per_device_train_batch_size": 4})
    assert changed(advised("32B", 60e9, load_in_4bit=False)) == {"model.load_in_4bit": True}
    assert changed(advised("7B", 10.5e9, max_length=4096)) == {"training.max_length": 2176}
    assert changed(advised("7B", 13.2e9, r=256)) == {"lora.r": 64}


def test_advice_is_as_few_changes_as_do_and_says_when_none_does() -> None:
    found = advised(
        "32B", 40e9, {"gradient_checkpointing": False, "per_device_train_batch_size": 2}, load_in_4bit=False
    )
    assert changed(found) == {"training.gradient_checkpointing": True, "model.load_in_4bit": True}
    assert found and found.estimate.total <= 40e9
    none = advised("72B", 24e9, load_in_4bit=False)
    assert none and none.estimate.total > 24e9 and none.changes["model.load_in_4bit"] is True
    assert advised("32B", 10e9, max_length=256, r=8) is None


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(SIZES), st.integers(1, 64), lengths, st.booleans(), st.booleans(), st.floats(1e9, 3e11))
def test_advice_that_fits_needs_each_of_its_changes(
    size: str, batch: int, length: int, checkpointing: bool, four: bool, room: float
) -> None:
    run = {"per_device_train_batch_size": batch, "gradient_checkpointing": checkpointing}
    found = advised(size, room, run, load_in_4bit=four, max_length=length)
    now = training(size, run, load_in_4bit=four, max_length=length)
    if found is None or now <= room:
        return
    assert found.estimate.total < now
    if found.estimate.total <= room:
        for name in found.changes:
            rest = {key.split(".")[1]: value for key, value in found.changes.items() if key != name}
            places = {**run, **{key: value for key, value in rest.items() if key in run}}
            values = {"load_in_4bit": four, "max_length": length, **rest}
            assert training(size, places, **values) > room


def test_advice_for_generation() -> None:
    lora = config()["lora"]
    asked = {"model": config(load_in_4bit=False)["model"], "sampling": config(batch_size=64)["sampling"]}

    def estimator(given_: Any, _: Any) -> memory.Estimate:
        return memory.generation_memory(arch("32B"), given_, lora)

    assert changed(memory.advice(estimator, asked, {}, 80e9)) == {"eval.sampling.batch_size": 32}
    assert changed(memory.advice(estimator, asked, {}, 66e9)) == {"model.load_in_4bit": True}
