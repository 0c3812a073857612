"""Stage `train`: LoRA on a (quantized) base by TRL's SFTTrainer, exact under kill and resume.

Config: model, lora, training. Inputs: base, tokenizer, split. Outputs: `adapter/` (bfloat16 safetensors),
`ledger.json`, `loss.svg`, `loss.png`; records: `training_log.json`, `training_config.json`, `tensorboard/`.

Everything is written from the last checkpoint on disk, never from what the process happens to hold, so a run that was
killed (even between its last checkpoint and its first output) and one that was not end in the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bbjspec.digest import sha256_file
from bbjspec.errors import StageFailed
from bbjspec.stage import StageRun
from bbjspec.stages import checkpoints, devices, launch, models, plots, tokens, ways
from bbjspec.store import write_json

LIBRARIES = ("torch", "transformers", "trl", "peft", "bitsandbytes", "accelerate", "datasets", "tokenizers")
LOGGED = {  # the trainer's names, and ours
    "loss": "loss",
    "learning_rate": "learning_rate",
    "grad_norm": "grad_norm",
    "mean_token_accuracy": "token_accuracy",
    "eval_loss": "eval_loss",
    "num_input_tokens_seen": "tokens",
    "supervised_tokens": "supervised_tokens",
    "seconds": "seconds",
    "tokens_per_s": "tokens_per_s",
    "peak_ram_gb": "peak_ram_gb",
    "peak_gpu_gb": "peak_gpu_gb",
}


def run(stage: StageRun) -> None:
    """Train, or go on training, then write the outputs. Raises StageFailed, BadInput, EnvironmentLacks or Stopped."""
    began = time.monotonic()
    with launch.alone(stage) as lock:
        last = checkpoints.newest(stage.work, clean=True)
        if last and checkpoints.finished(last):
            stage.log.info("training had finished at step %d; writing its results", checkpoints.step(last))
            models.prepare(stage, at_most=0)
        else:
            models.prepare(stage)
            tokens.prepare(stage, models.load_tokenizer(stage, "right"))  # before there are several processes
            launch.train(stage, ways.decide(stage), last, lock)
    last = checkpoints.newest(stage.work)
    if last is None or not checkpoints.finished(last):
        raise StageFailed("training ended without its last checkpoint; see the log of this stage, and run again")
    state = checkpoints.state(last)
    best = checkpoints.best(last, state)
    notes = json.loads((stage.work / launch.NOTES).read_text(encoding="utf-8"))
    checkpoints.publish_adapter(best, stage.directory / "adapter", stage.config["model"])
    log = training_log(state, checkpoints.step(best))
    write_json(stage.directory / "training_log.json", {**log, "first_batch": notes["first_batch"]})
    plots.loss(log["log"], log["best"]["step"], stage.directory)
    shutil.copyfile(stage.input("split") / "ledger.json", stage.directory / "ledger.json")
    _keep_events(stage)
    write_json(stage.directory / "training_config.json", _record(stage, state, log, notes, time.monotonic() - began))


def _keep_events(stage: StageRun) -> None:
    """What the trackers wrote, if they did: a tracker never fails a run."""
    try:
        if (stage.work / launch.EVENTS).is_dir():
            shutil.copytree(stage.work / launch.EVENTS, stage.directory / "tensorboard", dirs_exist_ok=True)
    except (OSError, shutil.Error) as error:
        stage.log.warning("the trackers' files could not be kept: %s", error)


def training_log(state: Mapping[str, Any], best_step: int) -> dict[str, Any]:
    """The trainer's history as `{log, best, final}`: one entry a step.

    Losses are mean cross-entropies in nats per supervised token; perplexity is exp(eval_loss); tokens are counted from
    the first step; seconds and tokens/s are the step's own, without evaluation; peak memory (GB) is the process's.
    """
    entries: dict[int, dict[str, Any]] = {}
    for logged in state["log_history"]:
        entry = entries.setdefault(logged["step"], {"step": logged["step"], "epoch": logged["epoch"]})
        entry |= {
            ours: logged[theirs] for theirs, ours in LOGGED.items() if math.isfinite(logged.get(theirs, math.nan))
        }
        if "eval_loss" in logged:
            entry["perplexity"] = math.exp(min(logged["eval_loss"], 700.0))
    log = [entries[step] for step in sorted(entries)]
    by_step = {entry["step"]: entry for entry in log}
    final = {**log[-1], "stopped_early": state["global_step"] < state["max_steps"], "max_steps": state["max_steps"]}
    return {"log": log, "best": by_step[best_step], "final": final}


def _record(
    stage: StageRun, state: Mapping[str, Any], log: Mapping[str, Any], notes: Mapping[str, Any], wall_time: float
) -> dict[str, Any]:
    """The document of training_config.json: everything that made this adapter, and what it took."""
    entries = log["log"]
    seconds = sum(entry.get("seconds", 0) for entry in entries)
    made = json.loads((stage.input("base") / "model.json").read_text(encoding="utf-8"))
    shown = checkpoints.shown_base(made["base"])
    peaks = {what: max((e.get(f"peak_{what}", 0) for e in entries), default=0) for what in ("ram_gb", "gpu_gb")}
    return {
        "config": {**stage.config, "model": {**stage.config["model"], "base": shown}},
        "resolved": notes["resolved"],
        "ways": notes["ways"],
        "versions": models.versions(*LIBRARIES),
        "machine": devices.describe(models.gpus(stage)),
        "git": _git(stage.root),
        "data": {f"{side}.jsonl": sha256_file(stage.input("split") / f"{side}.jsonl") for side in tokens.SIDES},
        "base": {"name": shown, "revision": made["revision"], "files": made["files"]},
        "chat_template_sha256": _template(stage),
        "resumed_at": notes["resumed_at"],
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "wall_time_s": round(wall_time, 1),
        "train_time_s": round(seconds, 1),
        "tokens_per_s": round(state["num_input_tokens_seen"] / seconds, 1) if seconds else None,
        "peak_memory": {what: amount for what, amount in peaks.items() if amount},
        "card": models.card(stage),
        "steps": state["global_step"],
        "max_steps": state["max_steps"],
        "tokens": state["num_input_tokens_seen"],
        "trainable_parameters": notes["trainable_parameters"],
        "learning_rate": stage.config["training"]["learning_rate"],
    }


def _template(stage: StageRun) -> str:
    """SHA-256 of the chat template that the rows were rendered by."""
    template = models.load_tokenizer(stage, "right").chat_template
    return hashlib.sha256(str(template).encode()).hexdigest()


def _git(root: Path) -> dict[str, Any]:
    """Commit, whether tracked files differ from it, and git's user; nulls where there is no git, repository or name."""
    import subprocess

    def ask(*words: str) -> str | None:
        try:
            done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, timeout=30)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    commit, changes = ask("rev-parse", "HEAD"), ask("status", "--porcelain", "--untracked-files=no")
    dirty = bool(changes) if commit is not None and changes is not None else None
    return {"commit": commit, "dirty": dirty, "user": ask("config", "user.name") or None}
