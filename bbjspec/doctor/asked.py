"""What the experiments ask of this machine, read off their stages."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Literal

from bbjspec.doctor import probes
from bbjspec.errors import BbjspecError
from bbjspec.needs import GB
from bbjspec.plan import Plan
from bbjspec.spec import Experiment, load_experiment
from bbjspec.spec.references import GgufReference
from bbjspec.stage import Stage

State = Literal["ok", "lacks", "warning", "not needed"]
INSTALL = "make demo installs it, or pip install -r requirements.lock"
AGAIN = "ask again when the machine is less busy: bbjspec doctor"


@dataclass(frozen=True)
class Check:
    """One thing that experiments may need. `needed_by` names experiments, `remedy` is how to get it."""

    name: str
    state: State
    found: str
    purpose: str
    needed_by: tuple[str, ...] = ()
    remedy: str = ""


def judged(
    name: str,
    purpose: str,
    who: tuple[str, ...],
    found: str,
    remedy: str = "",
    *,
    good: bool = True,
    soft: bool = False,
) -> Check:
    """The check's result: nobody's need, met, or not (`soft`: the work is done without it)."""
    state: State = "not needed" if not who else "ok" if good else "warning" if soft else "lacks"
    return Check(name, state, found, purpose, who, "" if good else remedy)


class Asked:
    """What the experiments ask of this machine: the stages that are to run, and those that are copied back."""

    def __init__(self, plan: Plan, names: Collection[str] | None = None) -> None:
        self.plan = plan
        self.stages: dict[str, list[Stage]] = {}  # by experiment: those that are to be worked on here
        self.adopted: list[Stage] = []
        for name, experiment in plan.experiments.items():
            if names is not None and name not in names:
                continue
            needed = list(plan.needed(experiment))
            if not needed and names and plan.experiment_state(experiment) != "to run":
                needed = list(experiment.roles.values())  # asked by name: as if it were to be made anew
                self.stages[name] = needed
                continue
            self.adopted += [stage for stage in needed if plan.state(stage) == "published"]
            if plan.experiment_state(experiment) == "to run":
                self.stages[name] = [stage for stage in needed if plan.state(stage) == "to run"]
        self.unplanned = _unplanned(plan, names)
        self.bad = sorted(
            file
            for file in plan.bad_specs
            if (names is None or file.removesuffix(".yaml") in names)
            and file.removesuffix(".yaml") not in self.unplanned
        )

    @property
    def everyone(self) -> tuple[str, ...]:
        """Names of the experiments that have something to run."""
        return tuple(sorted({*self.stages, *self.unplanned}))

    def who(self, test: Callable[[Stage], object]) -> tuple[str, ...]:
        """The experiments that have a stage like that to run."""
        return tuple(name for name, stages in sorted(self.stages.items()) if any(test(stage) for stage in stages))

    def those(self, test: Callable[[Stage], object]) -> list[Stage]:
        """The stages like that, each once."""
        found = {stage.digest: stage for stages in self.stages.values() for stage in stages if test(stage)}
        return list(found.values())


def _unplanned(plan: Plan, names: Collection[str] | None) -> dict[str, Experiment]:
    """Good specs that have no plan because llama-cpp-python is missing: its version is part of what they mean."""
    if probes.version("llama_cpp_python") is not None:
        return {}
    found = {}
    for file in plan.bad_specs:
        name = file.removesuffix(".yaml")
        if names is None or name in names:
            try:
                spec = load_experiment(plan.root / "experiments" / file, f"experiments/{file}")
            except BbjspecError:
                continue
            if spec.export.gguf or any(isinstance(one, GgufReference) for one in spec.eval.references):
                found[name] = spec
    return found


def base_of(stage: Stage) -> tuple[str, str | None] | None:
    """The base that a stage reads, and its revision."""
    if stage.kind in ("tokenizer", "base"):
        return stage.config["base"], stage.config.get("revision")
    if stage.kind in ("train", "gguf") or by_transformers(stage):
        return stage.config["model"]["base"], stage.config["model"].get("revision")
    return None


def backend(stage: Stage) -> str | None:
    """What a `generate` stage generates with; None for other kinds."""
    return str(stage.config.get("backend", "transformers")) if stage.kind == "generate" else None


def by_transformers(stage: Stage) -> bool:
    """Whether it generates with the base itself."""
    return backend(stage) == "transformers"


def by_torch(stage: Stage) -> bool:
    """Whether it computes with torch."""
    return stage.kind in ("base", "train", "gguf") or by_transformers(stage)


def gpus(stage: Stage) -> int:
    """How many GPUs it works on: generation takes one at most."""
    count = int(stage.resources.get("gpu", 0) or 0) if stage.kind in ("train", "generate") else 0
    return count if stage.kind == "train" else min(count, 1)


def quantizes(stage: Stage) -> bool:
    """Whether it needs bitsandbytes."""
    held = stage.kind == "train" or by_transformers(stage)
    return bool(
        (held and stage.config["model"]["load_in_4bit"])
        or (stage.kind == "train" and str(stage.config["training"].get("optim", "")).startswith("paged"))
        or (stage.kind == "gguf" and stage.config["base_weights"] == "nf4")
    )


def bbjcpl_of(stage: Stage) -> tuple[str | None, str | None] | None:
    """bbjcpl's version and path, for a stage that asks it."""
    judge = stage.config.get("compiler") or stage.config.get("judge")
    if not isinstance(judge, dict) or judge.get("name") != "bbjcpl":
        return None
    return judge.get("version"), stage.resources.get("compiler_path")


def model_of(stage: Stage) -> dict[str, Any]:
    """The `model` section that it was given; empty for a stage without."""
    model = stage.config.get("model")
    return model if isinstance(model, dict) else {}


def equals(ask: Callable[[Stage], object], value: object, stage: Stage) -> bool:
    """Whether the answer for that stage is this one: a test for `Asked.who`, once the first two are given."""
    return ask(stage) == value


def gb(size: float) -> str:
    """Bytes as cards and disks are sold, decimal."""
    return f"{size / GB:,.1f} GB" if size >= GB / 10 else f"{size / 1e6:,.0f} MB"
