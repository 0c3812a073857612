"""`model`: the base that is adapted, and how it is held in memory."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, field_validator, model_validator

from bbjspec.spec.base import Section

EMBEDDED = ("pico-qwen2", "tiny-qwen2")
_HUB = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*/[A-Za-z0-9][A-Za-z0-9_.-]*")


class ModelSpec(Section):
    """The base model."""

    base: str = Field(description="A Hub id (org/name), a directory (./dir or /dir), or an embedded model's name.")
    revision: str | None = Field(None, description="The Hub commit (40 hex digits); a branch moves, a commit does not.")
    dtype: Literal["bfloat16", "float16", "float32"] = Field("bfloat16", description="Type that computation runs in.")
    load_in_4bit: bool = Field(True, description="QLoRA: hold the base in 4 bits (arXiv:2305.14314).")
    bnb_4bit_quant_type: Literal["nf4"] = Field("nf4", description="NF4 (arXiv:2305.14314, section 3).")
    bnb_4bit_use_double_quant: bool = Field(
        True, description="Quantize the quantization constants: 0.37 bits a weight."
    )
    attn_implementation: Literal["sdpa", "eager"] = Field("sdpa", description="Attention kernel.")

    @property
    def source(self) -> Literal["embedded", "hub", "local"]:
        """Where the base comes from, told by the shape of its name."""
        if self.base.startswith(("./", "/")):
            return "local"
        return "hub" if "/" in self.base else "embedded"

    @field_validator("base")
    @classmethod
    def _known(cls, base: str) -> str:
        if base.startswith(("./", "/")) or base in EMBEDDED or _HUB.fullmatch(base):
            return base
        raise ValueError(
            f"unknown base {base!r}; write a Hub id (org/name) with a revision, a directory (./dir), "
            f"or one of the embedded {', '.join(EMBEDDED)}"
        )

    @model_validator(mode="after")
    def _pinned(self) -> ModelSpec:
        if self.source == "hub" and not re.fullmatch(r"[0-9a-f]{40}", self.revision or ""):
            raise ValueError(
                f"revision must pin {self.base} to a commit of 40 hex digits; its Hub page lists them under "
                "“Files and versions”, “History”"
            )
        if self.source != "hub" and self.revision is not None:
            raise ValueError("revision belongs to a Hub model alone; leave it out")
        return self
