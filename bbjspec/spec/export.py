"""`export`: what a release is made of, once the gate lets one through."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Literal, get_args

from pydantic import Field, field_validator

from bbjspec.spec.base import Section, told

# What llama.cpp quantizes to without an importance matrix, best first; the others would need text we do not collect.
GgufType = Literal[
    "f32",
    "bf16",
    "f16",
    "q8_0",
    "q6_k",
    "q5_k_m",
    "q5_k_s",
    "q5_1",
    "q5_0",
    "q4_k_m",
    "q4_k_s",
    "q4_1",
    "q4_0",
    "iq4_nl",
    "iq4_xs",
    "q3_k_l",
    "q3_k_m",
    "q3_k_s",
    "q2_k",
]
TYPES: tuple[str, ...] = get_args(GgufType)


class OllamaSpec(Section):
    """What the Modelfile says besides the sampling, which is the evaluation's."""

    num_ctx: int = Field(
        4096,
        ge=256,
        le=131_072,
        description="Context that Ollama serves, prompt and answer together.",
        json_schema_extra=told(
            unit="tokens", why="Ollama's own default, and twice the longest row that is trained on."
        ),
    )
    create: bool = Field(
        False,
        description="Create the released models in this machine's Ollama, and ask each of them something.",
        json_schema_extra=told(why="It needs Ollama to run here; without it the card has the commands."),
    )


class ExportSpec(Section):
    """Types, the weights that the adapter is merged into, and the verdict that a release needs."""

    gguf: tuple[GgufType, ...] = Field(
        ("q4_k_m",),
        description="Types of GGUF to make; [] makes none.",
        strict=False,
        json_schema_extra=told(
            why="The smallest that llama.cpp's quantize table calls balanced: 32B in about 20 GB. Each is scored."
        ),
    )
    base_weights: Literal["bf16", "nf4"] = Field(
        "bf16",
        description="Merge onto the original weights, or onto NF4 written out again, which is what training saw.",
        json_schema_extra=told(
            why="Loses nothing before the GGUF's own quantization; right for unquantized bases too."
        ),
    )
    gate: Literal["pass", "provisional", "none"] = Field(
        "pass",
        description="The verdict that a release needs; provisional: a PASS by the embedded checker will do; none: any.",
        json_schema_extra=told(why="The embedded checker agrees with itself, not necessarily with BBj."),
    )
    ollama: OllamaSpec = Field(default_factory=OllamaSpec, description="Serving by Ollama.")
    dir: str | None = Field(
        None,
        min_length=1,
        description="Where released GGUFs and Modelfiles go, in a folder of the experiment's name; may be anywhere.",
        json_schema_extra=told(why="null: build/export/, as links, which take no room. It is no part of a result."),
    )
    licence: str | None = Field(
        None,
        min_length=1,
        description="The licence that GGUF and Modelfile name, such as Apache-2.0.",
        json_schema_extra=told(why="Nobody but the team can say it; null names none."),
    )

    @field_validator("dir")
    @classmethod
    def _not_published(cls, path: str | None) -> str | None:
        parts = PurePosixPath(path or "").parts
        if parts[:1] == ("adapters",):
            raise ValueError("adapters/ is committed, and full weights are not; name a folder elsewhere")
        if path is not None and not re.fullmatch(r"~?[\w./+-]+", path):
            raise ValueError("letters, digits, “.”, “_”, “+”, “-” and “/” are meant: the card's commands name it")
        return path

    @field_validator("gguf")
    @classmethod
    def _each_once(cls, types: tuple[str, ...]) -> tuple[str, ...]:
        twice = sorted({name for name in types if types.count(name) > 1})
        if twice:
            raise ValueError(f"{', '.join(twice)} stands twice")
        return types
