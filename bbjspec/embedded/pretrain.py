"""Pretraining of the embedded models: induction rows, then raw text with a share of induction rows.

Why two parts: a model this small learns to copy only when copying is all there is to learn. Once the attention heads
for it exist, raw text does not destroy them as long as a share of the rows keeps asking for them.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bbjspec.embedded import Recipe
from bbjspec.embedded.tokenizer import END_OF_TEXT, corpus_text

if TYPE_CHECKING:
    from torch import Generator, Tensor

# Id 0 ends a document. The marks of a turn, 1 and 2, occur in no text; as random tokens of induction rows they come to
# differ from each other, without which a tuned model takes one for the other.
_FIRST = 1


def build(recipe: Recipe, tokenizer: Path, out: Path, log: logging.Logger) -> None:
    """Train the model of `recipe` with the tokenizer in `tokenizer` and save config and safetensors into `out`.

    Same recipe, same bytes on one machine, at any number of threads. Raises StageFailed when the corpus has changed.
    """
    import torch
    import transformers
    from transformers import AutoTokenizer, Qwen2Config, Qwen2ForCausalLM

    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()  # the corpus is longer than a row, as it should be
    tok = AutoTokenizer.from_pretrained(tokenizer)
    torch.manual_seed(recipe.seed)
    model = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=recipe.vocab_size,
            hidden_size=recipe.hidden_size,
            intermediate_size=recipe.intermediate_size,
            num_hidden_layers=recipe.num_hidden_layers,
            num_attention_heads=recipe.num_attention_heads,
            num_key_value_heads=recipe.num_key_value_heads,
            max_position_embeddings=recipe.max_position_embeddings,
            rope_parameters={"rope_type": "default", "rope_theta": recipe.rope_theta},
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tok.eos_token_id,
            pad_token_id=tok.pad_token_id,
        )
    )
    ids = torch.tensor(tok(corpus_text(recipe).replace("\n\n", END_OF_TEXT))["input_ids"])
    log.info(
        "%.2f million parameters, %d tokens of corpus",
        sum(p.numel() for p in model.parameters()) / 1e6,
        len(ids),
    )
    rng = torch.Generator().manual_seed(recipe.seed)
    copies = round(recipe.batch_size * recipe.copy_share)
    _train(
        model, recipe, recipe.induction_steps, lambda: _induction(recipe, recipe.batch_size, rng), log, "induction", 1.0
    )

    def mixed() -> tuple[Tensor, Tensor]:
        text = _text(recipe, ids, recipe.batch_size - copies, rng)
        copy, labels = _induction(recipe, copies, rng)
        return torch.cat([text, copy]), torch.cat([text, labels])

    _train(model, recipe, recipe.text_steps, mixed, log, "text", 0.1)
    model.save_pretrained(out)
    # The library's version is no part of the model, and its own sampling defaults are never used.
    config = json.loads((out / "config.json").read_text(encoding="utf-8"))
    config.pop("transformers_version", None)
    (out / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    (out / "generation_config.json").unlink(missing_ok=True)


def _induction(recipe: Recipe, rows: int, rng: Generator) -> tuple[Tensor, Tensor]:
    """Rows of a random block repeated, and labels on the repetitions alone: two tensors (rows, row_length)."""
    import torch

    ids = torch.empty(rows, recipe.row_length, dtype=torch.long)
    labels = torch.empty_like(ids)
    for row in range(rows):
        size = int(torch.randint(recipe.block_min, recipe.block_max + 1, (1,), generator=rng))
        block = torch.randint(_FIRST, recipe.vocab_size, (size,), generator=rng)
        ids[row] = block.repeat(-(-recipe.row_length // size))[: recipe.row_length]
        labels[row] = ids[row]
        labels[row, :size] = -100
    return ids, labels


def _text(recipe: Recipe, ids: Tensor, rows: int, rng: Generator) -> Tensor:
    """Rows cut from the corpus at random places: a tensor (rows, row_length)."""
    import torch

    starts = torch.randint(0, len(ids) - recipe.row_length, (rows,), generator=rng)
    return torch.stack([ids[start : start + recipe.row_length] for start in starts.tolist()])


def _train(
    model: Any,
    recipe: Recipe,
    steps: int,
    batches: Callable[[], tuple[Tensor, Tensor]],
    log: logging.Logger,
    part: str,
    floor: float,
) -> None:
    """Run `steps` optimizer steps: AdamW, linear warm-up over a tenth, cosine down to `floor` times the peak.

    Induction runs at a floor of 1, a constant rate: copying appears all at once, after 250 steps of little progress,
    and with a falling rate it came too late or never.
    """
    import torch

    if not steps:
        return
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=recipe.learning_rate,
        betas=(recipe.beta1, recipe.beta2),
        weight_decay=recipe.weight_decay,
    )
    warmup = max(1, steps // 10)

    def rate(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return floor + (1 - floor) / 2 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    model.train()
    began = said = time.monotonic()
    for step in range(1, steps + 1):
        ids, labels = batches()
        loss = model(input_ids=ids, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if step == steps or time.monotonic() - said > 5:
            said = time.monotonic()
            log.info("%s: step %d of %d, loss %.3f, %.0f s", part, step, steps, loss.item(), said - began)
