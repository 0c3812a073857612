"""How fast training is: the team's former script, TRL as it comes, and the train stage, on equal data in one run.

    python benchmarks/train.py                    # the tiny embedded model, on the CPU
    python benchmarks/train.py --gpu --size 7B    # a Qwen2 of that size with random weights, on a GPU

Each way is a process of its own, over the same training rows (dataset/sample.jsonl, split by the split stage) in the
same number of optimizer steps of 32 rows, with the same adapter, constant learning rate, clipping and NF4 base:

- a, the former script: transformers' Trainer, rows padded to 1,024 tokens, loss on prompt and answer, batch 1 x 32,
  activations recomputed;
- b, TRL's SFTTrainer with its defaults for speed (batch 8, so accumulation 4; activations recomputed);
- c, the train stage, without packing; d, the train stage with packing (as many tokens a step as c on the average).

Real tokens are those of rows, padding not counted; supervised ones are answers and their ends of turn, in every way.
Rates leave out the first step. The loss is the validation rows' (nats per supervised token) by the stage's own
evaluation, after all ways have seen equally many supervised tokens (within a step of d). Prints a table.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from bbjspec.plan import read_plan  # noqa: E402
from bbjspec.stage import Stage, StageRun  # noqa: E402
from bbjspec.store import write_json  # noqa: E402

LENGTH, BATCH = 1024, 32
WAYS = {
    "a": "former script: padded to 1,024, all tokens learned, 1 × 32",
    "b": "TRL's defaults: 8 × 4",
    "c": "bbjspec",
    "d": "bbjspec, packing",
}
GOALS = {"cpu": {"a": 3.0}, "gpu": {"a": 3.0, "b": 1.3}}
# hidden, intermediate, layers, heads, kv heads: Qwen2.5's (arXiv:2412.15115)
SIZES = {
    "0.5B": (896, 4864, 24, 14, 2),
    "1.5B": (1536, 8960, 28, 12, 2),
    "7B": (3584, 18944, 28, 28, 4),
    "14B": (5120, 13824, 48, 40, 8),
    "32B": (5120, 27648, 64, 40, 8),
}
VOCABULARY = 152_064
SPEC = """\
description: benchmark
model: {{base: {base}, dtype: {dtype}}}
data: {{path: rows.jsonl, on_overlength: drop}}
lora: {{r: 32, lora_alpha: 64, lora_dropout: 0.0}}
training:
  learning_rate: 1e-3
  lr_scheduler_type: constant
  warmup_steps: 0
  max_grad_norm: 1.0
  max_steps: {steps}
  global_train_batch_size: 32
  per_device_train_batch_size: {per_device}
  max_length: 1024
  optim: {optim}
  eval_steps: 1000000
  save_steps: 1000000
  early_stopping_patience: null
eval:
  prompts: [prompts.jsonl]
  compiler: {{name: builtin}}
