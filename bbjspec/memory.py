"""Memory that training and generation take on one device, before they run. Formulas and sources: docs/needs.md.

Arithmetic over the base's architecture and what the spec says; nothing here looks at a machine. The planner shows it
beforehand (`needs.py`), the stages hold it against the device that they were given (`stages/devices.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bbjspec.architecture import Architecture

OVERHEAD_BYTES = 1.0e9  # of a GPU: CUDA context, kernels, bitsandbytes' look-up tables: seen 0.5 to 1 GB
GAPS = 0.10  # of all but the weights: what the allocator cannot hand out again
HEAD_CHUNK_TOKENS = 1024  # the fused head makes logits of so many tokens at a time
PROMPT_TOKENS = 256  # a prompt of the suite with its system message, rounded up
OPTIMIZER_BYTES = {"adamw_torch": 8, "adamw_torch_fused": 8, "paged_adamw_32bit": 8, "paged_adamw_8bit": 2}

# Bits a weight of a block takes, mixed types by their mean over Qwen2.5's shapes: llama.cpp's blocks hold, say, 256
# weights of Q4_K in 144 bytes, and Q4_K_M has half of attn_v and ffn_down in Q6_K.
GGUF_BITS = {
    "f32": 32, "bf16": 16, "f16": 16, "q8_0": 8.5, "q6_k": 6.5625, "q5_k_m": 5.66, "q5_k_s": 5.5, "q5_1": 6,
    "q5_0": 5.5, "q4_k_m": 4.81, "q4_k_s": 4.54, "q4_1": 5, "q4_0": 4.5, "iq4_nl": 4.5, "iq4_xs": 4.27, "q3_k_l": 4.17,
    "q3_k_m": 3.84, "q3_k_s": 3.44, "q2_k": 2.93,
}  # fmt: skip
GGUF_HEAD_BITS = 6.5625  # of the head, which is the embedding where the two are tied: Q6_K, or the type's where more

_WIDTH = {"bfloat16": 2, "float16": 2, "float32": 4}
_SHORTEST = 256  # a max_length below this is no advice: it would leave out most rows
_LOWEST_RANK = 8

Values = Mapping[str, Any]


@dataclass(frozen=True)
class Estimate:
    """Peak bytes on one device by what holds them. `rest` is what nobody can point at: gaps, one layer unpacked."""

    weights: float
    adapter: float
    activations: float
    logits: float
    rest: float

    @property
    def total(self) -> float:
        """All of it, in bytes."""
        return self.weights + self.adapter + self.activations + self.logits + self.rest


def weight_bytes(arch: Architecture, model: Values) -> float:
    """The base in memory. NF4 holds linear layers in 4 bits and a constant per 64 of them (arXiv:2305.14314)."""
    width = float(_WIDTH[model["dtype"]])
    if not model["load_in_4bit"]:
        return arch.parameters * width
    bits = 4 + (8 / 64 + 32 / (64 * 256) if model["bnb_4bit_use_double_quant"] else 32 / 64)
    return arch.linear_parameters * bits / 8 + (arch.parameters - arch.linear_parameters) * width


def gguf_bytes(arch: Architecture, kind: str) -> float:
    """A GGUF file of that type; its vocabulary, some MB, is left out."""
    head = arch.vocabulary * arch.hidden
    bits = GGUF_BITS[kind]
    return ((arch.parameters - head) * bits + head * max(bits, GGUF_HEAD_BITS)) / 8


def lora_parameters(arch: Architecture, lora: Values) -> int:
    """r x (inputs + outputs) for each adapted layer of each block."""
    return arch.layers * sum(int(lora["r"]) * sum(arch.linear[name]) for name in _adapted(arch, lora))


def _adapted(arch: Architecture, lora: Values) -> list[str]:
    if lora["target_modules"] == "all-linear":
        return list(arch.linear)
    named = {str(name).rsplit(".", 1)[-1] for name in lora["target_modules"]}
    return [name for name in arch.linear if name in named]


def block_bytes(arch: Architecture, model: Values, lora: Values) -> float:
    """What one block keeps of one token for its backward pass, as the saved tensors of a real one were counted.

    In the dtype: both norms' outputs, the queries, what attention gives, keys, values, four of the gated product, and
    each adapter's r. In float32: both norms' inputs. With dropout, each adapted layer has its own input and a mask.
    """
    width, adapted = _WIDTH[model["dtype"]], _adapted(arch, lora)
    kept = 8 * arch.hidden + 2 * arch.kv_width + 4 * arch.intermediate + len(adapted) * int(lora["r"])
    dropped = sum(arch.linear[name][0] for name in adapted) * (width + 1) if lora["lora_dropout"] else 0
    return float(kept * width + 2 * arch.hidden * 4 + dropped)


def training_memory(arch: Architecture, config: Values, run: Values, *, gpu: bool = True) -> Estimate:
    """Peak bytes on one device while training by `config` (model, lora, training) the way that `run` says.

    `run`: per_device_train_batch_size, and gradient_checkpointing true or false: ask `recomputes` first where the spec
    says auto. A batch holds per_device_train_batch_size x max_length tokens, packed or not. Each of several GPUs holds
    all of it (DDP). Without `gpu` there is no CUDA context to hold.
    """
    model, lora, training = config["model"], config["lora"], config["training"]
    width = _WIDTH[model["dtype"]]
    tokens = run["per_device_train_batch_size"] * training["max_length"]
    copied = width if width < 4 else 0  # float32 weights of the adapter are cast once a step
    block = tokens * block_bytes(arch, model, lora)
    recomputing = bool(run["gradient_checkpointing"])
    return _estimate(
        arch,
        model,
        adapter=lora_parameters(arch, lora) * (4 + 4 + copied + OPTIMIZER_BYTES[training["optim"]]),
        activations=arch.layers * tokens * arch.hidden * width + block if recomputing else arch.layers * block,
        logits=min(tokens, HEAD_CHUNK_TOKENS) * arch.vocabulary * 4 * 2,
        gpu=gpu,
    )


def generation_memory(
    arch: Architecture, config: Values, lora: Values | None, *, prompt_tokens: int = PROMPT_TOKENS, gpu: bool = True
) -> Estimate:
    """Peak bytes on one device while generating by `config` (model, sampling): here `activations` are the keys and
    values of all tokens of a batch whose prompts have at most `prompt_tokens`."""
    model, sampling = config["model"], config["sampling"]
    width, batch = _WIDTH[model["dtype"]], sampling["batch_size"]
    return _estimate(
        arch,
        model,
        adapter=lora_parameters(arch, lora) * 4 if lora else 0,  # PEFT loads it in float32
        activations=2 * arch.layers * arch.kv_width * width * batch * (prompt_tokens + sampling["max_new_tokens"]),
        logits=batch * arch.vocabulary * 4 * 3,  # logits, sorted, and their running sum for top_p
        gpu=gpu,
    )


def _estimate(
    arch: Architecture, model: Values, *, adapter: float, activations: float, logits: float, gpu: bool
) -> Estimate:
    unpacked = arch.hidden * arch.intermediate * _WIDTH[model["dtype"]] if model["load_in_4bit"] else 0
    # Weights are allocated once, in blocks of their own: they leave no gaps.
    gaps = (adapter + activations + logits + unpacked) * GAPS
    rest = unpacked + gaps + (OVERHEAD_BYTES if gpu else 0)
    return Estimate(weight_bytes(arch, model), float(adapter), float(activations), float(logits), float(rest))


def recomputes(arch: Architecture, config: Values, run: Values, available: float | None, *, gpu: bool = True) -> bool:
    """Whether training recomputes activations: as the spec says, or for `auto` only where the estimate without it is
    above `available` bytes. None, for not known: it does."""
    if run["gradient_checkpointing"] != "auto":
        return bool(run["gradient_checkpointing"])
    keeping = {**run, "gradient_checkpointing": False}
    return available is None or training_memory(arch, config, keeping, gpu=gpu).total > available


# What a stage would take under another config and run: `partial(training_memory, arch)`, for one.
Estimator = Callable[[Values, Values], Estimate]


@dataclass(frozen=True)
class Advice:
    """Changes of the spec by dotted path, and the estimate with them."""

    changes: Mapping[str, Any]
    estimate: Estimate


def advice(estimator: Estimator, config: Values, run: Values, room: float) -> Advice | None:
    """The least change of the spec after which the estimate is at most `room` bytes; None when nothing helps.

    One change where one is enough, those that leave the result alone first; else as few as do. When even all of them
    together are too much, they are given all the same: the caller sees that by the estimate.
    """

    def under(changes: Values) -> Estimate:
        return estimator(*_applied(config, run, changes))

    remedies = list(_remedies(config, run))
    for path, values in remedies:
        for value in values:
            if (found := under({path: value})).total <= room:
                return Advice({path: value}, found)
    taken: dict[str, Any] = {}
    for path, values in remedies:
        before, fits = under(taken).total, False
        for value in values:
            if fits := under({**taken, path: value}).total <= room:
                break
        if values and (fits or under({**taken, path: values[-1]}).total < before):
            taken[path] = value
        if fits:
            break
    for path in list(taken):
        rest = {other: value for other, value in taken.items() if other != path}
        if rest and under(rest).total <= room:
            taken = rest
    return Advice(taken, under(taken)) if taken else None


def _remedies(config: Values, run: Values) -> Iterator[tuple[str, list[Any]]]:
    """Fields of the spec that memory hangs on and their lower values, the nearest first."""
    if run.get("gradient_checkpointing") is False:
        yield "training.gradient_checkpointing", [True]
    if size := run.get("per_device_train_batch_size"):
        # A divisor of it divides the global batch too.
        yield "training.per_device_train_batch_size", [n for n in range(size - 1, 0, -1) if size % n == 0]
    if sampling := config.get("sampling"):
        yield "eval.sampling.batch_size", _halves(sampling["batch_size"], 1)
    if not config["model"]["load_in_4bit"]:
        yield "model.load_in_4bit", [True]
    if training := config.get("training"):
        longest = (training["max_length"] - 1) // 64 * 64
        yield "training.max_length", list(range(longest, _SHORTEST - 1, -64))
    if lora := config.get("lora"):
        yield "lora.r", _halves(lora["r"], _LOWEST_RANK)


def _halves(number: int, lowest: int) -> list[int]:
    found = []
    while (number := number // 2) >= lowest:
        found.append(number)
    return found


def _applied(config: Values, run: Values, changes: Values) -> tuple[Values, Values]:
    """Config and run with the changes: what `run` holds of the spec is changed there."""
    for path, value in changes.items():
        section, name = path.split(".")[-2:]
        if name in run:
            run = {**run, name: value}
        else:
            config = {**config, section: {**config[section], name: value}}
    return config, run
