"""`data`: which rows are learned from, and which are held out."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from bbjspec.spec.base import Section, conflict, told


class FilterSpec(Section):
    """Rows that fail a filter are dropped from both sides; the ledger says which and why."""

    min_answer_chars: int = Field(
        1,
        ge=1,
        le=1_000_000,
        description="Shortest answer kept.",
        json_schema_extra=told(unit="characters", why="Drops what is empty; the audit shows what is merely short."),
    )
    max_answer_chars: int | None = Field(
        None,
        ge=1,
        le=10_000_000,
        description="Longest answer kept; null: any.",
        json_schema_extra=told(unit="characters", why="Length is settled in tokens, by training.max_length."),
    )
    require_code: bool = Field(
        False,
        description="Keep only answers with a fenced code block.",
        json_schema_extra=told(why="Explanations teach the language too; one answer in sixteen has no code."),
    )
    exclude_ids: tuple[str, ...] = Field(
        (),
        description="Rows left out, by id.",
        strict=False,
        json_schema_extra=told(why="A row that is wrong is better mended in the dataset."),
    )

    @model_validator(mode="after")
    def _some_length_fits(self) -> FilterSpec:
        if self.max_answer_chars is not None and self.max_answer_chars < self.min_answer_chars:
            raise conflict(
                f"max_answer_chars {self.max_answer_chars} is below min_answer_chars {self.min_answer_chars}: "
                "no row would be left",
                "max_answer_chars",
                "min_answer_chars",
            )
        return self


class DataSpec(Section):
    """The dataset, its filters and its split."""

    path: str = Field(
        "dataset/dataset.jsonl",
        min_length=1,
        description="ChatML rows, one JSON object a line.",
        json_schema_extra=told(why="Where the team's dataset is."),
    )
    where: dict[str, str] = Field(
        default_factory=dict,
        description="Keep rows whose field has this value, or whose list holds it: {tags: starter}.",
        json_schema_extra=told(why="All rows."),
    )
    filters: FilterSpec = Field(default_factory=FilterSpec, description="What else a row must satisfy.")
    val_size: float = Field(
        0.1,
        gt=0,
        lt=1,
        description="Part of the rows that is held out for validation.",
        json_schema_extra=told(unit="share", why="A thousand of ten thousand rows: enough to see overfitting."),
    )
    seed: int = Field(
        42,
        ge=0,
        lt=2**32,
        description="Seed of the split.",
        json_schema_extra=told(unit="seed", why="Any will do; fixed, so that experiments share their validation rows."),
    )
    stratify_by: tuple[str, ...] = Field(
        ("kind",),
        description="Fields whose mix is the same on both sides of the split.",
        strict=False,
        json_schema_extra=told(why="Completions, explanations and look-ups have losses of their own."),
    )
    on_overlength: Literal["error", "drop"] = Field(
        "error",
        description="A row of more than training.max_length tokens: stop, or drop it and count it.",
        json_schema_extra=told(why="A row cut short teaches to stop in mid-program."),
    )

    @field_validator("path")
    @classmethod
    def _jsonl(cls, path: str) -> str:
        if not path.endswith(".jsonl"):
            raise ValueError(f"{path} is no JSON Lines file; a name that ends in .jsonl is meant")
        return path