resources: {{gpu: {gpu}}}
"""


def project(root: Path, options: argparse.Namespace) -> None:
    """A project of one experiment, its tokenizer, base and split made."""
    base = "tiny-qwen2"
    if options.gpu:
        random_base(root / "base", options.size)
        base = "./base"
    spec = SPEC.format(
        base=base,
        dtype="bfloat16" if options.gpu else "float32",
        steps=options.steps,
        per_device=options.per_device,
        optim="paged_adamw_8bit" if options.gpu else "adamw_torch",
        gpu=int(options.gpu),
    )
    (root / "experiments").mkdir(exist_ok=True)
    (root / "experiments/bench.yaml").write_text(spec)
    (root / "rows.jsonl").write_bytes((ROOT / "dataset/sample.jsonl").read_bytes())
    prompt = (ROOT / "eval/prompts/starter").glob("*.jsonl")
    (root / "prompts.jsonl").write_text(next(iter(sorted(prompt))).read_text().splitlines()[0] + "\n")
    (root / "templates").mkdir(exist_ok=True)
    for template in (ROOT / "templates").iterdir():
        (root / "templates" / template.name).write_bytes(template.read_bytes())
    from bbjspec.stages import base as base_stage
    from bbjspec.stages import split, tokenizer

    roles = stages(root)
    for kind, work in (("tokenizer", tokenizer.run), ("base", base_stage.run), ("split", split.run)):
        made = ROOT / roles[kind].directory
        if (made / "manifest.json").is_file():
            (root / kind).symlink_to(made)
        else:
            work(stage_run(root, roles[kind]))


def random_base(folder: Path, size: str) -> None:
    """A Qwen2 of this size with random weights, in shards of about 4 GB, and the tiny model's tokenizer."""
    import torch
    from safetensors.torch import save_file
    from transformers import Qwen2Config, Qwen2ForCausalLM

    from bbjspec.embedded import recipe
    from bbjspec.embedded.tokenizer import build

    hidden, intermediate, layers, heads, kv = SIZES[size]
    config = Qwen2Config(
        vocab_size=VOCABULARY,
        hidden_size=hidden,
        intermediate_size=intermediate,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv,
        max_position_embeddings=32768,
        tie_word_embeddings=size in ("0.5B", "1.5B"),
        dtype="bfloat16",
    )
    folder.mkdir(parents=True)
    build(recipe("tiny-qwen2"), folder)
    config.save_pretrained(folder)
    with torch.device("meta"):
        shapes = {name: tuple(tensor.shape) for name, tensor in Qwen2ForCausalLM(config).state_dict().items()}
    if config.tie_word_embeddings:
        shapes.pop("lm_head.weight", None)
    generator = torch.Generator("cuda").manual_seed(0)
    shard: dict[str, Any] = {}
    index: dict[str, str] = {}
    held, number = 0, 1

    def write() -> None:
        save_file(shard, folder / f"model-{number:05d}.safetensors", metadata={"format": "pt"})
        index.update(dict.fromkeys(shard, f"model-{number:05d}.safetensors"))

    for name, shape in shapes.items():
        ones = name.endswith("norm.weight")
        tensor = torch.ones(shape) if ones else torch.randn(shape, generator=generator, device="cuda") * 0.02
        shard[name] = tensor.to("cpu", torch.bfloat16)
        held += shard[name].numel() * 2
        if held > 4e9:
            write()
            shard, held, number = {}, 0, number + 1
    if shard:
        write()
    total = sum(math.prod(shape) * 2 for shape in shapes.values())
    write_json(folder / "model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": index})


def stages(root: Path) -> dict[str, Stage]:
    """The experiment's stages by role."""
    plan = read_plan(root)
    if "bench" not in plan.experiments:
        raise SystemExit("\n".join(map(str, plan.findings)) if hasattr(plan, "findings") else "the spec is bad")
    return plan.experiments["bench"].roles


def stage_run(root: Path, stage: Stage, name: str | None = None) -> StageRun:
    """The stage at work in a folder of its own."""
    directory = root / (name or stage.kind)
    directory.mkdir(parents=True, exist_ok=True)
    return StageRun(
        kind=stage.kind,
        digest=stage.digest,
        root=root,
        directory=directory,
        config=stage.config,
        inputs={role: root / upstream.kind for role, upstream in stage.inputs.items()},
        sources={role: [root / file for file in source.files] for role, source in stage.sources.items()},
        resources=stage.resources,
        log=logging.getLogger("benchmark"),
    )


def one(root: Path, way: str, steps: int) -> dict[str, Any]:
    """Train in one way. Rates, peak memory (GB), and the loss on the validation rows."""
    run = stage_run(root, stages(root)["train"], f"train-{way}")
    from bbjspec.stages import models

    models.prepare(run)
    if way in "cd":
        return by_stage(run, way)
    from bbjspec.stages import tokens

    tokenizer = models.load_tokenizer(run, "right")
    data = tokens.prepare(run, tokenizer)
    trainer, clock = (former if way == "a" else plain_trl)(run, data, tokenizer, steps)
    trainer.train()
    # What each step saw: rows in the order of the trainer's sampler are not recorded, so counts come from the batches.
    seen = clock.steps[1:]
    seconds = sum(step["seconds"] for step in seen)
    return {
        "steps": len(clock.steps),
        "real": sum(step["real"] for step in seen) / seconds,
        "supervised": sum(step["supervised"] for step in seen) / seconds,
        "learned": sum(step["supervised"] for step in clock.steps),
        "memory": models.peak_memory(),
        "loss": loss_of(run, data, tokenizer, trainer.model),
    }


