"""`lora`: the adapter."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from bbjspec.spec.base import Section, told

# Both read or write the vocabulary: PEFT refuses the head, and merged with tied embeddings either gives another model.
FORBIDDEN = ("lm_head", "embed_tokens", "wte", "embed_in", "embed_out")


class LoraSpec(Section):
    """Leaf names are PEFT's."""

    r: int = Field(
        32,
        ge=1,
        le=1024,
        description="Rank of the update.",
        json_schema_extra=told(
            unit="dimensions",
            why="With all linear layers adapted, rank hardly moves the result (arXiv:2305.14314, section 4); 32 leaves "
            "room for a new language's syntax (arXiv:2405.09673 finds code wants more rank than chat).",
        ),
    )
    lora_alpha: int = Field(
        64,
        ge=1,
        le=4096,
        description="Scale: the update is multiplied by lora_alpha / r.",
        json_schema_extra=told(unit="dimensions", why="2 r, as is common; for ranks well above 32 see use_rslora."),
    )
    lora_dropout: float = Field(
        0.05,
        ge=0,
        lt=1,
        description="Dropout before the adapter.",
        json_schema_extra=told(unit="share", why="QLoRA's value for 33B and larger (arXiv:2305.14314, appendix B)."),
    )
    target_modules: Literal["all-linear"] | tuple[str, ...] = Field(
        "all-linear",
        description="all-linear, or a list of the names of the layers to adapt.",
        json_schema_extra=told(
            why="All linear layers are what matches full fine-tuning (arXiv:2305.14314, section 4)."
        ),
    )
    use_rslora: bool = Field(
        False,
        description="Scale by lora_alpha / sqrt(r) instead (arXiv:2312.03732).",
        json_schema_extra=told(why="Matters at ranks well above 32; QLoRA's results are without."),
    )

    @field_validator("target_modules", mode="before")
    @classmethod
    def _modules(cls, value: object) -> object:
        if value == "all-linear":
            return value
        if (
            not isinstance(value, list | tuple)
            or not value
            or not all(isinstance(name, str) and name for name in value)
        ):
            raise ValueError("write all-linear, or a list of module names such as [q_proj, v_proj]")
        for name in value:
            if name.rsplit(".", 1)[-1] in FORBIDDEN:
                raise ValueError(f"{name} cannot be adapted: merged with tied embeddings it gives another model")
        # PEFT keeps a set: one order for one meaning, so that equal adapters have equal digests.
        return tuple(sorted(set(value)))
