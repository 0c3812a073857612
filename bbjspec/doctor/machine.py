"""Checks of the machine itself: disk, memory, cores, file locks."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from bbjspec.architecture import architecture
from bbjspec.doctor import probes
from bbjspec.doctor.asked import (
    Asked,
    Check,
    by_transformers,
    gb,
    gpus,
    judged,
)
from bbjspec.embedded import source_of
from bbjspec.memory import generation_memory, recomputes, training_memory
from bbjspec.needs import Needs
from bbjspec.stage import Stage


def disk(asked: Asked) -> Iterable[Check]:
    """Free space where build/ is, and where the Hub's cache is when something is to be fetched."""
    needs, root = Needs(asked.plan), asked.plan.root
    fetched = [s for s in asked.those(lambda s: s.kind == "base") if source_of(s.config["base"]) == "hub"]
    fetched = [s for s in fetched if not probes.hub_cached(s.config["base"], s.config.get("revision"))]
    made = asked.those(lambda s: s.kind != "base" or source_of(s.config["base"]) != "hub")
    places: list[tuple[str, Path, list[Stage]]] = [("build/", root / "build", made)]
    if fetched:
        places.append((f"the Hub's cache ({probes.hub_cache()})", probes.hub_cache(), fetched))
    devices = {name: probes.existing(path).stat().st_dev for name, path, _ in places}
    if len(places) == 2 and len(set(devices.values())) == 1:
        places = [("build/ and the Hub's cache", root / "build", made + fetched)]
    for name, path, stages in places:
        values = [needs.of(stage).disk for stage in stages]
        wanted, unknown = sum(value for value in values if value), None in values
        free = shutil.disk_usage(probes.existing(path)).free
        found = f"{gb(free)} free for {name}, about {gb(wanted)}{' and an unknown part' if unknown else ''} needed"
        yield judged(
            "disk", "stages and their weights", asked.everyone, found, "free some; bbjspec gc helps", good=free > wanted
        )


def memory(asked: Asked) -> Iterable[Check]:
    """This machine's memory against what training and generation on the CPU take."""
    from bbjspec.stages import devices

    here = devices.memory(0)
    wants: dict[str, float] = {}
    for stage in asked.those(lambda s: (s.kind == "train" or by_transformers(s)) and not gpus(s)):
        arch = architecture(stage.config["model"]["base"], asked.plan.root)
        if arch is None:
            continue
        if stage.kind == "train":
            run = stage.resources["training"]
            run = {**run, "gradient_checkpointing": recomputes(arch, stage.config, run, here.usable, gpu=False)}
            wants[stage.digest] = training_memory(arch, stage.config, run, gpu=False).total
        else:
            lora = stage.inputs["train"].config["lora"] if "train" in stage.inputs else None
            wants[stage.digest] = generation_memory(arch, stage.config, lora, gpu=False).total
    most = max(wants.values(), default=0.0)
    found = f"{gb(here.free)} of {gb(here.total)} free" + (f", about {gb(most)} needed on the CPU" if most else "")
    above = {digest for digest, value in wants.items() if value > here.free}
    who = asked.who(lambda stage: stage.digest in above) or asked.everyone
    remedy = "close something, or a smaller batch; bbjspec plan shows the stages"
    yield judged("memory", "work on the CPU", who, found, remedy, good=not above, soft=most <= here.total)


def cores(asked: Asked) -> Iterable[Check]:
    """Cores, and how many of them are granted."""
    count, granted = probes.cores()
    found = f"{count}" + (f", of which {granted:g} are granted" if granted is not None and granted < count else "")
    yield judged("CPU cores", "snakemake --cores", asked.everyone, found)


def locks(asked: Asked) -> Iterable[Check]:
    """Whether one process can keep another out of a stage."""
    place = probes.existing(asked.plan.root / "build")
    kind, purpose = probes.file_system(place), "one process at a time on a stage"
    on = f"build/ on {kind}" if kind else "build/"
    try:
        why = probes.locks(place)
    except OSError as error:
        remedy = "make build/ writable"
        yield judged("file locks", purpose, asked.everyone, f"{on}: {error.strerror}", remedy, good=False)
        return
    remedy = "put the project on a file system with flock: ext4, xfs, NFS 4"
    yield judged("file locks", purpose, asked.everyone, f"{on}: {why or 'they hold'}", remedy, good=not why)
