"""How a machine goes about a training: none of it is in a digest, and none of it changes what is learned, but for
rounding and for dropout's masks, which are drawn for each batch. Decided once, before anything is loaded, for all
processes alike."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from bbjspec.memory import Estimator, recomputes, training_memory
from bbjspec.stage import StageRun
from bbjspec.stages import devices, models


@dataclass(frozen=True)
class Ways:
    """`per_device` rows at a time in each of `processes`; `recompute` is gradient checkpointing."""

    per_device: int
    recompute: bool
    save_total_limit: int
    processes: int = 1

    @property
    def run(self) -> dict[str, Any]:
        """As the memory estimate wants it."""
        return {"per_device_train_batch_size": self.per_device, "gradient_checkpointing": self.recompute}


def decide(stage: StageRun) -> Ways:
    """The stage's own ways; `gradient_checkpointing: auto` is on where the device would be too small without.

    Raises EnvironmentLacks, with numbers and what to change, where the estimate says that training does not fit.
    """
    wanted, gpus = dict(stage.resources["training"]), models.gpus(stage)
    found, arch = devices.memory(gpus), models.architecture(stage)
    if arch is not None:
        recompute = recomputes(arch, stage.config, wanted, found.usable, gpu=gpus > 0)
    else:
        recompute = wanted["gradient_checkpointing"] is not False
    ways = Ways(
        per_device=wanted["per_device_train_batch_size"],
        recompute=recompute,
        save_total_limit=wanted["save_total_limit"],
        processes=max(1, gpus, stage.resources.get("processes", 1)),
    )
    ask = estimator(stage)
    if ask is not None:
        estimate = devices.require(ask, found, stage.config, ways.run, stage.config["model"]["base"])
        stage.log.info(
            "about %.2g GB of memory needed, %.3g GB to be had; activations are %s",
            estimate.total / devices.GB,
            found.usable / devices.GB,
            "computed twice to save memory" if recompute else "kept",
        )
    return ways


def estimator(stage: StageRun) -> Estimator | None:
    """What asks for the memory of another configuration; None where the base's sizes are not known."""
    arch = models.architecture(stage)
    return partial(training_memory, arch, gpu=models.gpus(stage) > 0) if arch is not None else None
