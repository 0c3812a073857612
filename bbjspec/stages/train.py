"""Stage `train`: LoRA on a (quantized) base by TRL's SFTTrainer, exact under kill and resume.

Config: model, lora, training. Inputs: base, tokenizer, split. Outputs: `adapter/` (bfloat16 safetensors),
`training_log.json`, `ledger.json`, `loss.svg`; records: `training_config.json`, `tensorboard/`.

Everything is written from the last checkpoint on disk, never from what the process happens to hold, so a run that was
killed (even between its last checkpoint and its first output) and one that was not end in the same bytes.
"""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bbjspec.errors import StageFailed
from bbjspec.stage import StageRun
from bbjspec.stages import checkpoints, models, plots
from bbjspec.store import write_json

LIBRARIES = ("torch", "transformers", "trl", "peft", "bitsandbytes", "accelerate", "datasets", "tokenizers")


def run(stage: StageRun) -> None:
    """Train, or go on training, then write the outputs. Raises StageFailed, BadInput or EnvironmentLacks."""
    began = time.monotonic()
    models.prepare(stage)
    training = stage.config["training"]
    rows = {side: _read(stage.input("split") / f"{side}.jsonl") for side in ("train", "val")}
    if not rows["train"]:
        raise StageFailed("train.jsonl of the split is empty: nothing to train on; loosen data.filters")
    resumed_at = checkpoints.newest(stage.work, clean=True)
    if resumed_at and checkpoints.finished(resumed_at):
        stage.log.info("training had finished at step %d; writing its results", checkpoints.step(resumed_at))
        session: dict[str, Any] = _notes(stage)
    else:
        session = _train(stage, rows, resumed_at)
    last = checkpoints.newest(stage.work)
    if last is None:
        raise StageFailed("training ended without a checkpoint; see the log of this stage")
    state = checkpoints.state(last)
    best = checkpoints.best(last, state)
    checkpoints.publish_adapter(best, stage.directory / "adapter", stage.config["model"])
    log = training_log(state, checkpoints.step(best))
    write_json(stage.directory / "training_log.json", {**log, "first_batch": session["first_batch"]})
    plots.loss(log["log"], log["best"]["step"], stage.directory / "loss.svg")
    shutil.copyfile(stage.input("split") / "ledger.json", stage.directory / "ledger.json")
    write_json(
        stage.directory / "training_config.json",
        {
            "config": stage.config,
            "resolved": session["resolved"],
            "versions": models.versions(*LIBRARIES),
            "git": _git(stage.root),
            "rows": {side: len(found) for side, found in rows.items()},
            "resumed_from_step": checkpoints.step(resumed_at) if resumed_at else None,
            "wall_time_s": round(time.monotonic() - began, 1),
            "train_time_s": session["train_time_s"],
            "tokens_per_s": session["tokens_per_s"],
            "peak_memory": session["peak_memory"],
            "card": models.card(stage),
            "steps": state["global_step"],
            "max_steps": state["max_steps"],
            "tokens": state["num_input_tokens_seen"],
            "trainable_parameters": session["trainable_parameters"],
            "learning_rate": training["learning_rate"],
        },
    )


def _read(path: Path) -> list[dict[str, Any]]:
    """Rows of a JSONL file made by the split."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def _train(stage: StageRun, rows: Mapping[str, list[dict[str, Any]]], resume: Path | None) -> dict[str, Any]:
    """Build the trainer and train. Returns what the record wants to know; notes are kept in `work` for a rerun."""
    from bbjspec.stages.trainer import build, check_rows

    tokenizer = models.load_tokenizer(stage, "right")
    max_length = stage.config["training"]["max_length"]
    data = {side: check_rows(found, tokenizer, max_length, f"{side}.jsonl") for side, found in rows.items()}
    trainer, first_batch = build(stage, data, tokenizer)
    stage.log.info("supervised text of the first row: %r", first_batch[0])
    trainable = sum(p.numel() for p in trainer.model.parameters() if p.requires_grad)
    if resume:
        stage.log.info("resuming from step %d", checkpoints.step(resume))
        checkpoints.rebase(resume, stage.work)
    began = time.monotonic()
    result = trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    seconds = time.monotonic() - began
    seen = trainer.state.num_input_tokens_seen - (checkpoints.state(resume)["num_input_tokens_seen"] if resume else 0)
    stage.log.info("trained to step %d in %.0f s, %.0f tokens/s", result.global_step, seconds, seen / seconds)
    notes = {
        "first_batch": first_batch,
        "resolved": _plain(trainer.args.to_dict()),
        "train_time_s": round(seconds, 1),
        "tokens_per_s": round(seen / seconds, 1),
        "peak_memory": models.peak_memory(),
        "trainable_parameters": trainable,
    }
    write_json(stage.work / "notes.json", notes)
    return notes


def _notes(stage: StageRun) -> dict[str, Any]:
    """What the finished run noted. A run killed before it could note anything is looked at again, without training."""
    path = stage.work / "notes.json"
    if path.is_file():
        return dict(json.loads(path.read_text(encoding="utf-8")))
    from bbjspec.stages.trainer import build, check_rows

    tokenizer = models.load_tokenizer(stage, "right")
    length = stage.config["training"]["max_length"]
    data = {
        side: check_rows(_read(stage.input("split") / f"{side}.jsonl"), tokenizer, length, f"{side}.jsonl")
        for side in ("train", "val")
    }
    trainer, first_batch = build(stage, data, tokenizer)
    return {
        "first_batch": first_batch,
        "resolved": _plain(trainer.args.to_dict()),
        "train_time_s": None,
        "tokens_per_s": None,
        "peak_memory": models.peak_memory(),
        "trainable_parameters": sum(p.numel() for p in trainer.model.parameters() if p.requires_grad),
    }


def training_log(state: Mapping[str, Any], best_step: int) -> dict[str, Any]:
    """The trainer's history as `{log, best, final}`: one entry a step, without anything that a clock made.

    Losses are mean cross-entropies in nats per supervised token; perplexity is exp(eval_loss).
    """
    entries: dict[int, dict[str, Any]] = {}
    for logged in state["log_history"]:
        entry = entries.setdefault(logged["step"], {"step": logged["step"], "epoch": logged["epoch"]})
        for name in ("loss", "learning_rate", "grad_norm", "eval_loss"):
            if name in logged:
                entry[name] = logged[name]
        if "num_input_tokens_seen" in logged:
            entry["tokens"] = logged["num_input_tokens_seen"]
        if "eval_loss" in logged:
            entry["perplexity"] = math.exp(min(logged["eval_loss"], 700.0))
    log = [entries[step] for step in sorted(entries)]
    by_step = {entry["step"]: entry for entry in log}
    final = {**log[-1], "stopped_early": state["global_step"] < state["max_steps"], "max_steps": state["max_steps"]}
    return {"log": log, "best": by_step[best_step], "final": final}


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Trainer arguments as JSON, without this machine's paths."""
    skip = ("output_dir", "logging_dir", "run_name", "hub_token", "push_to_hub_token")
    return {key: json.loads(json.dumps(value, default=str)) for key, value in values.items() if key not in skip}


def _git(root: Path) -> dict[str, Any]:
    """Commit and whether tracked files differ from it; nulls where there is no git or no repository."""
    import subprocess

    def ask(*words: str) -> str | None:
        try:
            done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, timeout=30)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    commit, changes = ask("rev-parse", "HEAD"), ask("status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "dirty": bool(changes) if commit is not None and changes is not None else None}
