"""A root with the smallest embedded model and a split of print statements, and training on it in this process."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bbjspec import store
from bbjspec.data.chat import load_tokenizer, token_counts
from bbjspec.data.rows import load_rows
from bbjspec.embedded import recipe_config
from bbjspec.spec.lora import LoraSpec
from bbjspec.spec.model import ModelSpec
from bbjspec.spec.training import TrainingSpec
from bbjspec.stage import Stage, StageRun
from bbjspec.stages import base, tokenizer, train

MODEL = ModelSpec(base="pico-qwen2", dtype="float32").model_dump(mode="json")
LORA = LoraSpec(r=4, lora_alpha=8, lora_dropout=0.1).model_dump(mode="json")
RUN = {"per_device_train_batch_size": 4, "gradient_checkpointing": "auto", "save_total_limit": 2}
TRAINING = TrainingSpec(
    learning_rate=1e-3,
    max_steps=8,
    global_train_batch_size=4,
    max_length=128,
    optim="adamw_torch",
    eval_steps=2,
    save_steps=4,
    early_stopping_patience=None,
).model_dump(mode="json", exclude=set(RUN))
RESOURCES: dict[str, Any] = {"gpu": 0, "training": RUN, "tracking": {"wandb": None, "name": "tiny"}}
CLOCK = ("seconds", "tokens_per_s", "peak_ram_gb")  # of a log entry: what never repeats


def stage(
    kind: str, root: Path, config: Mapping[str, Any], sources: Any = None, resources: Any = None, **inputs: Path
) -> StageRun:
    """A stage at work in `root/<kind>`."""
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
        resources=resources or RESOURCES,
        log=logging.getLogger("test"),
    )


def models(root: Path) -> None:
    """Make the tokenizer and the base."""
    config = {"base": "pico-qwen2", "revision": None, "recipe": recipe_config("pico-qwen2")}
    tokenizer.run(stage("tokenizer", root, config))
    base.run(stage("base", root, config, tokenizer=root / "tokenizer"))


def chat(number: int, answer: str | None = None) -> dict[str, Any]:
    """One row: print a number, and some remarks."""
    remarks = "rem x\n" * (number % 5)
    text = answer or f"```bbj\nprint {number}\n{remarks}```"
    roles = [("system", "You write BBj."), ("user", f"Print {number}."), ("assistant", text)]
    return {"id": f"r{number}", "messages": [{"role": role, "content": content} for role, content in roles]}


def split(root: Path, name: str, train_rows: Iterable[Any], val_rows: Iterable[Any], tokenizer: Path) -> Path:
    """A split of these rows, counted as the split stage counts."""
    directory = root / name
    directory.mkdir(parents=True)
    counter, ledger = load_tokenizer(tokenizer), {}
    for side, chats in (("train", train_rows), ("val", val_rows)):
        file = directory / f"{side}.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in chats), encoding="utf-8")
        counts = [token_counts(counter, row) for row in load_rows(file, side)]
        ledger[side] = {
            "rows": len(counts),
            "tokens": sum(tokens for tokens, _ in counts),
            "supervised_tokens": sum(supervised for _, supervised in counts),
        }
    (directory / "ledger.json").write_text(json.dumps(ledger), encoding="utf-8")
    return directory


def build(root: Path) -> Path:
    """A root with tokenizer, base and a split of 18 rows to train on and 5 held out."""
    models(root)
    split(root, "split", map(chat, range(18)), map(chat, range(50, 55)), root / "tokenizer")
    return root


def training(built: Path, out: Path, *, resources: Any = None, model: Any = None, **changes: Any) -> StageRun:
    """The stage that trains, not run yet. `changes` are fields of `training`, or `split`, `base`, `lora`."""
    inputs = {role: changes.pop(role, built / role) for role in ("base", "tokenizer", "split")}
    lora = LORA | changes.pop("lora", {})
    config = {"model": MODEL | (model or {}), "lora": lora, "training": TRAINING | changes}
    return stage("train", out, config, resources=RESOURCES | (resources or {}), **inputs)


def planned(built: Path, root: Path, *, resources: Any = None, **changes: Any) -> Path:
    """The stage.json of the same in a project at `root`, its inputs whole: what `bbjspec run` takes."""
    model = {"base": "pico-qwen2", "revision": None}
    folders = {role: changes.pop(role, built / role) for role in ("base", "tokenizer", "split")}
    made = {
        "tokenizer": Stage("tokenizer", model | {"recipe": recipe_config("pico-qwen2")}),
        "split": Stage("split", {"rows": "print statements"}),
    }
    made["base"] = Stage("base", made["tokenizer"].config, {"tokenizer": made["tokenizer"]})
    for role, upstream in made.items():
        if not store.is_whole(root / upstream.directory):
            shutil.copytree(folders[role], root / upstream.directory)
            seal(root, upstream)
    config = {"model": MODEL, "lora": LORA | changes.pop("lora", {}), "training": TRAINING | changes}
    return store.prepare(root, Stage("train", config, made, resources=RESOURCES | (resources or {})))


def seal(root: Path, made: Stage) -> None:
    """Make whole a stage whose outputs were put there."""
    store.prepare(root, made)
    store._finish(root / made.directory, store.stage_document(made))


def trained(built: Path, out: Path, **changes: Any) -> StageRun:
    """The same, run."""
    made = training(built, out, **changes)
    train.run(made)
    return made


def log(made: StageRun) -> dict[str, Any]:
    """Its training_log.json."""
    return dict(json.loads((made.directory / "training_log.json").read_text()))


def without_clock(entries: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Log entries as every run of one machine makes them."""
    return [{name: value for name, value in entry.items() if name not in CLOCK} for entry in entries]
