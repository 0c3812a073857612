"""Sizes of bases that are known without their weights: Qwen2.5's, the embedded ones, and any whose config is here.

Numbers are those of each model's published `config.json`; parameter counts follow from them (docs/needs.md).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bbjspec.embedded import RECIPES, source_of
from bbjspec.store import read_json

_LARGEST = 2**32  # of one size: a larger one is no model's
_QWEN25 = re.compile(r"Qwen/Qwen2\.5(?:-Coder)?-(0\.5B|1\.5B|3B|7B|14B|32B|72B)(?:-Instruct)?")


@dataclass(frozen=True)
class Architecture:
    """A decoder of the Qwen2 family. Sizes are counts of elements, `tied`: the head is the embedding."""

    hidden: int
    layers: int
    intermediate: int
    heads: int
    kv_heads: int
    vocabulary: int
    tied: bool

    @property
    def kv_width(self) -> int:
        """Elements of one token's keys (or values) in one layer."""
        return self.hidden // self.heads * self.kv_heads

    @property
    def linear(self) -> dict[str, tuple[int, int]]:
        """The linear layers of one block: (inputs, outputs) by name."""
        h, kv, i = self.hidden, self.kv_width, self.intermediate
        return {
            "q_proj": (h, h),
            "k_proj": (h, kv),
            "v_proj": (h, kv),
            "o_proj": (h, h),
            "gate_proj": (h, i),
            "up_proj": (h, i),
            "down_proj": (i, h),
        }

    @property
    def linear_parameters(self) -> int:
        """Weights that NF4 holds in four bits: all linear layers of all blocks, not the head."""
        return self.layers * sum(n_in * n_out for n_in, n_out in self.linear.values())

    @property
    def parameters(self) -> int:
        """All of them: linear layers, the biases of q, k and v, norms, embedding and head."""
        other = self.layers * (3 * self.hidden + 2 * self.kv_width) + self.hidden
        return self.linear_parameters + other + self.vocabulary * self.hidden * (1 if self.tied else 2)


_KNOWN = {
    "0.5B": Architecture(896, 24, 4864, 14, 2, 151_936, True),
    "1.5B": Architecture(1536, 28, 8960, 12, 2, 151_936, True),
    "3B": Architecture(2048, 36, 11_008, 16, 2, 151_936, True),
    "7B": Architecture(3584, 28, 18_944, 28, 4, 152_064, False),
    "14B": Architecture(5120, 48, 13_824, 40, 8, 152_064, False),
    "32B": Architecture(5120, 64, 27_648, 40, 8, 152_064, False),
    "72B": Architecture(8192, 80, 29_568, 64, 8, 152_064, False),
}


def architecture(base: str, root: Path) -> Architecture | None:
    """The architecture of a base as the spec names it; None for one that is not known here."""
    if match := _QWEN25.fullmatch(base):
        return _KNOWN[match[1]]
    if recipe := RECIPES.get(base):
        return Architecture(
            recipe.hidden_size,
            recipe.num_hidden_layers,
            recipe.intermediate_size,
            recipe.num_attention_heads,
            recipe.num_key_value_heads,
            recipe.vocab_size,
            True,
        )
    return read(root / base) if source_of(base) == "local" else None


def read(directory: Path) -> Architecture | None:
    """The architecture of the model in `directory`; None without a `config.json` that has the fields."""
    config = read_json(directory / "config.json")
    return _of_config(config) if isinstance(config, dict) else None


def _of_config(config: Mapping[str, Any]) -> Architecture | None:
    names = ("hidden_size", "num_hidden_layers", "intermediate_size", "num_attention_heads")
    numbers = [config.get(name) for name in (*names, "num_key_value_heads", "vocab_size")]
    numbers[4] = numbers[4] or numbers[3]
    if not all(type(n) is int and 0 < n <= _LARGEST for n in numbers):
        return None
    hidden, layers, intermediate, heads, kv_heads, vocabulary = (int(str(number)) for number in numbers)
    return Architecture(
        hidden, layers, intermediate, heads, kv_heads, vocabulary, bool(config.get("tie_word_embeddings"))
    )
