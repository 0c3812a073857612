"""`eval`: how "did it get better?" is answered."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from bbjspec.spec.base import Section

SYSTEM_PROMPT = "You are an expert BBj programmer who helps users write and understand BBj code."


class CompilerSpec(Section):
    """Who judges. Nothing is chosen silently: another compiler is another result."""

    name: Literal["builtin", "bbjcpl"] = Field(description="The embedded checker (approximate), or BBj's own compiler.")
    version: str | None = Field(None, description="bbjcpl's version, such as 26.03; another one found is refused.")
    path: str | None = Field(None, description="Where bbjcpl is, when not on PATH or in BBJ_HOME/bin.")

    @model_validator(mode="after")
    def _versioned(self) -> CompilerSpec:
        if self.name == "bbjcpl" and not self.version:
            raise ValueError("version is needed with bbjcpl: the version of BBj that is meant, such as “26.03”")
        if self.name == "builtin" and self.path:
            raise ValueError("path belongs to bbjcpl alone; leave it out")
        return self


class SamplingSpec(Section):
    """One complete block: nothing is left to a back end's defaults or to the base's own generation_config."""

    n: int = Field(10, ge=1, description="Samples per prompt.")
    temperature: float = Field(0.7, ge=0, description="0 is greedy.")
    top_p: float = Field(0.95, gt=0, le=1, description="Nucleus sampling.")
    top_k: int = Field(0, ge=0, description="0 is off.")
    min_p: float = Field(0.0, ge=0, lt=1, description="0 is off.")
    repetition_penalty: float = Field(1.0, gt=0, description="1 is off.")
    max_new_tokens: int = Field(1024, ge=1, description="Longest answer, in tokens; a longer one counts as failed.")
    stop: tuple[str, ...] = Field((), description="Texts that end an answer, besides the end of turn.", strict=False)
    seed: int = Field(42, ge=0, lt=2**32, description="Seed of sampling.")
    batch_size: int = Field(16, ge=1, description="Answers generated at once; in bfloat16 it can change a text.")
    system_prompt: str = Field(SYSTEM_PROMPT, min_length=1, description="The system message before every prompt.")

    @model_validator(mode="after")
    def _greedy_is_one(self) -> SamplingSpec:
        if self.temperature == 0 and self.n != 1:
            raise ValueError(f"temperature 0 gives {self.n} times the same answer; write n: 1, or a temperature")
        return self


class GateSpec(Section):
    """Decided before the run, on strict compile@1."""

    min_effect: float = Field(0.10, gt=0, lt=1, description="Smallest gain over the base that is worth a release.")


class EvalSpec(Section):
    """The suite, the judge, the sampling and the gate."""

    prompts: tuple[str, ...] = Field(
        ("eval/prompts/syntax/*.jsonl", "eval/prompts/factual/*.jsonl"),
        min_length=1,
        description="Prompt files of the suite; * matches within a folder.",
        strict=False,
    )
    compiler: CompilerSpec = Field(description="Who judges the programs.")
    sampling: SamplingSpec = Field(default_factory=SamplingSpec, description="How answers are drawn.")
    k: tuple[int, ...] = Field((1, 5), min_length=1, description="compile@k is reported for these k.", strict=False)
    gate: GateSpec = Field(default_factory=GateSpec, description="What counts as better.")

    @model_validator(mode="after")
    def _k_within_n(self) -> EvalSpec:
        for k in self.k:
            if not 1 <= k <= self.sampling.n:
                raise ValueError(f"compile@{k} needs 1 <= k <= n, and sampling.n is {self.sampling.n}")
        return self
