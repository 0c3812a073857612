"""`data`: which rows are learned from, and which are held out."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from bbjspec.spec.base import Section


class FilterSpec(Section):
    """Rows that fail a filter are dropped from both sides; the ledger says which and why."""

    min_answer_chars: int = Field(1, ge=1, description="Shortest answer kept, in characters.")
    max_answer_chars: int | None = Field(None, ge=1, description="Longest answer kept, in characters.")
    require_code: bool = Field(False, description="Keep only answers with a fenced code block.")
    exclude_ids: tuple[str, ...] = Field((), description="Rows left out by id.", strict=False)


class DataSpec(Section):
    """The dataset, its filters and its split."""

    path: str = Field("dataset/dataset.jsonl", min_length=1, description="ChatML rows, one JSON object a line.")
    where: dict[str, str] = Field(
        default_factory=dict,
        description="Keep rows whose field has this value, or whose list holds it: {tags: starter}.",
    )
    filters: FilterSpec = Field(default_factory=FilterSpec, description="What else a row must satisfy.")
    val_size: float = Field(0.1, gt=0, lt=1, description="Share of rows held out for validation.")
    seed: int = Field(42, ge=0, lt=2**32, description="Seed of the split.")
    stratify_by: tuple[str, ...] = Field(
        ("kind",), description="Fields whose mix is the same on both sides of the split.", strict=False
    )
    on_overlength: Literal["error", "drop"] = Field(
        "error", description="A row of more than training.max_length tokens: stop, or drop it and count it."
    )
