"""TRL's SFTTrainer, built so that what it does is what the spec says."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import datasets
import torch
import transformers
from peft import LoraConfig
from transformers.trainer_utils import EvalLoopOutput
from transformers.utils import is_liger_kernel_available
from trl import SFTConfig, SFTTrainer
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from bbjspec.stage import StageRun
from bbjspec.stages import models
from bbjspec.stages.batches import GlobalBatches
from bbjspec.stages.tokens import IGNORED, supervised_texts
from bbjspec.stages.ways import Ways

EVAL_BATCH = 4  # evaluation keeps no activations: so many times a training batch fits


class Trainer(SFTTrainer):  # type: ignore[misc]  # untyped to mypy
    """SFTTrainer with our order of rows, an exact validation loss, and what a log entry needs besides."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.data_collator: Any  # the parent sets both
        self.train_dataset: Any
        self._supervised = 0  # supervised tokens of the step under way, over all processes
        self._blank = 0  # tokens of blank rows in it
        self._began = time.monotonic()
        super().__init__(*arguments, **options)
        together = self.args.train_batch_size * self.args.world_size
        lengths = list(self.train_dataset["length"])
        self.order = GlobalBatches(
            lengths,
            together * self.args.gradient_accumulation_steps,
            self.args.seed,
            together if self.args.world_size > 1 else 1,
        )
        if self.order.blanks:
            self.train_dataset = _with_blank(self.train_dataset, self.processing_class.pad_token_id)
        if self.accelerator.ddp_handler is not None:
            self.accelerator.ddp_handler.gradient_as_bucket_view = True  # else each gradient is held twice

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        return self.order

    def _get_eval_sampler(self, eval_dataset: Any) -> Any:
        lengths = list(self.eval_dataset["length"])
        return GlobalBatches(lengths, len(lengths), 0)  # one batch of all: longest first

    def get_eval_dataloader(self, eval_dataset: Any = None) -> Any:
        """Validation rows as rows: with packing, TRL's collator would string them together."""
        packing, self.data_collator = self.data_collator, padding(self.processing_class)
        try:
            return super().get_eval_dataloader(eval_dataset)
        finally:
            self.data_collator = packing

    def get_batch_samples(self, *arguments: Any) -> Any:
        """The rows of one optimizer step, and how many of their tokens are supervised."""
        self._began = time.monotonic()
        batches, supervised = super().get_batch_samples(*arguments)
        self._supervised = int(supervised) if supervised is not None else 0
        if self.order.blanks:
            blank = sum(_blanks(batch, self.processing_class.pad_token_id) for batch in batches)
            self._blank = int(self.accelerator.gather(torch.tensor([blank], device=self.args.device)).sum())
        return batches, supervised

    def _run_epoch(self, *arguments: Any, **options: Any) -> Any:
        # accelerate forgets our sampler behind its shard of a resumed epoch, which would then have epoch 0's order.
        self.order.set_epoch(options["epoch"])
        return super()._run_epoch(*arguments, **options)

    def _save_rng_state(self, output_dir: str) -> None:
        # The state that makes a checkpoint whole is written next, and must not be there before every process has saved.
        super()._save_rng_state(output_dir)
        self.accelerator.wait_for_everyone()

    def evaluation_loop(
        self,
        dataloader: Any,
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> EvalLoopOutput:
        """Mean cross-entropy in nats over all supervised tokens, whatever batches they come in.

        transformers averages the means of batches, so that its figure depends on the batch size and on which rows
        share a batch; this one compares across experiments.
        """
        model = self._wrap_model(self.model, training=False)
        model.eval()
        total, tokens, rows = 0.0, 0, 0
        for inputs in dataloader:
            inputs = self._prepare_inputs(inputs)
            with torch.no_grad(), self.compute_loss_context_manager():
                out = model(**inputs, use_cache=False, fused_lm_head=True)
            by_row = torch.stack([-out.log_probs.double().sum(1), out.label_mask.double().sum(1)], 1)
            by_row = self.accelerator.gather_for_metrics(by_row)
            total, tokens = total + by_row[:, 0].sum().item(), tokens + int(by_row[:, 1].sum().item())
            rows += len(by_row)
        metrics = {f"{metric_key_prefix}_loss": total / max(tokens, 1)}
        return EvalLoopOutput(predictions=None, label_ids=None, metrics=metrics, num_samples=rows)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the step's seconds, tokens and peak memory (GB) to what is logged, and kept in every checkpoint."""
        if "loss" in logs:
            before: dict[str, Any] = next((e for e in reversed(self.state.log_history) if "supervised_tokens" in e), {})
            seconds = time.monotonic() - self._began
            self.state.num_input_tokens_seen -= self._blank
            self._blank = 0
            seen = self.state.num_input_tokens_seen - before.get("num_input_tokens_seen", 0)
            logs |= {
                "seconds": round(seconds, 4),
                "tokens_per_s": round(seen / max(seconds, 1e-9), 1),
                "supervised_tokens": before.get("supervised_tokens", 0) + self._supervised,
                **{f"peak_{name}": amount for name, amount in models.peak_memory().items()},
            }
        super().log(logs)


def padding(tokenizer: Any) -> DataCollatorForLanguageModeling:
    """Rows to a batch, padded to its longest."""
    return DataCollatorForLanguageModeling(pad_token_id=tokenizer.pad_token_id)


class Patience(transformers.EarlyStoppingCallback):  # type: ignore[misc]  # untyped to mypy
    """Early stopping that saves where it stops, wherever among the callbacks a resume puts it."""

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any, **rest: Any) -> None:
        """Stop, and save, after `early_stopping_patience` evaluations without a better loss."""
        super().on_evaluate(args, state, control, metrics, **rest)
        if control.should_training_stop:
            control.should_save = True


