"""What a stage's job asks a cluster for, in the words of Snakemake's SLURM plugin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ASKED = ("gpu", "gpu_model", "mem_mb", "runtime", "cpus_per_task", "nodes", "slurm_extra")
SIZES = ("mem_mb", "runtime", "cpus_per_task")
HEAVY = ("train", "generate", "gguf")  # hold a model: the spec's `resources` are meant for them
SMALL = {"mem_mb": 16_000, "runtime": 240}  # MB and minutes of the others' jobs; their cores are their rule's threads
# Two minutes before the time limit, to the job's processes: a step of training, and its checkpoint, take less.
SIGNAL = "--signal=TERM@120"


def gpus(kind: str, resources: Mapping[str, Any]) -> int:
    """How many GPUs a stage works on: generation takes one at most, what is neither training nor generation none."""
    count = int(resources.get("gpu", 0) or 0)
    return count if kind == "train" else min(count, 1) if kind == "generate" else 0


def asked(kind: str, resources: Mapping[str, Any]) -> dict[str, int | str]:
    """What the stage's job asks for, by the names of `ASKED`; what it does not ask for is not in it.

    `nodes` is 1: SLURM may gather several GPUs from several nodes, and a training's processes are those of one machine.
    """
    count = gpus(kind, resources)
    own = {name: resources[name] for name in SIZES if name in resources}
    model = resources.get("gpu_model") if count else None
    every = {
        "gpu": count or None,
        "gpu_model": model,
        **SMALL,
        **(own if kind in HEAVY else {}),
        "nodes": 1,
        "slurm_extra": SIGNAL,
    }
    return {name: value for name, value in every.items() if value is not None}
