"""The models that live inside the package: real Qwen2 architecture, built on the machine that needs them.

A recipe says how a model is built, from the tokenizer to its last training step, so that it can stand in a stage's
digest. Nothing here imports torch: planning reads recipes, only the stages `tokenizer` and `base` follow them.
"""

from __future__ import annotations

import dataclasses
import difflib
from dataclasses import dataclass
from typing import Any, Literal

from bbjspec.errors import BadInput


@dataclass(frozen=True)
class Recipe:
    """How an embedded model is built. Sizes are counts, lengths are tokens, `seed` seeds every random number.

    Training has two parts. *Induction*: rows of random tokens, a block repeated until the row is full, with loss on
    the repetitions only; it makes the attention heads that copy, without which a tuned model writes well-formed
    answers that never hold the asked name. *Text*: rows cut from the corpus, a `copy_share` of them still induction.
    A model of no steps at all is a random one: good enough for tests of plumbing.
    """

    version: int
    corpus_sha256: str
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    max_position_embeddings: int
    rope_theta: float
    induction_steps: int
    text_steps: int
    copy_share: float
    batch_size: int
    row_length: int
    block_min: int
    block_max: int
    learning_rate: float
    beta1: float
    beta2: float
    weight_decay: float
    seed: int


# SHA-256 of bbjspec.embedded.corpus.text(): the tokenizer stage refuses to go on when the two part.
CORPUS_SHA256 = "b5bfdf46b7b9af4429f0c2f02ab9c687e21c3134734713af72bf0ab99bc34914"

_TINY = Recipe(
    version=1,
    corpus_sha256=CORPUS_SHA256,
    vocab_size=2048,
    hidden_size=128,
    intermediate_size=256,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=4,
    max_position_embeddings=1024,
    rope_theta=10000.0,
    induction_steps=300,
    text_steps=560,
    copy_share=0.25,
    batch_size=32,
    row_length=80,
    block_min=6,
    block_max=24,
    learning_rate=3e-3,
    beta1=0.9,
    beta2=0.98,
    weight_decay=0.01,
    seed=20250101,
)

RECIPES: dict[str, Recipe] = {
    "tiny-qwen2": _TINY,
    "pico-qwen2": dataclasses.replace(
        _TINY,
        hidden_size=64,
        intermediate_size=64,
        num_attention_heads=2,
        num_key_value_heads=1,
        induction_steps=2,
        text_steps=4,
        batch_size=4,
    ),
}


def source_of(base: str) -> Literal["embedded", "hub", "local"]:
    """Where a base comes from, by the shape of its name: a bare name, `org/name`, or a directory (`./dir`, `/dir`)."""
    if base.startswith(("./", "/")):
        return "local"
    return "hub" if "/" in base else "embedded"


def recipe(name: str) -> Recipe:
    """The recipe of an embedded model. Raises BadInput for a name that is none."""
    try:
        return RECIPES[name]
    except KeyError:
        close = difflib.get_close_matches(name, RECIPES, n=1)
        hint = f"Perhaps you meant {close[0]}? " if close else ""
        raise BadInput(
            f"model.base: no embedded model is called {name!r}. {hint}Write one of {', '.join(sorted(RECIPES))}, "
            "a Hub id like Qwen/Qwen2.5-Coder-32B-Instruct, or a directory like ./models/mine."
        ) from None


def recipe_config(name: str) -> dict[str, Any]:
    """The recipe as plain JSON, for a stage's configuration. Raises BadInput for a name that is none."""
    return dataclasses.asdict(recipe(name))
