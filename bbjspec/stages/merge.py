"""Merging an adapter into its base: shard by shard, tensor by tensor, in the memory of some rows of one.

Every weight of a linear layer that was adapted becomes `W + scale * B @ A`, computed in float32 and rounded once, to
bfloat16; scale is lora_alpha / r (arXiv:2106.09685), or lora_alpha / sqrt(r) with rsLoRA (arXiv:2312.03732). All
other tensors are rounded to bfloat16 and copied. What the adapter's config says beyond that (DoRA, patterns of ranks,
trained biases, …) is refused by name.

A shard is streamed to a file beside its place, synced, and renamed. A journal keeps the size and SHA-256 of each whole
one, so that a merge that was interrupted goes on at the next; `config.json` is written last.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import re
import shutil
from collections.abc import Collection, Iterator, Mapping
from itertools import chain
from logging import Logger
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open

from bbjspec.digest import digest, sha256_file
from bbjspec.errors import BadInput, EnvironmentLacks, StageFailed
from bbjspec.store import read_json, write_json

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
JOURNAL = "merge.json"
ADAPTER, ADAPTER_CONFIG = "adapter_model.safetensors", "adapter_config.json"
TOKENIZER = (
    "tokenizer.json tokenizer_config.json special_tokens_map.json added_tokens.json vocab.json merges.txt "
    "tokenizer.model chat_template.jinja"
).split()
BLOCK = 1 << 21  # elements that are in float32 at a time: 8 MB, so that the allocator keeps them for the next block
SLACK = 10_000_000  # bytes for headers, index, configuration and tokenizer

# Fields of PEFT's LoraConfig that do not change what is merged. Every other field must be empty.
_PLAIN = frozenset(
    "auto_mapping base_model_name_or_path eva_config exclude_modules inference_mode init_lora_weights layers_pattern "
    "layers_to_transform lora_alpha lora_dropout megatron_core peft_type peft_version qalora_group_size r revision "
    "target_modules task_type use_rslora".split()
)
_STARTS = (True, False, "gaussian", "orthogonal", "eva")  # the other initialisations take something from the base
_NAME = re.compile(r"base_model\.model\.(.+)\.lora_([AB])\.weight")
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

Shapes = dict[str, tuple[int, ...]]


def merge(
    base: Path,
    adapter: Path,
    out: Path,
    *,
    base_weights: Literal["bf16", "nf4"],
    double_quant: bool,
    log: Logger,
    name: str | None = None,
    dtype: str = "bfloat16",
    tokenizer: Path | None = None,
) -> None:
    """Write the merged model, in bfloat16, to the directory `out`; what a merge of the same left there is gone on with.

    With base_weights nf4 each weight that training held in four bits is quantized and dequantized first, in the `dtype`
    of training, so that the adapter meets what it was trained against (as bitsandbytes quantizes on the CPU). `name` is
    the base as specs name it; with it, an adapter of another base is refused. `tokenizer` is a directory whose files
    are taken instead of those beside the base. Files of an earlier merge of something else in `out` are removed.

    Raises BadInput for a base that is not whole, StageFailed for an adapter that does not fit it, EnvironmentLacks
    where the disk is too small. A failure leaves whole shards and no half of one.
    """
    if out.resolve() in (base.resolve(), adapter.resolve()):
        raise ValueError(f"{out} is what is merged")
    called = name or base.name
    config = _config(base, called)
    shards = _shards(base, called)
    lora = Adapter(adapter, name)
    shapes = {tensor: shape for held in shards.values() for tensor, shape in held.items()}
    lora.check(shapes, called, tied=bool(config.get("tie_word_embeddings")))
    quantized = _quantized(base, shapes) if base_weights == "nf4" else frozenset()
    key = digest(
        {
            "adapter": [sha256_file(adapter / ADAPTER), lora.config],
            "base": {file: [(base / file).stat().st_size, (base / file).stat().st_mtime_ns] for file in shards},
            "way": [base_weights, double_quant, dtype] if quantized else base_weights,
        }
    )
    out.mkdir(parents=True, exist_ok=True)
    whole = _whole(out, key, shards)
    needed = sum(_size(shards[file]) for file in shards if file not in whole) + SLACK
    free = shutil.disk_usage(out).free
    if needed > free:
        raise EnvironmentLacks(
            f"merging {called} needs {_gb(needed)} in {out}, where {_gb(free)} are free; free the space, or build on a "
            "larger disk"
        )
    threads = torch.get_num_threads()
    # Blocks are small: a second thread waits for the first more than it gains, much more where others use the cores.
    torch.set_num_threads(1)
    try:
        for number, (file, held) in enumerate(shards.items(), 1):
            if file in whole:
                log.info("%s is whole already (%d of %d)", file, number, len(shards))
                continue
            blocks = _merged(base / file, held, lora, quantized, double_quant, getattr(torch, dtype))
            whole[file] = _write(out / file, held, blocks)
            write_json(out / JOURNAL, {"key": key, "shards": whole})
            log.info("merged %s (%d of %d)", file, number, len(shards))
        _write_rest(base, out, config, shards, tokenizer)
    except OSError as error:
        if error.errno not in _FULL:
            raise
        needed = sum(_size(shards[file]) for file in shards if file not in whole) + SLACK
        raise EnvironmentLacks(
            f"merging {called}: the disk of {out} is full ({error.strerror}); {_gb(needed)} are still needed, "
            f"{_gb(shutil.disk_usage(out).free)} are free; free the space and run again: whole shards are kept"
        ) from error
    finally:
        torch.set_num_threads(threads)


class Adapter:
    """A LoRA adapter on disk: its pairs of matrices by the module that they adapt, read when they are asked for.

    Raises StageFailed for one that is not whole, holds NaN, is of another base, or is more than plain LoRA.
    """

    def __init__(self, directory: Path, base: str | None) -> None:
        self.config = _adapter_config(directory, base)
        self.rank = int(self.config["r"])
        alpha = float(self.config["lora_alpha"])
        self.scale = alpha / (math.sqrt(self.rank) if self.config.get("use_rslora") else self.rank)
        self._file = directory / ADAPTER
        self._pairs: dict[str, dict[str, str]] = {}
        self._shapes: dict[str, list[int]] = {}
        try:
            with _open(self._file) as opened:
                tensors = sorted(opened.keys())
        except (OSError, SafetensorError) as error:
            raise StageFailed(f"{ADAPTER} is missing, cut short or damaged ({error}); train again") from error
        for tensor in tensors:
            found = _NAME.fullmatch(tensor)
            if found is None:
                raise StageFailed(f"adapter tensor {tensor} is none of LoRA on a linear layer; it cannot be merged")
            values = _read(self._file, tensor)
            if not torch.isfinite(values).all():
                raise StageFailed(f"adapter tensor {tensor} holds NaN or infinity; lower training.learning_rate")
            self._pairs.setdefault(found[1], {})[found[2]] = tensor
            self._shapes[tensor] = list(values.shape)
        for module, pair in self._pairs.items():
            if len(pair) < 2:
                raise StageFailed(f"adapter tensor {next(iter(pair.values()))} has no counterpart for {module}")
        if not self._pairs:
            raise StageFailed(f"{ADAPTER} holds no tensor; train again")

    def check(self, shapes: Mapping[str, tuple[int, ...]], base: str, *, tied: bool) -> None:
        """Whether each tensor is of use for the base with these weights. Raises StageFailed, which names one."""
        for module, pair in self._pairs.items():
            shape = shapes.get(f"{module}.weight")
            if shape is None:
                raise StageFailed(
                    f"adapter tensor {pair['A']} would go unused: {base} has no {module}.weight; it was trained on "
                    "another base"
                )
            if tied and module.rpartition(".")[2] == "lm_head":
                raise StageFailed(f"adapter tensor {pair['A']} adapts a head that is the embedding; merged, it is lost")
            if len(shape) != 2:
                raise StageFailed(f"adapter tensor {pair['A']}: {module}.weight of {base} has shape {list(shape)}")
            for side, expected in (("A", [self.rank, shape[1]]), ("B", [shape[0], self.rank])):
                got = self._shapes[pair[side]]
                if got != expected:
                    raise StageFailed(
                        f"adapter tensor {pair[side]} has shape {got}, but r {self.rank} on {module}.weight "
                        f"{list(shape)} of {base} takes {expected}"
                    )

    def pair(self, weight: str) -> tuple[Any, Any] | None:
        """(A, B) in float32 for the tensor of this name, None where it is not adapted."""
        names = self._pairs.get(weight.removesuffix(".weight")) if weight.endswith(".weight") else None
        if names is None:
            return None
        return _read(self._file, names["A"]).float(), _read(self._file, names["B"]).float()


def _adapter_config(directory: Path, base: str | None) -> dict[str, Any]:
    config = read_json(directory / ADAPTER_CONFIG)
    if not isinstance(config, dict) or config.get("peft_type") != "LORA" or not {"r", "lora_alpha"} <= set(config):
        raise StageFailed(f"{ADAPTER_CONFIG} is missing, or is none of a LoRA adapter")
    for field, value in sorted(config.items()):
        empty = value in (None, False, "none") or value in ({}, [])
        if (field not in _PLAIN and not empty) or (field == "init_lora_weights" and value not in _STARTS):
            raise StageFailed(
                f"{ADAPTER_CONFIG}: {field} is {json.dumps(value)}, which cannot be merged; train without"
            )
    trained_on = config.get("base_model_name_or_path")
    if base is not None and trained_on != base:
        raise StageFailed(f"the adapter was trained on {trained_on}, not on {base}; merge it into its own base")
    return config


def _config(base: Path, called: str) -> dict[str, Any]:
    config = read_json(base / "config.json")
    if not isinstance(config, dict):
        raise BadInput(f"{called}: no config.json there, or it is no JSON")
    if "quantization_config" in config:
        raise BadInput(f"{called}: config.json has a quantization_config; merge into the weights before quantization")
    return config


def _shards(base: Path, called: str) -> dict[str, Shapes]:
    """The base's files, in order, and the shapes of what each holds, in order of place. Reads headers alone.

    Raises BadInput where a file is missing, cut short, at odds with the index, or holds something but floats.
    """
    listed: dict[str, str] = {}
    if (base / SINGLE).is_file():
        files = [SINGLE]
    else:
        listed = _weight_map(base, called)
        files = sorted(set(listed.values()))
    shards = {}
    for file in files:
        if not (base / file).is_file():
            raise BadInput(f"{called}: {file}, which {INDEX} lists, is not there; fetch it again")
        held: Shapes = {}
        try:
            with _open(base / file) as opened:
                for tensor in opened.offset_keys():
                    piece = opened.get_slice(tensor)
                    if piece.get_dtype() not in ("BF16", "F16", "F32"):
                        raise BadInput(
                            f"{called}/{file}: {tensor} is {piece.get_dtype()}; merge into weights of BF16, F16 or F32"
                        )
                    held[tensor] = tuple(piece.get_shape())
        except (OSError, SafetensorError) as error:
            raise BadInput(f"{called}/{file}: cut short or damaged ({error}); fetch it again") from error
        for tensor in held if listed else ():
            if listed.get(tensor) != file:
                raise BadInput(f"{called}/{file}: holds {tensor}, which {INDEX} does not list there; fetch both again")
        for tensor, where in listed.items():
            if where == file and tensor not in held:
                raise BadInput(f"{called}/{file}: does not hold {tensor}, which {INDEX} lists there; fetch both again")
        shards[file] = held
    return shards


def _weight_map(base: Path, called: str) -> dict[str, str]:
    """File names by tensor, as the index has them."""
    if not (base / INDEX).is_file():
        raise BadInput(f"{called}: neither {SINGLE} nor {INDEX} is there; fetch the index of the shards again")
    index = read_json(base / INDEX)
    listed = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(listed, dict) or not listed:
        raise BadInput(f"{called}/{INDEX}: has no weight_map; fetch it again")
    for tensor, file in listed.items():
        if not isinstance(file, str) or Path(file).name != file or not file.endswith(".safetensors"):
            raise BadInput(f"{called}/{INDEX}: {tensor} is said to be in {file!r}, which is no name of a shard")
    return listed


def _quantized(base: Path, shapes: Collection[str]) -> frozenset[str]:
    """Names of the weights that training held in four bits: as transformers chooses, on a model without weights."""
    import bitsandbytes as bnb
    from transformers import AutoConfig, AutoModelForCausalLM, BitsAndBytesConfig
    from transformers.quantizers import AutoHfQuantizer

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(base, trust_remote_code=False))
    wanted = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")
    AutoHfQuantizer.from_config(wanted, pre_quantized=False).preprocess_model(model, device_map=None)
    chosen = {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, bnb.nn.Linear4bit)}
    for tensor in sorted(chosen):
        if tensor not in shapes:
            raise StageFailed(f"{tensor}, which training quantizes, is not in the base's files; use base_weights: bf16")
    return frozenset(chosen)


def _open(file: Path) -> Any:
    """A safetensors file; reading maps it, so that closing it is what gives the memory back."""
    return safe_open(file, framework="pt")


def _read(file: Path, tensor: str) -> Any:
    with _open(file) as opened:
        return opened.get_tensor(tensor)


def _merged(
    source: Path, held: Shapes, lora: Adapter, quantized: Collection[str], double: bool, dtype: Any
) -> Iterator[Any]:
    """The tensors of one shard, merged, in order: flat blocks of bfloat16."""
    for tensor, shape in held.items():
        weight = _as_nf4(source, tensor, double, dtype) if tensor in quantized else None
        yield from _blocks(source, tensor, shape, lora, weight)


def _as_nf4(source: Path, tensor: str, double: bool, dtype: Any) -> Any:
    """A weight as NF4 holds it, the whole of it: double quantization takes the mean of all blocks' constants."""
    import bitsandbytes as bnb

    weight = _read(source, tensor).to(dtype)
    packed, state = bnb.functional.quantize_4bit(weight, compress_statistics=double, quant_type="nf4")
    del weight
    return bnb.functional.dequantize_4bit(packed, state)


