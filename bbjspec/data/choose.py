"""What the spec does to rows before they are learned from: repairs, system prompts, filters, duplicates, a mix.

Nothing here reads a file or counts tokens; each function says of each row what becomes of it, and the split writes it
into the ledger.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from bbjspec.data.code import has_code
from bbjspec.data.near import is_near
from bbjspec.data.repair import mend
from bbjspec.data.rows import Row, normalise


def mended(row: Row, repair: Mapping[str, bool], prompts: Sequence[Mapping[str, Any]], seed: int) -> tuple[Row, Any]:
    """The row with its answer repaired and its system prompt chosen, and the names of the repairs that changed it."""
    answer, repaired = mend(row.answer, [name for name, on in repair.items() if on])
    return row.replaced(system=chosen_prompt(row, prompts, seed), answer=answer), repaired


def chosen_prompt(row: Row, prompts: Sequence[Mapping[str, Any]], seed: int) -> str:
    """The row's own system prompt, or one of `prompts` by weight: the same for a row whatever else is in the file."""
    if not prompts:
        return row.system
    point = int(_place(row, "system", seed), 16) / 16**64 * sum(prompt["weight"] for prompt in prompts)
    for prompt in prompts:
        point -= prompt["weight"]
        if point < 0:
            break
    return str(prompt["text"])


def dropped_because(row: Row, side: str, filters: Mapping[str, Any]) -> str | None:
    """Why the filters that look at one row alone drop it, or None. `where` chooses what is trained on, no more."""
    if side == "train":
        for name, value in filters["where"].items():
            if not row.has(name, value):
                return f"where.{name}"
    if row.id in filters["exclude_ids"]:
        return "exclude_ids"
    if len(row.answer) < filters["min_answer_chars"]:
        return "min_answer_chars"
    if filters["max_answer_chars"] is not None and len(row.answer) > filters["max_answer_chars"]:
        return "max_answer_chars"
    if filters["require_code"] and not has_code(row.answer):
        return "require_code"
    return None


def duplicates(
    same: Iterable[Sequence[Row]],
    dedup: Mapping[str, str],
    goodness: Callable[[Row], Any],
) -> dict[int, tuple[str, str]]:
    """Rows that give way to another that asks (nearly) the same, by line: the reason and the id of the row that stays.

    `same` are groups of such rows, `goodness` is largest for the best answer; among equals the first in the file stays.
    A near-duplicate goes only where a row that stays is near to it: groups are chains, and their ends may differ much.
    """
    gone: dict[int, tuple[str, str]] = {}
    best = (lambda row: (goodness(row), -row.line)) if dedup["exact"] == "keep_best" else (lambda row: -row.line)
    for group in same:
        stay: list[tuple[str, Row]] = []
        for row in sorted(group, key=best, reverse=True):
            question = normalise(row.question)
            for other, kept in stay:
                if other == question and dedup["exact"] != "flag":
                    gone[row.line] = ("duplicate", kept.id)
                elif other != question and dedup["near"] == "drop" and is_near(other, question):
                    gone[row.line] = ("near_duplicate", kept.id)
                else:
                    continue
                break
            else:
                stay.append((question, row))
    return gone


def mixed(rows: Sequence[Row], share: float, trained: int, seed: int) -> list[Row] | int:
    """Rows of the other file that make `share` of all training rows, `trained` of which there are without them.

    Drawn by a hash of content and seed, in the file's order. Where the file has too few: how many are wanted.
    """
    wanted = round(trained * share / (1 - share))
    if wanted > len(rows):
        return wanted
    drawn = sorted(rows, key=lambda row: _place(row, "mix", seed))[:wanted]
    return sorted(drawn, key=lambda row: row.line)


def _place(row: Row, purpose: str, seed: int) -> str:
    return hashlib.sha256(f"{seed}\0{purpose}\0{row.question}\0{row.answer}".encode()).hexdigest()
