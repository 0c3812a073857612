"""`training`: how the adapter is learned."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from bbjspec.spec.base import Section


class TrainingSpec(Section):
    """Leaf names are those of transformers' TrainingArguments and TRL's SFTConfig."""

    learning_rate: float = Field(1e-4, gt=0, lt=1, description="Peak learning rate (QLoRA's for 33B and larger: 1e-4).")
    num_train_epochs: float = Field(2.0, gt=0, description="Passes over the training rows.")
    max_steps: int | None = Field(None, ge=1, description="Stop after this many optimizer steps, whatever the epochs.")
    global_train_batch_size: int = Field(32, ge=1, description="Rows per optimizer step, over all devices.")
    per_device_train_batch_size: int = Field(1, ge=1, description="Rows that fit one device at once.")
    max_length: int = Field(2048, ge=16, description="Longest row, in tokens, prompt and answer together.")
    lr_scheduler_type: Literal["cosine", "linear", "constant", "constant_with_warmup"] = Field(
        "cosine", description="Shape of the learning rate over time."
    )
    warmup_steps: float = Field(0.03, ge=0, description="Warm-up: steps, or a share of all steps when below 1.")
    weight_decay: float = Field(0.0, ge=0, description="AdamW's weight decay.")
    max_grad_norm: float = Field(0.3, gt=0, description="Gradients are clipped to this norm (QLoRA's value).")
    optim: Literal["adamw_torch", "adamw_torch_fused", "paged_adamw_8bit", "paged_adamw_32bit"] = Field(
        "paged_adamw_8bit", description="Optimizer; the paged ones need a GPU."
    )
    packing: bool = Field(False, description="Fill each row of the batch with several examples.")
    eval_steps: int = Field(50, ge=1, description="Optimizer steps between two evaluations.")
    save_steps: int = Field(50, ge=1, description="Optimizer steps between two checkpoints.")
    logging_steps: int = Field(10, ge=1, description="Optimizer steps between two log entries.")
    early_stopping_patience: int | None = Field(
        2, ge=1, description="Stop after this many evaluations without a better loss; null: never."
    )
    save_total_limit: int = Field(2, ge=1, description="Checkpoints kept while training.")
    gradient_checkpointing: bool = Field(True, description="Recompute activations to save memory.")
    seed: int = Field(42, ge=0, lt=2**32, description="Seed of initialisation and of the order of rows.")

    @model_validator(mode="before")
    @classmethod
    def _whole_numbers_are_numbers(cls, values: object) -> object:
        """`num_train_epochs: 2` is 2.0: one meaning, one digest."""
        if isinstance(values, dict):
            floats = ("learning_rate", "num_train_epochs", "warmup_steps", "weight_decay", "max_grad_norm")
            return {k: float(v) if k in floats and type(v) is int else v for k, v in values.items()}
        return values

    @model_validator(mode="after")
    def _fits_together(self) -> TrainingSpec:
        if self.global_train_batch_size % self.per_device_train_batch_size:
            raise ValueError(
                f"global_train_batch_size {self.global_train_batch_size} is no multiple of "
                f"per_device_train_batch_size {self.per_device_train_batch_size}"
            )
        if self.save_steps % self.eval_steps:
            raise ValueError(
                f"save_steps {self.save_steps} is no multiple of eval_steps {self.eval_steps}; "
                "the best checkpoint could not be restored"
            )
        return self
