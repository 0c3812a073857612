"""What an experiment says: one YAML file, validated into a frozen `Experiment` with every default filled in."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, model_validator

from bbjspec import yamlio
from bbjspec.errors import BadInput, Finding
from bbjspec.spec.base import Section
from bbjspec.spec.card import CardSpec
from bbjspec.spec.data import DataSpec
from bbjspec.spec.eval import EvalSpec
from bbjspec.spec.lora import LoraSpec
from bbjspec.spec.model import ModelSpec
from bbjspec.spec.resources import ResourcesSpec
from bbjspec.spec.tracking import TrackingSpec
from bbjspec.spec.training import TrainingSpec

__all__ = ["Experiment", "experiment_name", "load_experiment"]

NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")
# `all` is the workflow's own target; Windows and Make have no business with names that end in a dot.
RESERVED = frozenset({"all"})


class Experiment(Section):
    """One experiment, complete."""

    description: str = Field("", description="What this run is meant to find out; shown in the card.")
    model: ModelSpec = Field(description="The base model.")
    data: DataSpec = Field(default_factory=DataSpec, description="Rows, filters, split.")
    lora: LoraSpec = Field(default_factory=LoraSpec, description="The adapter.")
    training: TrainingSpec = Field(default_factory=TrainingSpec, description="How it is learned.")
    tracking: TrackingSpec = Field(default_factory=TrackingSpec, description="Where training reports to.")
    eval: EvalSpec = Field(description="How it is judged.")
    card: CardSpec = Field(default_factory=CardSpec, description="The model card.")
    resources: ResourcesSpec = Field(default_factory=ResourcesSpec, description="What a run may use.")

    @model_validator(mode="after")
    def _cpu_optimizer(self) -> Experiment:
        if self.resources.gpu == 0 and self.training.optim.startswith("paged"):
            raise ValueError(
                f"training.optim {self.training.optim} needs a GPU; with resources.gpu 0 write adamw_torch"
            )
        return self


def experiment_name(path: Path) -> str:
    """The experiment's name, which is its file's. Raises BadInput for one that is no safe name."""
    name = path.name.removesuffix(".yaml")
    if not NAME.fullmatch(name) or name.endswith(".") or name in RESERVED or path.suffix != ".yaml":
        hint = "a reserved word" if name in RESERVED else "lower-case letters, digits, “.”, “_” and “-” are meant"
        raise BadInput([Finding(f"experiments/{path.name!r}"[:200], 0, 0, "", f"not an experiment's name: {hint}")])
    return name


def load_experiment(path: Path, shown: str) -> Experiment:
    """Read and validate one spec. `shown` is how messages name the file. Raises BadInput with every finding at once."""
    raw = yamlio.load(path, shown)
    try:
        return Experiment.model_validate(raw)
    except ValidationError as error:
        findings = {_finding(path, shown, dict(item)) for item in error.errors(include_url=False)}
        raise BadInput(sorted(findings)) from error


def _finding(path: Path, shown: str, item: dict[str, Any]) -> Finding:
    at = [step for step in item["loc"] if not str(step).startswith(("function-", "literal", "tuple", "constrained"))]
    dotted = ".".join(map(str, at))
    kind, context = item["type"], item.get("ctx", {})
    if kind == "extra_forbidden":
        known = _fields(at[:-1])
        close = difflib.get_close_matches(str(at[-1]), known, n=1)
        message = "unknown field; " + (f"did you mean {close[0]}?" if close else f"known here: {', '.join(known)}")
        return Finding(shown, *yamlio.locate(path, shown, at, key=True), dotted, message)
    if kind == "missing":
        return Finding(shown, *yamlio.locate(path, shown, at[:-1], key=True), dotted, "missing; it has no default")
    if kind == "value_error":
        message = str(context.get("error", item["msg"]))
    else:
        message = item["msg"][0].lower() + item["msg"][1:]
        if not isinstance(item["input"], dict):
            message += f"; found {_short(item['input'])}"
    return Finding(shown, *yamlio.locate(path, shown, at, key=False), dotted, message)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"


def _fields(at: list[str | int]) -> list[str]:
    model: Any = Experiment
    for step in at:
        model = model.model_fields[step].annotation
    return sorted(model.model_fields)
