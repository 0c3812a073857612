"""`data`: which rows are learned from, how they are mended first, and which are held out."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from bbjspec.spec.base import Section, conflict, told


class RepairSpec(Section):
    """Mechanical repairs of answers, in this order; the audit shows beforehand which rows each would change."""

    unescape_newlines: bool = Field(
        False,
        description=r"Literal \n and \" in code become line ends and quotes.",
        json_schema_extra=told(why="Nothing is changed that the spec does not say."),
    )
    unquote_code: bool = Field(
        False,
        description="Code quoted by > loses its marks.",
        json_schema_extra=told(why="Nothing is changed that the spec does not say."),
    )
    fence_code: bool = Field(
        False,
        description="Raw code gets a bbj fence.",
        json_schema_extra=told(why="Nothing is changed that the spec does not say."),
    )
    tag_fences: bool = Field(
        False,
        description="A fence without a language gets bbj where its text is BBj, else text.",
        json_schema_extra=told(why="Nothing is changed that the spec does not say."),
    )
    strip_trailing_space: bool = Field(
        False,
        description="Blanks at the ends of lines and empty lines at the end of an answer go.",
        json_schema_extra=told(why="Nothing is changed that the spec does not say."),
    )

    @property
    def names(self) -> tuple[str, ...]:
        """The repairs that are on."""
        return tuple(name for name, on in self if on)


class DedupSpec(Section):
    """What becomes of rows that ask the same. They are always on one side of the split."""

    exact: Literal["keep_best", "keep_first", "flag"] = Field(
        "flag",
        description="Rows of one question (case and white space folded): keep the best answer (its code compiles, it "
        "has code, no repair would change it, it is longer), the first in the file, or all.",
        json_schema_extra=told(why="Several answers to one question may be meant; the audit lists them."),
    )
    near: Literal["flag", "drop"] = Field(
        "flag",
        description="Questions that differ by less than a tenth of their characters: keep all, or one of each group, "
        "chosen as `exact` says (the first where that is `flag`).",
        json_schema_extra=told(why="Most differ by the one word that matters; the audit lists them."),
    )


class FilterSpec(Section):
    """Rows that fail a filter are dropped, from both sides alike but for `where`; the ledger says which and why."""

    where: dict[str, str] = Field(
        default_factory=dict,
        description="Train on rows whose field has this value, or whose list holds it: {topic: gui}. Validation keeps "
        "all its rows.",
        json_schema_extra=told(why="All rows. Validation loss compares across experiments whatever they train on."),
    )
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
    require_compile: bool = Field(
        False,
        description="Keep only answers whose every BBj block compiles, by eval.compiler; answers without code stay.",
        json_schema_extra=told(
            why="Judge and teacher would be one: what the compiler wrongly refuses is never learned."
        ),
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


class SystemPromptSpec(Section):
    """One of the system prompts that rows are given."""

    text: str = Field(min_length=1, max_length=100_000, description="The prompt.")
    weight: float = Field(
        1.0,
        gt=0,
        le=1_000_000,
        strict=False,
        description="Its share, relative to the others.",
        json_schema_extra=told(why="All alike."),
    )


class MixSpec(Section):
    """Rows of another file that are trained on as well: general code, against forgetting."""

    path: str = Field(min_length=1, description="ChatML rows, one JSON object a line; never validated on.")
    share: float = Field(
        gt=0,
        lt=1,
        description="Their part of all training rows; which ones is drawn by a hash of content and data.seed.",
        json_schema_extra=told(unit="share"),
    )

    @field_validator("path")
    @classmethod
    def _jsonl(cls, path: str) -> str:
        return _rows_file(path)


class DataSpec(Section):
    """The dataset, its repairs, its filters and its split."""

    path: str = Field(
        "dataset/dataset.jsonl",
        min_length=1,
        description="ChatML rows, one JSON object a line.",
        json_schema_extra=told(why="Where the team's dataset is."),
    )
    repair: RepairSpec = Field(default_factory=RepairSpec, description="What is mended in answers.")
    dedup: DedupSpec = Field(default_factory=DedupSpec, description="What becomes of rows that ask the same.")
    filters: FilterSpec = Field(default_factory=FilterSpec, description="What a row must satisfy.")
    system_prompts: tuple[SystemPromptSpec, ...] = Field(
        (),
        description="System prompts given to the rows in place of their own, by weight; which one is fixed for a row.",
        strict=False,
        json_schema_extra=told(why="Rows keep their own."),
    )
    mix: MixSpec | None = Field(
        None,
        description="General rows to train on as well.",
        json_schema_extra=told(why="None: the general tier of the evaluation shows whether they are needed."),
    )
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
        description="Fields whose mix is the same on both sides; kind and topic are told from the text where a row "
        "has no such field.",
        strict=False,
        json_schema_extra=told(why="Completions, explanations and look-ups have losses of their own."),
    )
    on_overlength: Literal["error", "drop", "truncate"] = Field(
        "error",
        description="A row of more than training.max_length tokens: stop, drop it, or cut its answer behind the last "
        "line that fits.",
        json_schema_extra=told(why="A row cut short teaches to stop in mid-program."),
    )
    publish: bool = Field(
        False,
        description="Place this experiment's sides at dataset/train.jsonl and dataset/val.jsonl, for the repository; "
        "one experiment may, and it is not inherited.",
        json_schema_extra=told(why="The reference experiment of a project says so; results do not depend on it."),
    )

    @field_validator("path")
    @classmethod
    def _jsonl(cls, path: str) -> str:
        return _rows_file(path)

    @model_validator(mode="after")
    def _publishes_over_no_source(self) -> DataSpec:
        for field, path in (("path", self.path), ("mix.path", self.mix.path if self.mix else "")):
            if self.publish and path in ("dataset/train.jsonl", "dataset/val.jsonl"):
                raise conflict(f"data.publish would write over {path}; give it another name", field, "publish")
        return self


def _rows_file(path: str) -> str:
    if not path.endswith((".jsonl", ".jsonl.gz")):
        raise ValueError(f"{path} is no JSON Lines file; a name that ends in .jsonl or .jsonl.gz is meant")
    return path