def by_stage(run: StageRun, way: str) -> dict[str, Any]:
    """The train stage itself."""
    from dataclasses import replace

    from bbjspec.stages import models, tokens, train

    if way == "d":
        rows = json.loads((run.input("split") / "ledger.json").read_text())["train"]
        filled = max(1, round(BATCH * rows["tokens"] / rows["rows"] / LENGTH / 0.95))
        training = run.config["training"] | {"packing": True, "global_train_batch_size": filled}
        per_device = {**run.resources["training"], "per_device_train_batch_size": 1}
        run = replace(
            run, config={**run.config, "training": training}, resources={**run.resources, "training": per_device}
        )
    train.run(run)
    log = json.loads((run.directory / "training_log.json").read_text())["log"]
    first, last = log[0], log[-1]
    seconds = sum(entry["seconds"] for entry in log[1:])
    tokenizer = models.load_tokenizer(run, "right")
    data = tokens.prepare(replace(run, directory=run.directory / "again"), tokenizer)
    from bbjspec.stages.trainer import build
    from bbjspec.stages.ways import Ways

    trainer = build(run, data, tokenizer, Ways(8, False, 2))
    from peft import set_peft_model_state_dict
    from safetensors.torch import load_file

    set_peft_model_state_dict(trainer.model, load_file(run.directory / "adapter/adapter_model.safetensors"))
    peaks = {what: max(e.get(f"peak_{what}", 0) for e in log) for what in ("ram_gb", "gpu_gb")}
    return {
        "steps": len(log),
        "real": (last["tokens"] - first["tokens"]) / seconds,
        "supervised": (last["supervised_tokens"] - first["supervised_tokens"]) / seconds,
        "learned": last["supervised_tokens"],
        "memory": {what: peak for what, peak in peaks.items() if peak},
        "loss": trainer.evaluate()["eval_loss"],
    }


