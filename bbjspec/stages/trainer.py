"""Building TRL's SFTTrainer so that what it does is what the spec says, and checking it before the first step."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

from bbjspec.errors import BadInput, StageFailed
from bbjspec.stage import StageRun
from bbjspec.stages import models


def check_rows(rows: Sequence[Mapping[str, Any]], tokenizer: Any, max_length: int, file: str) -> list[dict[str, Any]]:
    """Prompt and completion of each row. Raises StageFailed for a row that TRL would cut, drop or misread silently."""
    found = []
    for number, row in enumerate(rows, 1):
        messages = [{"role": m["role"], "content": m["content"]} for m in row["messages"]]
        name = f"{file} line {number} ({row.get('id', 'no id')})"
        if len(messages) < 2 or messages[-1]["role"] != "assistant" or messages[-2]["role"] != "user":
            raise StageFailed(f"{name}: messages must end with one question (user) and one answer (assistant)")
        length = len(tokenizer.apply_chat_template(messages, return_dict=True)["input_ids"])
        if length > max_length:
            raise StageFailed(
                f"{name}: {length} tokens, more than training.max_length {max_length}; the split should have settled "
                "it: remove this split from build/ and run again"
            )
        found.append({"prompt": messages[:-1], "completion": messages[-1:]})
    return found


def accumulation(training: Mapping[str, Any], gpus: int) -> int:
    """Gradient accumulation steps: global / (per device x devices). Raises BadInput when that is no whole number."""
    per_step = training["per_device_train_batch_size"] * max(1, gpus)
    whole, rest = divmod(training["global_train_batch_size"], per_step)
    if rest or not whole:
        raise BadInput(
            f"training.global_train_batch_size {training['global_train_batch_size']} is no multiple of "
            f"per_device_train_batch_size x devices = {per_step}; change one of them"
        )
    return int(whole)


def arguments(stage: StageRun, *, evaluate: bool) -> Any:
    """The SFTConfig of the stage: every hyperparameter from the spec, nothing left to a default that matters."""
    from trl import SFTConfig

    training, model, gpus = stage.config["training"], stage.config["model"], models.gpus(stage)
    os.environ["TENSORBOARD_LOGGING_DIR"] = str(stage.directory / "tensorboard")
    return SFTConfig(
        output_dir=str(stage.work),
        use_cpu=gpus == 0,
        bf16=gpus > 0 and model["dtype"] == "bfloat16",
        fp16=gpus > 0 and model["dtype"] == "float16",
        max_length=training["max_length"],
        packing=training["packing"],
        completion_only_loss=True,
        learning_rate=training["learning_rate"],
        num_train_epochs=training["num_train_epochs"],
        max_steps=training["max_steps"] or -1,
        per_device_train_batch_size=training["per_device_train_batch_size"],
        per_device_eval_batch_size=training["per_device_train_batch_size"],
        gradient_accumulation_steps=accumulation(training, gpus),
        gradient_checkpointing=None,
        activation_checkpointing=training["gradient_checkpointing"],
        lr_scheduler_type=training["lr_scheduler_type"],
        warmup_steps=training["warmup_steps"],
        weight_decay=training["weight_decay"],
        max_grad_norm=training["max_grad_norm"],
        optim=training["optim"],
        seed=training["seed"],
        data_seed=training["seed"],
        logging_strategy="steps",
        logging_steps=training["logging_steps"],
        logging_nan_inf_filter=False,  # a NaN must be seen, not averaged away
        include_num_input_tokens_seen="non_padding",
        eval_strategy="steps" if evaluate else "no",
        eval_steps=training["eval_steps"] if evaluate else None,
        prediction_loss_only=True,
        save_strategy="steps",
        save_steps=training["save_steps"],
        save_total_limit=training["save_total_limit"],
        load_best_model_at_end=evaluate,
        metric_for_best_model="eval_loss" if evaluate else None,
        greater_is_better=False if evaluate else None,
        restore_callback_states_from_checkpoint=True,
        dataloader_num_workers=0,
        dataloader_pin_memory=gpus > 0,
        report_to=["tensorboard"],
        disable_tqdm=True,
        push_to_hub=False,
    )


def build(stage: StageRun, data: Mapping[str, list[dict[str, Any]]], tokenizer: Any) -> tuple[Any, list[str]]:
    """The trainer, ready to train, and the supervised texts of its first batch. Raises what `inspect` raises."""
    import datasets
    import torch
    import transformers
    from peft import LoraConfig
    from trl import SFTTrainer

    transformers.utils.logging.disable_progress_bar()
    datasets.disable_progress_bars()
    training, lora = stage.config["training"], stage.config["lora"]
    evaluate = bool(data["val"])
    args = arguments(stage, evaluate=evaluate)
    transformers.set_seed(training["seed"])
    base = models.load_base(stage, stage.config["model"])
    base.config.use_cache = False
    targets = lora["target_modules"]
    patience = training["early_stopping_patience"]
    extra = [transformers.EarlyStoppingCallback(early_stopping_patience=patience)] if patience and evaluate else []
    transformers.set_seed(training["seed"])  # the adapter's initialisation does not depend on how the base was loaded
    trainer = SFTTrainer(
        model=base,
        args=args,
        train_dataset=datasets.Dataset.from_list(data["train"]),
        eval_dataset=datasets.Dataset.from_list(data["val"]) if evaluate else None,
        processing_class=tokenizer,
        peft_config=LoraConfig(
            r=lora["r"],
            lora_alpha=lora["lora_alpha"],
            lora_dropout=lora["lora_dropout"],
            target_modules=targets if isinstance(targets, str) else list(targets),
            use_rslora=lora["use_rslora"],
            bias="none",
            task_type="CAUSAL_LM",
        ),
        callbacks=[_flow(stage), *extra],
    )
    trainer.remove_callback(transformers.PrinterCallback)
    # TRL rounds LoRA weights to bfloat16 on a quantized base, and a resume brings them back as float32: with float32
    # from the start, resuming is exact.
    for parameter in trainer.model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(torch.float32)
    return trainer, inspect(trainer, tokenizer, {side: len(rows) for side, rows in data.items()})


def inspect(trainer: Any, tokenizer: Any, rows: Mapping[str, int]) -> list[str]:
    """Look at what will be learned: every row keeps its answer and its end of turn. Returns the first batch's texts.

    The texts are the supervised ones (labels other than -100) of the first rows in file order. Raises StageFailed when
    rows were dropped, when a row supervises nothing, or when an end of turn is not supervised.
    """
    args = trainer.args
    for side, dataset in (("train", trainer.train_dataset), ("val", trainer.eval_dataset)):
        if dataset is None:
            continue
        if not args.packing and len(dataset) != rows[side]:
            raise StageFailed(f"{side}.jsonl: TRL kept {len(dataset)} of {rows[side]} rows; this is a bug, report it")
        for number, labels in enumerate(dataset["labels"], 1):
            if all(label == -100 for label in labels):
                raise StageFailed(f"{side}.jsonl line {number}: nothing of it is supervised; its answer is empty")
            if tokenizer.eos_token_id not in labels:
                raise StageFailed(
                    f"{side}.jsonl line {number}: the end of turn {tokenizer.eos_token} is not supervised, so no "
                    "answer would learn to end; the base's chat template does not fit"
                )
    first = [trainer.train_dataset[i] for i in range(min(args.per_device_train_batch_size, len(trainer.train_dataset)))]
    batch = trainer.data_collator(first)
    texts = [tokenizer.decode([i for i in labels if i != -100]) for labels in batch["labels"].tolist()]
    if not any(texts):
        raise StageFailed("the first batch holds no supervised token; the answers of train.jsonl are empty")
    return texts


def _flow(stage: StageRun) -> Any:
    """The callback that keeps logs exact under resume, saves every best adapter, stops at NaN, and reports progress."""
    from transformers import TrainerCallback

    class Flow(TrainerCallback):  # type: ignore[misc]  # transformers is untyped to mypy
        said = 0.0

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            # The mean loss since the last log entry is not part of a checkpoint: log whenever one may be written.
            if control.should_save or control.should_evaluate:
                control.should_log = True

        def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any, **_: Any) -> None:
            if state.best_metric is None or metrics["eval_loss"] < state.best_metric:
                control.should_save = True  # the best must be on disk, also between two save_steps

        def on_log(self, args: Any, state: Any, control: Any, logs: Any, **_: Any) -> None:
            for name in ("loss", "eval_loss", "grad_norm"):
                if name in logs and not math.isfinite(logs[name]):
                    raise StageFailed(
                        f"training diverged: {name} is {logs[name]} at step {state.global_step}; lower "
                        f"training.learning_rate (now {args.learning_rate:g}) or raise training.warmup_steps, "
                        "then run again"
                    )
            if "eval_loss" in logs or ("loss" in logs and time.monotonic() - self.said > 1):
                self.said = time.monotonic()
                parts = [f"{name} {logs[name]:.4g}" for name in ("loss", "eval_loss", "learning_rate") if name in logs]
                stage.log.info("step %d of %d: %s", state.global_step, state.max_steps, ", ".join(parts))

    return Flow()