def _blocks(source: Path, tensor: str, shape: tuple[int, ...], lora: Adapter, weight: Any | None) -> Iterator[Any]:
    """One tensor merged, some rows at a time; its rows are those of `weight`, or are read from the file."""
    pair = lora.pair(tensor)
    count, step = (shape[0] if shape else 1), max(1, BLOCK // max(1, math.prod(shape[1:])))
    for start in range(0, count, step):
        stop = min(start + step, count)
        if weight is not None:
            part = weight[start:stop]
        elif shape:
            with _open(source) as opened:
                part = opened.get_slice(tensor)[start:stop]
        else:
            part = _read(source, tensor)
        if pair is not None:
            a, b = pair
            part = (b[start:stop] @ a).mul_(lora.scale).add_(part)
        yield part.to(torch.bfloat16).reshape(-1)


def _write(target: Path, held: Shapes, blocks: Iterator[Any]) -> dict[str, Any]:
    """Stream one shard to its place, whole or not at all. Returns its size in bytes and its SHA-256."""
    scratch = target.with_name(f"{target.name}.tmp")
    hashed = hashlib.sha256()
    try:
        with scratch.open("wb") as stream:
            for data in chain([_header(held)], (block.view(torch.uint8).numpy() for block in blocks)):
                stream.write(data)
                hashed.update(data)
            size = stream.tell()
            stream.flush()
            os.fsync(stream.fileno())
        scratch.replace(target)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise
    return {"size": size, "sha256": hashed.hexdigest()}


def _header(held: Shapes) -> bytes:
    """The head of a safetensors file: its length in eight bytes, then JSON padded to a multiple of eight."""
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for tensor, shape in held.items():
        start, end = end, end + 2 * math.prod(shape)
        entries[tensor] = {"dtype": "BF16", "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _size(held: Shapes) -> int:
    """Bytes of a merged shard."""
    return len(_header(held)) + sum(2 * math.prod(shape) for shape in held.values())


def _whole(out: Path, key: str, shards: Mapping[str, Shapes]) -> dict[str, dict[str, Any]]:
    """Shards in `out` that an earlier merge of the very same finished, by size and hash. All other weights go."""
    journal = read_json(out / JOURNAL)
    known = journal["shards"] if isinstance(journal, dict) and journal.get("key") == key else {}
    whole = {
        file: entry
        for file, entry in known.items()
        if file in shards
        and (out / file).is_file()
        and (out / file).stat().st_size == entry["size"]
        and sha256_file(out / file) == entry["sha256"]
    }
    for stale in (*out.glob("*.safetensors"), *out.glob("*.tmp"), out / INDEX, out / "config.json"):
        if stale.name not in whole:
            stale.unlink(missing_ok=True)
    return whole


def _write_rest(
    base: Path, out: Path, config: Mapping[str, Any], shards: Mapping[str, Shapes], tokenizer: Path | None
) -> None:
    """Index, tokenizer, and configuration, which says by being there that all is."""
    if list(shards) != [SINGLE]:
        total = sum(2 * math.prod(shape) for held in shards.values() for shape in held.values())
        listed = {tensor: file for file, held in shards.items() for tensor in held}
        write_json(out / INDEX, {"metadata": {"total_size": total}, "weight_map": listed})
    copied = [base / name for name in ("generation_config.json", *(() if tokenizer else TOKENIZER))]
    for source in [*copied, *(sorted(tokenizer.iterdir()) if tokenizer else [])]:
        if source.is_file():
            scratch = out / f"{source.name}.tmp"
            shutil.copyfile(source, scratch)
            scratch.replace(out / source.name)
    write_json(out / "config.json", {**{k: v for k, v in config.items() if k != "torch_dtype"}, "dtype": "bfloat16"})


def _gb(count: float) -> str:
    """Bytes in GB of 10^9."""
    return f"{count / 1e9:.2f} GB"
