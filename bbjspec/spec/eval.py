"""`eval`: how "did it get better?" is answered."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from bbjspec.spec.base import Section, conflict, told
from bbjspec.spec.references import Reference

SYSTEM_PROMPT = "You are an expert BBj programmer who helps users write and understand BBj code."


class CompilerSpec(Section):
    """Who judges. Nothing is chosen silently: another compiler is another result."""

    name: Literal["builtin", "bbjcpl"] = Field(description="The embedded checker (approximate), or BBj's own compiler.")
    version: str | None = Field(
        None,
        min_length=1,
        description="bbjcpl's version, such as 26.03; another one found is refused.",
        json_schema_extra=told(why="The embedded checker has none; bbjcpl needs one."),
    )
    path: str | None = Field(
        None,
        min_length=1,
        description="Where bbjcpl is, when not on PATH or in BBJ_HOME/bin.",
        json_schema_extra=told(why="It differs per machine, and is no part of a result."),
    )

    @model_validator(mode="after")
    def _versioned(self) -> CompilerSpec:
        if self.name == "bbjcpl" and not self.version:
            raise conflict("version is needed with bbjcpl: the version of BBj that is meant, such as “26.03”", "name")
        if self.name == "builtin" and self.path:
            raise conflict("path belongs to bbjcpl alone; leave it out, or write null", "path")
        return self


class SamplingSpec(Section):
    """One complete block: nothing is left to a back end's defaults or to the base's own generation_config."""

    n: int = Field(
        10,
        ge=1,
        le=1000,
        description="Samples per prompt.",
        json_schema_extra=told(
            unit="samples", why="At 5, compile@5 of a prompt is only ever 0 or 1; the estimator is arXiv:2107.03374's."
        ),
    )
    temperature: float = Field(
        0.7,
        ge=0,
        le=5,
        description="Spread of sampling; 0 is greedy.",
        json_schema_extra=told(
            unit="logits", why="Between the best for pass@1 and for pass@100 (arXiv:2107.03374, section 3)."
        ),
    )
    top_p: float = Field(
        0.95,
        gt=0,
        le=1,
        description="Nucleus sampling (arXiv:1904.09751); 1 is off.",
        json_schema_extra=told(unit="probability", why="That of the code benchmarks (arXiv:2107.03374)."),
    )
    top_k: int = Field(
        0,
        ge=0,
        le=1_000_000,
        description="Sample among this many tokens; 0 is off.",
        json_schema_extra=told(unit="tokens", why="top_p alone cuts the tail (arXiv:1904.09751)."),
    )
    min_p: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Least share of the likeliest token's probability (arXiv:2407.01082); 0 is off.",
        json_schema_extra=told(unit="share", why="top_p alone cuts the tail (arXiv:1904.09751)."),
    )
    repetition_penalty: float = Field(
        1.0,
        gt=0,
        le=10,
        description="Penalty on tokens that were there before (arXiv:1909.05858); 1 is off.",
        json_schema_extra=told(unit="factor", why="Programs repeat names by right."),
    )
    max_new_tokens: int = Field(
        1024,
        ge=1,
        le=131_072,
        description="Longest answer; a longer one counts as failed.",
        json_schema_extra=told(unit="tokens", why="Room for a whole program with its explanation."),
    )
    stop: tuple[str, ...] = Field(
        (),
        description="Texts that end an answer, besides the end of turn.",
        strict=False,
        json_schema_extra=told(why="An instruct model ends its turn itself; one that does not has failed."),
    )
    seed: int = Field(
        42,
        ge=0,
        lt=2**32,
        description="Seed of sampling.",
        json_schema_extra=told(unit="seed", why="Any will do; fixed, so that answers can be drawn again."),
    )
    batch_size: int = Field(
        16,
        ge=1,
        le=4096,
        description="Answers generated at once; in bfloat16 it can change a text.",
        json_schema_extra=told(unit="answers", why="Fits a 32B base in NF4 on one GPU of 80 GB."),
    )
    system_prompt: str = Field(
        SYSTEM_PROMPT,
        min_length=1,
        description="The system message before every prompt.",
        json_schema_extra=told(why="The dataset's own: the model is asked as it was taught."),
    )

    @model_validator(mode="before")
    @classmethod
    def _whole_numbers_are_numbers(cls, values: object) -> object:
        """`temperature: 1` is 1.0: one meaning, one digest."""
        if isinstance(values, dict):
            floats = ("temperature", "top_p", "min_p", "repetition_penalty")
            return {k: float(v) if k in floats and type(v) is int and abs(v) < 2**53 else v for k, v in values.items()}
        return values

    @model_validator(mode="after")
    def _greedy_is_one(self) -> SamplingSpec:
        if self.temperature == 0 and self.n != 1:
            raise conflict(
                f"temperature 0 gives {self.n} times the same answer; write n: 1, or a temperature", "temperature", "n"
            )
        return self


class GateSpec(Section):
    """Decided before the run, on strict compile@1."""

    min_effect: float = Field(
        0.10,
        gt=0,
        lt=1,
        description="Smallest gain over the base that is worth a release.",
        json_schema_extra=told(unit="share", why="What 50 prompts x 10 samples detect with 80 % power."),
    )


class EvalSpec(Section):
    """The suite, the judge, the sampling and the gate."""

    prompts: tuple[str, ...] = Field(
        tuple(f"eval/prompts/{tier}/*.jsonl" for tier in ("syntax", "factual", "general", "realistic")),
        min_length=1,
        description="Prompt files of the suite; * matches within a folder.",
        strict=False,
        json_schema_extra=told(why="All tiers: what it learnt, what it forgot, and answers for people to rate."),
    )
    compiler: CompilerSpec = Field(description="Who judges the programs.")
    sampling: SamplingSpec = Field(default_factory=SamplingSpec, description="How answers are drawn.")
    k: tuple[int, ...] = Field(
        (1, 5),
        min_length=1,
        description="compile@k is reported for these k.",
        strict=False,
        json_schema_extra=told(unit="samples", why="One answer, and a handful to choose from (arXiv:2107.03374)."),
    )
    gate: GateSpec = Field(default_factory=GateSpec, description="What counts as better.")
    few_shot: int = Field(
        0,
        ge=0,
        le=8,
        description="Examples of the training side before each prompt of a second baseline; 0 is none.",
        json_schema_extra=told(unit="examples", why="Each makes every prompt of that baseline longer."),
    )
    references: tuple[Reference, ...] = Field(
        (),
        max_length=20,
        description="Other models that answer the same prompts and decide nothing.",
        strict=False,
        json_schema_extra=told(why="Only base and tuned model, by one back end, decide."),
    )

    @model_validator(mode="after")
    def _references_have_names(self) -> EvalSpec:
        names = [reference.name for reference in self.references]
        for at, name in enumerate(names):
            if name in names[:at]:
                raise conflict(f"{name} is the name of another reference; each has its own", f"references.{at}.name")
        return self

    @model_validator(mode="after")
    def _k_within_n(self) -> EvalSpec:
        for k in self.k:
            if not 1 <= k <= self.sampling.n:
                raise conflict(f"compile@{k} needs 1 <= k <= n, and sampling.n is {self.sampling.n}", "k", "sampling.n")
        return self
