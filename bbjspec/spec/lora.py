"""`lora`: the adapter."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from bbjspec.spec.base import Section


class LoraSpec(Section):
    """Leaf names are PEFT's. QLoRA (arXiv:2305.14314) adapts all linear layers; alpha / r = 2 is common use."""

    r: int = Field(32, ge=1, le=1024, description="Rank.")
    lora_alpha: int = Field(64, ge=1, description="Scale: the update is multiplied by alpha / r.")
    lora_dropout: float = Field(0.05, ge=0, lt=1, description="Dropout before the adapter.")
    target_modules: Literal["all-linear"] | tuple[str, ...] = Field(
        "all-linear", description="All linear layers, or the names of those to adapt."
    )
    use_rslora: bool = Field(False, description="Scale by alpha / sqrt(r) (arXiv:2312.03732).")

    @field_validator("target_modules", mode="before")
    @classmethod
    def _modules(cls, value: object) -> object:
        if not isinstance(value, list):
            return value
        if not value:
            raise ValueError("name at least one module, or write all-linear")
        for name in ("lm_head", "embed_tokens"):
            if name in value:
                raise ValueError(f"{name} cannot be adapted: merged with tied embeddings it gives another model")
        # PEFT keeps a set: one order for one meaning, so that equal adapters have equal digests.
        return tuple(sorted(set(value), key=str))
