"""`training`: how the adapter is learned."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from bbjspec.spec.base import Section, conflict, told

# How a machine goes about it, not what comes of it: these reach the stage as resources, and are in no digest but the
# card's.
EXECUTION = ("per_device_train_batch_size", "gradient_checkpointing", "save_total_limit")


class TrainingSpec(Section):
    """Leaf names are those of transformers' TrainingArguments and TRL's SFTConfig."""

    learning_rate: float = Field(
        1e-4,
        gt=0,
        lt=1,
        description="Peak learning rate.",
        json_schema_extra=told(
            unit="per step",
            why="QLoRA's for 33B and larger (arXiv:2305.14314, appendix B); take the highest rate that trains "
            "without spikes (arXiv:2405.09673). Below 33B, 2e-4.",
        ),
    )
    num_train_epochs: float = Field(
        2.0,
        gt=0,
        le=1000,
        description="Passes over the training rows.",
        json_schema_extra=told(
            unit="epochs", why="An instruct base forgets with every pass (arXiv:2405.09673); early stopping may end it."
        ),
    )
    max_steps: int | None = Field(
        None,
        ge=1,
        le=10_000_000,
        description="Stop after this many optimizer steps, whatever the epochs; null: by epochs.",
        json_schema_extra=told(unit="steps", why="Epochs say how often each row was seen."),
    )
    global_train_batch_size: int = Field(
        32,
        ge=1,
        le=65_536,
        description="Rows per optimizer step, over all devices; accumulation follows from it. With packing a row is a "
        "filled one.",
        json_schema_extra=told(unit="rows", why="Between QLoRA's 16 and 64 (arXiv:2305.14314, appendix B)."),
    )
    per_device_train_batch_size: int = Field(
        1,
        ge=1,
        le=4096,
        description="Rows that fit one device at once; changes a result by rounding, and by where dropout falls.",
        json_schema_extra=told(unit="rows", why="Fits wherever the model does; accumulation makes up the rest."),
    )
    max_length: int = Field(
        2048,
        ge=16,
        le=131_072,
        description="Longest row, prompt and answer together.",
        json_schema_extra=told(unit="tokens", why="Holds the longest answers known (4,725 characters) with room."),
    )
    lr_scheduler_type: Literal["cosine", "linear", "constant", "constant_with_warmup"] = Field(
        "cosine",
        description="Shape of the learning rate over time.",
        json_schema_extra=told(why="Anneals to the end (arXiv:1608.03983); common for two epochs."),
    )
    warmup_steps: float = Field(
        0.03,
        ge=0,
        le=1_000_000,
        description="Warm-up: steps, or a share of all steps when below 1.",
        json_schema_extra=told(unit="steps or share", why="QLoRA's share (arXiv:2305.14314, appendix B)."),
    )
    weight_decay: float = Field(
        0.0,
        ge=0,
        le=1,
        description="AdamW's weight decay (arXiv:1711.05101).",
        json_schema_extra=told(unit="per step", why="QLoRA's (arXiv:2305.14314); it would pull towards the base."),
    )
    max_grad_norm: float = Field(
        0.3,
        gt=0,
        le=1000,
        description="Gradients are clipped to this norm.",
        json_schema_extra=told(unit="norm", why="QLoRA's value (arXiv:2305.14314, appendix B)."),
    )
    optim: Literal["adamw_torch", "adamw_torch_fused", "paged_adamw_8bit", "paged_adamw_32bit"] = Field(
        "paged_adamw_8bit",
        description="Optimizer; the paged ones need a GPU.",
        json_schema_extra=told(
            why="Pages out at peaks (arXiv:2305.14314, section 3) and holds its state in 8 bits (arXiv:2110.02861)."
        ),
    )
    packing: bool = Field(
        False,
        description="Fill rows of max_length with several examples each, by best fit (arXiv:2404.10830); none is cut, "
        "and none attends to another.",
        json_schema_extra=told(
            why="An optimizer step then sees several times the examples: another training, not only a faster one."
        ),
    )
    eval_steps: int = Field(
        50,
        ge=1,
        le=1_000_000,
        description="Optimizer steps between two evaluations.",
        json_schema_extra=told(unit="steps", why="Five to six an epoch at 9,000 rows and a batch of 32."),
    )
    save_steps: int = Field(
        50,
        ge=1,
        le=1_000_000,
        description="Optimizer steps between two checkpoints; a multiple of eval_steps.",
        json_schema_extra=told(unit="steps", why="Every evaluation may be the best one."),
    )
    early_stopping_patience: int | None = Field(
        2,
        ge=1,
        le=10_000,
        description="Stop after this many evaluations without a better loss; null: never.",
        json_schema_extra=told(unit="evaluations", why="One may be noise, two are a trend (Prechelt 1998)."),
    )
    save_total_limit: int = Field(
        2,
        ge=1,
        le=1000,
        description="Checkpoints kept while training; changes no result.",
        json_schema_extra=told(unit="checkpoints", why="The best one and the newest one."),
    )
    gradient_checkpointing: Literal["auto"] | bool = Field(
        "auto",
        description="Recompute activations to save memory (arXiv:1604.06174). auto: where it does not fit without; "
        "changes no result.",
        json_schema_extra=told(why="Only where memory asks for it: it costs a third more time."),
    )
    seed: int = Field(
        42,
        ge=0,
        lt=2**32,
        description="Seed of initialisation and of the order of rows.",
        json_schema_extra=told(unit="seed", why="Any will do; fixed, so that a run can be made again."),
    )

    @field_validator("gradient_checkpointing", mode="before")
    @classmethod
    def _auto_or_a_truth(cls, value: object) -> object:
        # A choice of two types would be told as two findings.
        if value != "auto" and not isinstance(value, bool):
            raise ValueError("write auto, true or false")
        return value

    @model_validator(mode="before")
    @classmethod
    def _whole_numbers_are_numbers(cls, values: object) -> object:
        """`num_train_epochs: 2` is 2.0: one meaning, one digest."""
        if isinstance(values, dict):
            floats = ("learning_rate", "num_train_epochs", "warmup_steps", "weight_decay", "max_grad_norm")
            return {k: float(v) if k in floats and _small_int(v) else v for k, v in values.items()}
        return values

    @model_validator(mode="after")
    def _checkpoints_are_evaluated(self) -> TrainingSpec:
        if self.save_steps % self.eval_steps:
            raise conflict(
                f"save_steps {self.save_steps} is no multiple of eval_steps {self.eval_steps}; "
                "the best checkpoint could not be restored",
                "save_steps",
                "eval_steps",
            )
        if self.early_stopping_patience and self.max_steps and self.max_steps < self.eval_steps:
            raise conflict(
                f"early_stopping_patience needs evaluations, and max_steps {self.max_steps} ends before the first one "
                f"(eval_steps {self.eval_steps}); write null, or a smaller eval_steps",
                "early_stopping_patience",
                "eval_steps",
                "max_steps",
            )
        if self.warmup_steps > 1 and self.warmup_steps % 1:
            raise conflict(
                f"warmup_steps {self.warmup_steps} is neither a number of steps nor a share below 1", "warmup_steps"
            )
        return self


def _small_int(value: object) -> bool:
    # Larger ones are out of every bound, and float() of a number of a thousand digits overflows.
    return type(value) is int and abs(value) < 2**53