def former(run: StageRun, data: Any, tokenizer: Any, steps: int) -> tuple[Any, Any]:
    """transformers' Trainer on rows padded to 1,024 tokens."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import Trainer, TrainingArguments

    from bbjspec.stages import models

    model = models.load_base(run, run.config["model"])
    model.config.use_cache = False
    model.enable_input_require_grads()
    lora = run.config["lora"]
    model = get_peft_model(
        model,
        LoraConfig(r=lora["r"], lora_alpha=lora["lora_alpha"], target_modules="all-linear", task_type="CAUSAL_LM"),
    )
    padding = tokenizer.pad_token_id
    rows = [
        {
            "input_ids": row["input_ids"] + [padding] * (LENGTH - row["length"]),
            "attention_mask": [1] * row["length"] + [0] * (LENGTH - row["length"]),
            "labels": row["input_ids"] + [-100] * (LENGTH - row["length"]),
            "supervised": sum(label != -100 for label in row["labels"]),
        }
        for row in data["train"]
    ]
    clock = Clock()
    gpu = models.gpus(run) > 0

    def collate(batch: list[dict[str, Any]]) -> dict[str, Any]:
        clock.saw(sum(sum(row["attention_mask"]) for row in batch), sum(row["supervised"] for row in batch))
        return {name: torch.tensor([row[name] for row in batch]) for name in ("input_ids", "attention_mask", "labels")}

    trainer = Trainer(
        model=model,
        args=TrainingArguments(
            output_dir=str(run.work),
            use_cpu=not gpu,
            bf16=gpu,
            per_device_train_batch_size=1,
            gradient_accumulation_steps=BATCH,
            activation_checkpointing=True,
            learning_rate=run.config["training"]["learning_rate"],
            lr_scheduler_type="constant",
            max_steps=steps,
            optim=run.config["training"]["optim"],
            remove_unused_columns=False,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
        ),
        train_dataset=rows,
        data_collator=collate,
        callbacks=[clock],
    )
    return trainer, clock


def plain_trl(run: StageRun, data: Any, tokenizer: Any, steps: int) -> tuple[Any, Any]:
    """SFTTrainer on prompt and completion, all that speed depends on left to its defaults."""
    import datasets
    from peft import LoraConfig
    from trl import SFTConfig, SFTTrainer

    from bbjspec.stages import models

    lines = (run.input("split") / "train.jsonl").read_text(encoding="utf-8").splitlines()
    chats = [json.loads(line)["messages"] for line in lines]
    gpu = models.gpus(run) > 0
    lora, clock = run.config["lora"], Clock()
    trainer = SFTTrainer(
        model=models.load_base(run, run.config["model"]),
        args=SFTConfig(
            output_dir=str(run.work),
            use_cpu=not gpu,
            gradient_accumulation_steps=BATCH // 8,
            learning_rate=run.config["training"]["learning_rate"],
            lr_scheduler_type="constant",
            max_steps=steps,
            optim=run.config["training"]["optim"],
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
        ),
        train_dataset=datasets.Dataset.from_list([{"prompt": c[:-1], "completion": c[-1:]} for c in chats]),
        processing_class=tokenizer,
        peft_config=LoraConfig(
            r=lora["r"], lora_alpha=lora["lora_alpha"], target_modules="all-linear", task_type="CAUSAL_LM"
        ),
        callbacks=[clock],
    )
    collate = trainer.data_collator

    def counted(rows: list[dict[str, Any]]) -> Any:
        batch = collate(rows)
        clock.saw(int(batch["attention_mask"].sum()), int((batch["labels"] != -100).sum()))
        return batch

    trainer.data_collator = counted
    return trainer, clock


class Clock:
    """Seconds and tokens of each optimizer step: a callback, and what the collator tells it."""

    def __new__(cls) -> Any:
        from transformers import TrainerCallback

        class Callback(TrainerCallback):  # type: ignore[misc]  # untyped to mypy
            def __init__(self) -> None:
                self.steps: list[dict[str, float]] = []
                self._batches: list[tuple[int, int]] = []
                self._began = 0.0

            def saw(self, real: int, supervised: int) -> None:
                self._batches.append((real, supervised))

            def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
                self._began = time.perf_counter()

            def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
                if args.device.type == "cuda":
                    import torch

                    torch.cuda.synchronize()
                now = time.perf_counter()
                # A loader may be one batch ahead: the step's own are the first of what was collated.
                own, self._batches = (
                    self._batches[: args.gradient_accumulation_steps],
                    self._batches[args.gradient_accumulation_steps :],
                )
                real, supervised = (sum(batch[i] for batch in own) for i in (0, 1))
                self.steps.append({"seconds": now - self._began, "real": real, "supervised": supervised})
                self._began = now

        return Callback()


def loss_of(run: StageRun, data: Any, tokenizer: Any, model: Any) -> float:
    """Mean nats per supervised token over the validation rows."""
    import torch

    from bbjspec.stages.trainer import padding

    collate, total, count = padding(tokenizer), 0.0, 0
    model.eval()
    for start in range(0, len(data["val"]), 8):
        batch = collate([data["val"][i] for i in range(start, min(start + 8, len(data["val"])))])
        batch = {name: value.to(model.device) for name, value in batch.items()}
        labels = batch.pop("labels")[:, 1:]
        with torch.no_grad():
            logits = model(**batch).logits[:, :-1].float()
        losses = torch.nn.functional.cross_entropy(logits.transpose(1, 2), labels, ignore_index=-100, reduction="sum")
        total, count = total + losses.item(), count + int((labels != -100).sum())
    return total / count


def main() -> None:
    """Run every way in a process of its own, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpu", action="store_true")
    parser.add_argument("--size", choices=SIZES, default="0.5B", help="with --gpu")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--per-device", type=int, default=2, help="of way c")
    parser.add_argument("--ways", default="abcd")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        logging.basicConfig(level=logging.WARNING)
        result = one(Path(options.one[0]), options.one[1], options.steps)
        Path(options.one[0], f"{options.one[1]}.json").write_text(json.dumps(result))
        return
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve()
        project(root, options)
        found = {}
        for way in options.ways:
            words = [sys.executable, __file__, "--steps", str(options.steps), "--one", str(root), way]
            done = subprocess.run(words, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False)
            if done.returncode == 0:
                found[way] = json.loads((root / f"{way}.json").read_text())
            else:
                print(f"{way} failed with exit code {done.returncode}", file=sys.stderr)
    show(found, "gpu" if options.gpu else "cpu")


def show(found: dict[str, dict[str, Any]], where: str) -> None:
    """The table, and each goal as met or missed."""
    print("| way | real tokens/s | supervised tokens/s | peak memory | loss after | supervised tokens |")
    print("|---|---|---|---|---|---|")
    for way, got in found.items():
        memory = got["memory"].get("gpu_gb", got["memory"]["ram_gb"])
        print(
            f"| {WAYS[way]} | {got['real']:,.0f} | {got['supervised']:,.0f} | {memory:.2f} GB | {got['loss']:.3f} | "
            f"{got['learned']:,} |"
        )
    for way in "cd":
        for other, goal in GOALS[where].items():
            if way in found and other in found:
                ratio = found[way]["real"] / found[other]["real"]
                print(f"{way} / {other}: {ratio:.2f} × (goal {goal}, {'met' if ratio >= goal else 'missed'})")


if __name__ == "__main__":
    main()
