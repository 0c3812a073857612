"""Loading a base, its tokenizer and an adapter: one code path for embedded, Hub and local models, on CPU and GPU."""

from __future__ import annotations

import json
import logging
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bbjspec.architecture import Architecture, read
from bbjspec.data import chat
from bbjspec.digest import sha256_file
from bbjspec.errors import BadInput, EnvironmentLacks, StageFailed
from bbjspec.stage import StageRun
from bbjspec.stages import claims, devices, hub

# Two words of libraries, said as they are loaded, that ask a reader to do what needs no doing: bitsandbytes wants a
# kernel from the network that `_keep_packing` shuts out, transformers speaks to peft of a name.
logging.getLogger("bitsandbytes.backends.cpu.ops").addFilter(lambda r: "gemm_4bit_forward" not in str(r.msg))
warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)


def prepare(stage: StageRun, *, at_most: int | None = None) -> None:
    """Set what must be set before torch and transformers are imported: no network at all, no fork warnings, the GPUs.

    The stage's GPUs are claimed, `at_most` so many of them. Raises EnvironmentLacks where this machine has fewer.
    """
    hub.go_offline()  # weights and tokenizer are on this machine by now, whatever the base
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    count = gpus(stage)
    claims.claim(count if at_most is None else min(count, at_most), stage.log)


def gpus(stage: StageRun) -> int:
    """How many GPUs the stage works on: generation takes one at most."""
    count = int(stage.resources.get("gpu", 0) or 0)
    return count if stage.kind == "train" else min(count, 1)


def attention(name: str, training: bool, gpus: int, dtype: str = "bfloat16") -> str:
    """The attention kernel that `model.attn_implementation` means on this machine.

    `auto` is flash_attention_2 for training on a GPU where it is installed and can compute (not in float32), else sdpa.
    Raises EnvironmentLacks for flash_attention_2 by name where it is not installed.
    """
    from transformers.utils import is_flash_attn_2_available  # also asks which version, and whether torch has CUDA

    installed = is_flash_attn_2_available()
    if name == "flash_attention_2" and not installed:
        raise EnvironmentLacks(
            "model.attn_implementation: flash_attention_2 needs the package flash-attn, which is not installed here; "
            "install it, or write auto or sdpa"
        )
    if name != "auto":
        return name
    return "flash_attention_2" if training and gpus and installed and dtype != "float32" else "sdpa"


def device(stage: StageRun) -> str:
    """`cpu`, or `cuda:0` for the first GPU claimed, a worker's own in a distributed run. Raises EnvironmentLacks where
    torch does not see what was claimed."""
    if gpus(stage) == 0:
        return "cpu"
    devices.check_torch(max(1, claims.claimed()))
    return f"cuda:{os.environ.get(claims.WORKER, 0)}"


def card(stage: StageRun) -> str | None:
    """The GPU's name, for records: rates of one card say little about another. None on the CPU."""
    import torch

    return str(torch.cuda.get_device_name(0)) if gpus(stage) and torch.cuda.is_available() else None


def quantization(model: Mapping[str, Any]) -> str:
    """How the base is held, in one word for records: `nf4-double`, `nf4`, or its dtype."""
    if not model["load_in_4bit"]:
        return str(model["dtype"])
    return str(model["bnb_4bit_quant_type"]) + ("-double" if model["bnb_4bit_use_double_quant"] else "")


def load_tokenizer(stage: StageRun, padding_side: str) -> Any:
    """The tokenizer of the stage's input, padding on `left` (generation) or `right` (training), never with its eos."""
    tokenizer = chat.padded(chat.load_tokenizer(stage.input("tokenizer")))
    tokenizer.padding_side = padding_side
    return tokenizer


def weights(stage: StageRun) -> Path:
    """The directory of the base's weights, as the `base` stage found them.

    Raises BadInput when files of a local directory are no longer those that were hashed, EnvironmentLacks when a Hub
    snapshot has left the cache.
    """
    made, directory = _found(stage)
    if made["source"] == "embedded":
        return directory
    for name, expected in made["files"].items():
        file = directory / name
        if not file.is_file():
            raise EnvironmentLacks(f"{made['base']}: {name} is gone; remove {stage.input('base').name} from build/base")
        # A Hub snapshot is content-addressed; a local directory can be edited under our feet.
        if made["source"] == "local" and sha256_file(file) != expected:
            raise BadInput(
                f"{made['base']}/{name}: changed since the base stage hashed it; restore it, or give the new weights "
                "a directory of their own"
            )
    return directory


def architecture(stage: StageRun) -> Architecture | None:
    """The sizes of the base, by the config.json beside its weights; None where that does not tell them."""
    return read(_found(stage)[1])


def _found(stage: StageRun) -> tuple[dict[str, Any], Path]:
    """What the `base` stage wrote, and the directory that it speaks of."""
    made = json.loads((stage.input("base") / "model.json").read_text(encoding="utf-8"))
    if made["source"] == "embedded":
        return made, stage.input("base") / "model"
    return made, hub.locate(made["base"], made["revision"], stage.root, patterns=hub.WEIGHTS, fetch=False)


def load_base(stage: StageRun, model: Mapping[str, Any]) -> Any:
    """The base as the `model` section says: dtype, NF4, attention. On the CPU or the stage's GPU."""
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    dtype = getattr(torch, model["dtype"])
    options: dict[str, Any] = {}
    if model["load_in_4bit"]:
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type=model["bnb_4bit_quant_type"],
            bnb_4bit_use_double_quant=model["bnb_4bit_use_double_quant"],
            bnb_4bit_compute_dtype=dtype,
        )
    loaded = AutoModelForCausalLM.from_pretrained(
        weights(stage),
        dtype=dtype,
        attn_implementation=attention(model["attn_implementation"], stage.kind == "train", gpus(stage), model["dtype"]),
        device_map={"": device(stage)},
        use_safetensors=True,
        trust_remote_code=False,
        **options,
    )
    if model["load_in_4bit"]:
        _keep_packing(loaded)
    return loaded


def _keep_packing(model: Any) -> None:
    """Keep NF4 weights as training needs them.

    On CPUs with AVX512-BF16 the first evaluation repacks each layer in place and the next training step crashes; other
    CPUs never repack. Without the fast path all CPUs compute the same way.
    """
    import bitsandbytes as bnb

    layers = [module for module in model.modules() if isinstance(module, bnb.nn.Linear4bit)]
    if not layers:
        raise StageFailed("model.load_in_4bit: no layer of this base was quantized; write load_in_4bit: false for it")
    for layer in layers:
        layer.support_avx512bf16_for_cpu = False


def add_adapter(model: Any, directory: Path) -> Any:
    """The model with the finished adapter in `directory`, for inference. Raises StageFailed when they do not fit."""
    from peft import PeftModel

    try:
        return PeftModel.from_pretrained(model, str(directory), is_trainable=False)
    except (RuntimeError, ValueError) as error:
        raise StageFailed(
            f"the adapter of {directory.parent.name} does not fit this base; build/train holds it, remove it and "
            f"train again ({str(error).splitlines()[0]})"
        ) from error


def peak_memory() -> dict[str, float]:
    """Peak memory of this process, in GB of 10^9 bytes: `ram_gb` (resident set), `gpu_gb` (allocated by torch)."""
    import resource

    import torch

    peak = {"ram_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9, 3)}
    if torch.cuda.is_available():
        peak["gpu_gb"] = round(torch.cuda.max_memory_allocated() / 1e9, 3)
    return peak


def versions(*packages: str) -> dict[str, str]:
    """Versions of Python and of installed packages, for records."""
    import platform
    from importlib import metadata

    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found