def _with_blank(rows: Any, pad: int) -> Any:
    """The rows, and one of a single padding token without any label behind them."""
    blank = {"input_ids": [pad], "labels": [IGNORED], "length": 1, "seq_lengths": [1]}
    row = {name: [blank[name]] for name in rows.column_names}
    return datasets.concatenate_datasets([rows, datasets.Dataset.from_dict(row, features=rows.features)])


def _blanks(batch: Mapping[str, Any], pad: int) -> int:
    """Blank rows in a batch: padding that is attended to, for no real row holds it."""
    attended = (
        batch["attention_mask"].bool() if "attention_mask" in batch else torch.ones_like(batch["input_ids"]).bool()
    )
    return int(((batch["input_ids"] == pad) & attended & (batch["labels"] == IGNORED)).sum())


def arguments(stage: StageRun, ways: Ways, *, evaluate: bool) -> SFTConfig:
    """The SFTConfig of the stage: every hyperparameter from the spec, nothing left to a default that matters."""
    training, model = stage.config["training"], stage.config["model"]
    gpu = models.gpus(stage) > 0
    return SFTConfig(
        output_dir=str(stage.work),
        use_cpu=not gpu,
        ddp_backend=None if ways.processes == 1 else "nccl" if gpu else "gloo",
        ddp_find_unused_parameters=False,
        bf16=gpu and model["dtype"] == "bfloat16",
        fp16=gpu and model["dtype"] == "float16",
        max_length=training["max_length"],
        packing=training["packing"],
        dataset_kwargs={"skip_prepare_dataset": True},  # stages.tokens has prepared it
        learning_rate=training["learning_rate"],
        num_train_epochs=training["num_train_epochs"],
        max_steps=training["max_steps"] or -1,
        per_device_train_batch_size=ways.per_device,
        per_device_eval_batch_size=ways.per_device * EVAL_BATCH,
        gradient_accumulation_steps=training["global_train_batch_size"] // (ways.per_device * ways.processes),
        gradient_checkpointing=None,
        activation_checkpointing=ways.recompute,
        lr_scheduler_type=training["lr_scheduler_type"],
        warmup_steps=training["warmup_steps"],
        weight_decay=training["weight_decay"],
        max_grad_norm=training["max_grad_norm"],
        optim=training["optim"],
        seed=training["seed"],
        data_seed=training["seed"],
        use_liger_kernel=gpu and is_liger_kernel_available(),
        logging_strategy="steps",
        logging_steps=1,  # so that no sum over steps hangs between two checkpoints
        logging_nan_inf_filter=False,  # a NaN must be seen, not averaged away
        include_num_input_tokens_seen="non_padding",
        eval_strategy="steps" if evaluate else "no",
        eval_steps=training["eval_steps"] if evaluate else None,
        prediction_loss_only=True,
        save_strategy="steps",
        save_steps=training["save_steps"],
        save_total_limit=None,  # Flow removes old ones: transformers goes by mtime, and may remove the newest
        load_best_model_at_end=evaluate,
        metric_for_best_model="eval_loss" if evaluate else None,
        greater_is_better=False if evaluate else None,
        restore_callback_states_from_checkpoint=True,
        dataloader_num_workers=0,
        dataloader_pin_memory=gpu,
        report_to=[],  # stages.tracking
        disable_tqdm=True,
        push_to_hub=False,
    )


def build(
    stage: StageRun, data: Mapping[str, Any], tokenizer: Any, ways: Ways, callbacks: Sequence[Any] = ()
) -> Trainer:
    """The trainer, ready to train on what `tokens.prepare` made. Early stopping comes before `callbacks`."""
    transformers.utils.logging.disable_progress_bar()
    datasets.disable_progress_bars()
    training, lora = stage.config["training"], stage.config["lora"]
    evaluate = len(data["val"]) > 0
    args = arguments(stage, ways, evaluate=evaluate)
    base = models.load_base(stage, stage.config["model"])
    base.config.use_cache = False
    patience = training["early_stopping_patience"]
    stopping = [Patience(early_stopping_patience=patience)] if patience and evaluate else []
    targets = lora["target_modules"]
    transformers.set_seed(training["seed"])  # the adapter's initialisation does not depend on how the base was loaded
    trainer = Trainer(
        model=base,
        args=args,
        train_dataset=data["train"],
        eval_dataset=data["val"] if evaluate else None,
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
        callbacks=[*stopping, *callbacks],
    )
    trainer.remove_callback(transformers.PrinterCallback)
    # TRL rounds LoRA weights to bfloat16 on a quantized base, and a resume brings them back as float32: with float32
    # from the start, resuming is exact.
    for parameter in trainer.model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(torch.float32)
    return trainer


def first_batch(trainer: Trainer, tokenizer: Any) -> list[str]:
    """What is supervised in the first batch that the trainer will see, decoded: one text an answer."""
    rows = [trainer.train_dataset[index] for index in islice(trainer.order, trainer.args.train_batch_size)]
    return supervised_texts(tokenizer, trainer.data_collator(rows)["labels"].tolist())
