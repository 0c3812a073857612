"""Stage `gguf`: the tuned model as GGUF files, one for each type, for llama.cpp and what builds on it.

Config: model (as `train` has it), types, base_weights (`bf16` or `nf4`), llama_cpp (its version), licence (may be
missing). Inputs: base, tokenizer, train. Outputs: `gguf/<type>.gguf` and `gguf.json`.

In `work` the adapter is merged into the base, and the merged weights, which are bfloat16, are converted to one bf16
file without loss; then they are removed. llama.cpp makes every type of that file. What is whole stays when the stage
is killed.
"""

from __future__ import annotations

import contextlib
import math
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bbjspec.digest import sha256_file
from bbjspec.embedded import source_of
from bbjspec.errors import BadInput, EnvironmentLacks
from bbjspec.progress import Progress
from bbjspec.stage import StageRun
from bbjspec.stages import converter, hub, models
from bbjspec.stages.checkpoints import shown_base
from bbjspec.store import read_json, write_json

# Bits a weight. Of quantized types: measured on an 8B model, by the README of llama.cpp's quantize; block formats by
# their layout. Small or odd models need more: rows that no block divides are kept in a larger type.
BITS: dict[str, float] = {
    "f32": 32,
    "bf16": 16,
    "f16": 16,
    "q8_0": 8.5,
    "q6_k": 6.57,
    "q5_k_m": 5.71,
    "q5_k_s": 5.58,
    "q5_1": 6.0,
    "q5_0": 5.6,
    "q4_k_m": 4.90,
    "q4_k_s": 4.67,
    "q4_1": 5.2,
    "q4_0": 4.7,
    "iq4_nl": 4.69,
    "iq4_xs": 4.46,
    "q3_k_l": 4.30,
    "q3_k_m": 4.00,
    "q3_k_s": 3.65,
    "q2_k": 3.16,
}
SLACK = 20_000_000  # bytes of a vocabulary, its merges, and a header
SOURCE, DONE = "bf16", "done.json"


def size(parameters: int, name: str) -> int:
    """Bytes that a file of this type will have, about."""
    return int(parameters * BITS[name] / 8) + SLACK


def disk(parameters: int, types: tuple[str, ...]) -> int:
    """Bytes at the peak: merged weights beside the bf16 file, or that file beside all others."""
    made = sum(size(parameters, name) for name in types if name != SOURCE)
    return size(parameters, SOURCE) + max(size(parameters, SOURCE), made)


def run(stage: StageRun) -> None:
    """Make what is still missing, then the outputs.

    Raises EnvironmentLacks without the converter or the disk, StageFailed when llama.cpp cannot convert this model,
    and what merging raises.
    """
    hub.go_offline()
    converter.check_library(stage.config["llama_cpp"])
    converter.find()
    keys = _keys(stage)
    done = _done(stage)
    missing = [name for name in stage.config["types"] if name not in done]
    source = stage.work / f"{SOURCE}.gguf"
    if missing and SOURCE not in done:
        base = models.weights(stage)
        _check_disk(stage, base, done)
        _convert(stage, base, source, keys)
        done[SOURCE] = _whole(stage, SOURCE, done)
    shutil.rmtree(stage.work / "merged", ignore_errors=True)
    with Progress("quantizing", len(stage.config["types"]), "files", stage.log) as progress:
        for name in stage.config["types"]:
            if name not in done:
                converter.quantize(source, stage.work / f"{name}.gguf", name, stage.log)
                done[name] = _whole(stage, name, done)
            progress.advance(note=f"{name}: {done[name]['size'] / 1e9:.2f} GB")
    if SOURCE not in stage.config["types"]:
        source.unlink(missing_ok=True)
    _place(stage)
    write_json(
        stage.directory / "gguf.json",
        {
            "files": {name: {"file": f"gguf/{name}.gguf", **done[name]} for name in stage.config["types"]},
            "base": stage.config["model"]["base"],
            "adapter_sha256": keys["bbjspec.adapter_sha256"],
            "base_weights": stage.config["base_weights"],
            "llama_cpp": stage.config["llama_cpp"],
            "metadata": keys,
        },
    )


