"""`model`: the base that is adapted, and how it is held in memory."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, field_validator, model_validator

from bbjspec.embedded import RECIPES, source_of
from bbjspec.spec.base import Section, conflict, told

EMBEDDED = tuple(sorted(RECIPES))
_HUB = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*/[A-Za-z0-9][A-Za-z0-9_.-]*")
_COMMIT = re.compile(r"[0-9a-f]{40}")


class ModelSpec(Section):
    """The base model."""

    base: str = Field(
        min_length=1, description="A Hub id (org/name), a directory (./dir or /dir), or an embedded model's name."
    )
    revision: str | None = Field(
        None,
        min_length=1,
        max_length=200,
        description="The Hub commit (40 hex digits); a branch moves, a commit does not.",
        json_schema_extra=told(why="A Hub model has none: the run names the weights it was made with."),
    )
    allow_unpinned: bool = Field(
        False,
        description="Let a Hub model go without a commit: its weights may change under the same name.",
        json_schema_extra=told(why="A result that cannot be made again is no evidence."),
    )
    dtype: Literal["bfloat16", "float16", "float32"] = Field(
        "bfloat16",
        description="Type that computation runs in.",
        json_schema_extra=told(why="QLoRA computes in bfloat16 (arXiv:2305.14314, section 3); CPUs want float32."),
    )
    load_in_4bit: bool = Field(
        True,
        description="QLoRA: hold the base in 4 bits.",
        json_schema_extra=told(why="Matches 16-bit fine-tuning at a quarter of the memory (arXiv:2305.14314)."),
    )
    bnb_4bit_quant_type: Literal["nf4"] = Field(
        "nf4",
        description="Data type of the 4 bits.",
        json_schema_extra=told(why="NF4 beats FP4 and Int4 (arXiv:2305.14314, section 4)."),
    )
    bnb_4bit_use_double_quant: bool = Field(
        True,
        description="Quantize the quantization constants too.",
        json_schema_extra=told(why="Saves 0.37 bits a weight at no loss (arXiv:2305.14314, section 3)."),
    )
    attn_implementation: Literal["auto", "sdpa", "eager", "flash_attention_2"] = Field(
        "auto",
        description="Attention kernel. auto: flash_attention_2 for training on a GPU where flash_attn is installed, "
        "else sdpa; generation takes sdpa.",
        json_schema_extra=told(
            why="sdpa is part of torch, on GPU and CPU; flash attention is faster on long and packed rows "
            "(arXiv:2307.08691), and not installed everywhere."
        ),
    )

    @property
    def source(self) -> Literal["embedded", "hub", "local"]:
        """Where the base comes from, told by the shape of its name."""
        return source_of(self.base)

    @property
    def pinned(self) -> bool:
        """Whether the name alone says which weights are meant (a directory's own hashes are the `base` stage's)."""
        return self.source != "hub" or _COMMIT.fullmatch(self.revision or "") is not None

    @field_validator("base")
    @classmethod
    def _known(cls, base: str) -> str:
        if source_of(base) == "local" or base in EMBEDDED or _HUB.fullmatch(base):
            return base
        raise ValueError(
            f"unknown base {base!r}; write a Hub id (org/name) with a revision, a directory (./dir), "
            f"or one of the embedded {', '.join(EMBEDDED)}"
        )

    @model_validator(mode="after")
    def _pinned(self) -> ModelSpec:
        if not self.pinned and not self.allow_unpinned:
            said = (
                f"revision {self.revision} is no commit; replace it by"
                if self.revision
                else "revision is missing; write"
            )
            raise conflict(
                f"{said} a commit of {self.base} (40 hex digits): `git ls-remote https://huggingface.co/{self.base} "
                "HEAD` prints the newest; or write allow_unpinned: true",
                "revision",
                "base",
            )
        if self.source != "hub" and self.revision is not None:
            raise conflict("revision belongs to a Hub model alone; leave it out, or write null", "revision")
        if self.source != "hub" and self.allow_unpinned:
            raise conflict("allow_unpinned belongs to a Hub model alone; leave it out", "allow_unpinned")
        return self
