"""Checkpoints of training: which are whole, which is newest, which is best, and the adapter made of it."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bbjspec.errors import StageFailed
from bbjspec.store import write_json

_NAME = re.compile(r"checkpoint-(\d+)")
STATE = "trainer_state.json"  # transformers writes it last: a directory without it was cut short


def step(checkpoint: Path) -> int:
    """The optimizer step that a checkpoint directory is named after."""
    match = _NAME.fullmatch(checkpoint.name)
    if match is None:
        raise ValueError(f"{checkpoint.name} is no checkpoint")
    return int(match[1])


def state(checkpoint: Path) -> dict[str, Any]:
    """The trainer's state as saved. Raises OSError or ValueError when it is not whole."""
    return dict(json.loads((checkpoint / STATE).read_text(encoding="utf-8")))


def newest(work: Path, *, clean: bool = False) -> Path | None:
    """The newest whole checkpoint in `work`, or None. With `clean`, those that were cut short are removed."""
    whole = []
    for directory in sorted(work.glob("checkpoint-*")):
        if not _NAME.fullmatch(directory.name):
            continue
        try:
            state(directory)
        except (OSError, ValueError):
            if clean:
                shutil.rmtree(directory, ignore_errors=True)
            continue
        whole.append(directory)
    return max(whole, key=step, default=None)


def keep(work: Path, limit: int, newest: int, best: int | None) -> None:
    """Remove old checkpoints, by step, once the newest is safe on disk. The newest and the best stay, whatever `limit`.

    transformers goes by modification times instead: after a move or a clock set back it removes the newest.
    """
    _sync(work / f"checkpoint-{newest}")
    found = [path for path in work.glob("checkpoint-*") if _NAME.fullmatch(path.name)]
    others = sorted((path for path in found if step(path) not in (newest, best)), key=step, reverse=True)
    held = len({newest, best} - {None})
    for path in others[max(0, limit - held) :]:
        shutil.rmtree(path, ignore_errors=True)


def _sync(directory: Path) -> None:
    """To the disk itself: a power cut must not leave a checkpoint that only looks whole."""
    for path in (*directory.rglob("*"), directory, directory.parent):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def finished(checkpoint: Path) -> bool:
    """Whether training was over at this checkpoint: all steps made, or stopped early. Resuming would add a step."""
    saved = state(checkpoint)
    control = saved.get("stateful_callbacks", {}).get("TrainerControl", {}).get("args", {})
    return saved["global_step"] >= saved["max_steps"] or bool(control.get("should_training_stop"))


def best(last: Path, saved: Mapping[str, Any]) -> Path:
    """The checkpoint of lowest validation loss as the last one knows it; the last itself without validation."""
    found = saved.get("best_global_step")
    checkpoint = last.with_name(f"checkpoint-{found}") if found else last
    if not (checkpoint / "adapter_model.safetensors").is_file():
        raise StageFailed(
            f"{checkpoint.name}, the best one, is gone; remove this stage's work directory and train again"
        )
    return checkpoint


def rebase(checkpoint: Path, work: Path) -> None:
    """Let a saved state name the best checkpoint where it lies now: the directory may have moved since."""
    saved = state(checkpoint)
    named = saved.get("best_model_checkpoint")
    if named and Path(named).parent != work:
        saved["best_model_checkpoint"] = str(work / Path(named).name)
        write_json(checkpoint / STATE, saved)


def shown_base(base: str) -> str:
    """A base as it is told to others: a directory by its own name, for where it lies is this machine's business."""
    return Path(base).name if base.startswith("/") else base


def publish_adapter(checkpoint: Path, out: Path, model: Mapping[str, Any]) -> None:
    """Write the checkpoint's adapter as it is shipped: bfloat16 safetensors, and a config that names the base.

    Rounding comes before anything is measured, so what is measured is what is published. The config names the base as
    the spec does, never a path of this machine; its module names are sorted, because PEFT keeps them as a set.
    """
    import torch
    from safetensors.torch import load_file, save_file

    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    tensors = load_file(checkpoint / "adapter_model.safetensors")
    broken = [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]
    if broken:
        raise StageFailed(f"the trained adapter holds NaN or infinity in {broken[0]}; lower training.learning_rate")
    rounded = {name: tensors[name].to(torch.bfloat16).contiguous() for name in sorted(tensors)}
    save_file(rounded, out / "adapter_model.safetensors", metadata={"format": "pt"})
    config = json.loads((checkpoint / "adapter_config.json").read_text(encoding="utf-8"))
    config.pop("peft_version", None)  # a version of this machine; the record has it
    if isinstance(config.get("target_modules"), list):
        config["target_modules"] = sorted(config["target_modules"])
    config["base_model_name_or_path"] = shown_base(model["base"])
    config["revision"] = model["revision"]
    config["inference_mode"] = True
    write_json(out / "adapter_config.json", config)