def _keys(stage: StageRun) -> dict[str, str | int]:
    """What each file says of itself. It names the base and what was tuned on, by hash, and no experiment: equal
    experiments share one file. The type is in general.file_type, which llama.cpp writes."""
    base = str(stage.config["model"]["base"])
    # A directory is nobody's business but its last part is the base's name.
    owner, _, name = base.rstrip("/").rpartition("/")
    trained = read_json(stage.input("train") / "training_config.json") or {}
    found = {
        "general.name": f"{name}, tuned for BBj",
        "general.basename": name,
        "general.finetune": "BBj",
        "general.quantized_by": "bbjspec",
        "general.license": stage.config.get("licence"),
        "general.base_model.count": 1,
        "general.base_model.0.name": name,
        "general.base_model.0.organization": owner if source_of(base) == "hub" else None,
        "general.base_model.0.version": (read_json(stage.input("base") / "model.json") or {}).get("revision"),
        "bbjspec.digest": stage.digest,
        "bbjspec.base_weights": stage.config["base_weights"],
        "bbjspec.adapter_sha256": sha256_file(stage.input("train") / "adapter" / "adapter_model.safetensors"),
        "bbjspec.dataset_sha256": trained.get("data", {}).get("train.jsonl"),
    }
    return {key: value for key, value in found.items() if value is not None}


def _done(stage: StageRun) -> dict[str, Any]:
    """Size and SHA-256 of the files that a killed run left whole."""
    done = {}
    for name, told in (read_json(stage.work / DONE) or {}).items():
        file = stage.work / f"{name}.gguf"
        if file.is_file() and file.stat().st_size == told["size"] and sha256_file(file) == told["sha256"]:
            done[name] = told
    if done:
        stage.log.info("there already: %s", ", ".join(sorted(done)))
    return done


def _whole(stage: StageRun, name: str, done: Mapping[str, Any]) -> dict[str, Any]:
    """Size and SHA-256 of a file that has just been made, and a note of it for the next run."""
    file = stage.work / f"{name}.gguf"
    told = {"size": file.stat().st_size, "sha256": sha256_file(file)}
    write_json(stage.work / DONE, {**done, name: told})
    return told


def _check_disk(stage: StageRun, base: Path, done: Mapping[str, Any]) -> None:
    parameters = _parameters(base)
    needed = disk(parameters, tuple(name for name in stage.config["types"] if name not in done))
    there = sum(file.stat().st_size for file in (stage.work / "merged").rglob("*") if file.is_file())
    free = shutil.disk_usage(stage.work).free
    if needed - there > free:
        parts = [f"{name} {size(parameters, name) / 1e9:.1f}" for name in stage.config["types"]]
        raise EnvironmentLacks(
            f"GGUFs of {parameters / 1e9:.2f} billion parameters need {(needed - there) / 1e9:.1f} GB in build/gguf at "
            f"a time, and {free / 1e9:.1f} GB are free: merged weights and their bf16 file take "
            f"{size(parameters, SOURCE) / 1e9:.1f} GB each, then {', '.join(parts)}; free some, or write fewer types "
            "in export.gguf"
        )


def _parameters(base: Path) -> int:
    """Weights of all safetensors files in a directory, by their headers. Raises BadInput for one that is damaged."""
    from safetensors import SafetensorError, safe_open

    total = 0
    for file in base.glob("*.safetensors"):
        try:
            with safe_open(file, "pt") as tensors:
                total += sum(math.prod(tensors.get_slice(name).get_shape()) for name in tensors.keys())  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise BadInput(f"{file.name} of the base: cut short or damaged ({error}); fetch it again") from error
    return total


def _convert(stage: StageRun, base: Path, source: Path, keys: Mapping[str, str | int]) -> None:
    """Merge, and write the merged weights as one bf16 GGUF."""
    from bbjspec.stages.merge import merge

    model, merged = stage.config["model"], stage.work / "merged"
    merge(
        base,
        stage.input("train") / "adapter",
        merged,
        base_weights=stage.config["base_weights"],
        double_quant=bool(model["bnb_4bit_use_double_quant"]),
        name=shown_base(str(model["base"])),  # as the adapter names it
        dtype=str(model["dtype"]),
        tokenizer=stage.input("tokenizer") / "tokenizer",
        log=stage.log,
    )
    stage.log.info("converting the merged weights to a bf16 GGUF")
    converter.convert(merged, source, SOURCE, keys, source_of(str(model["base"])) == "embedded", stage.log)


def _place(stage: StageRun) -> None:
    """The files under their names. A second name where the file system has them: until all is whole, a killed run
    finds what it made in `work` again."""
    out = stage.directory / "gguf"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    for name in stage.config["types"]:
        made, place = stage.work / f"{name}.gguf", out / f"{name}.gguf"
        with contextlib.suppress(OSError):
            os.link(made, place)
            continue
        made.replace(place)
