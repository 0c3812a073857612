"""Which training rows stand before each prompt of the few-shot baseline.

Rows of the kind `code-generation` first, each kind in an order that the sampling seed alone decides; never a row that
gives away a prompt of the suite, by the rule of `bbjspec.data.leakage`, and never one question twice.
"""

from __future__ import annotations

from bbjspec.data.leakage import leaks
from bbjspec.data.rows import Row, load_rows, normalise
from bbjspec.digest import sha256_bytes
from bbjspec.errors import BadInput
from bbjspec.generation.base import Message
from bbjspec.stage import StageRun
from bbjspec.suite import load_prompts

FIRST = "code-generation"


def examples(stage: StageRun, n: int) -> tuple[list[Message], list[str]]:
    """The turns of `n` rows, question and answer, and the rows' ids. Raises BadInput when too few rows will do."""
    prompts = load_prompts(list(stage.sources["prompts"]))
    rows = load_rows(stage.input("split") / "train.jsonl", "train.jsonl")
    seed = int(stage.config["sampling"]["seed"])
    chosen: dict[str, Row] = {}
    for row in sorted(rows, key=lambda row: (not row.has("kind", FIRST), sha256_bytes(f"{seed}:{row.id}".encode()))):
        if len(chosen) < n and normalise(row.question) not in chosen and not leaks(prompts, [row]):
            chosen[normalise(row.question)] = row
    if len(chosen) < n:
        message = f"{n} examples are asked for, but {len(chosen)} training rows give no prompt of the suite away"
        raise BadInput(f"eval.few_shot: {message}; write {len(chosen)} or less")
    turns = [
        {"role": role, "content": content}
        for row in chosen.values()
        for role, content in (("user", row.question), ("assistant", row.answer))
    ]
    return turns, [row.id for row in chosen.values()]
