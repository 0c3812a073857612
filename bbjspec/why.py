"""What each experiment's stages are about: whole, published, to run, and why. Data alone; `planview` prints it.

States: `whole` (in build/), `published` (in the repository), `outdated` (only bbjspec itself changed since it was
published: kept), `running` (a process holds its directory's lock), `failed` (its log ends in an error), `to run`, and
`not needed` (it is not there, and nothing that is to run asks for it).
"""

from __future__ import annotations

import fcntl
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from bbjspec.history import History, changes
from bbjspec.owner import elsewhere
from bbjspec.plan import LOCKFILE, ExperimentPlan, Plan
from bbjspec.stage import Stage
from bbjspec.stagelog import LOG
from bbjspec.store import LOCK, MANIFEST, read_json

_RECORD = re.compile(r"^\d{4}-\d\d-\d\dT\S+ (DEBUG|INFO|WARNING|ERROR) (.*)$")
_TAIL = 65_536  # bytes of a log that are looked at: one error with its findings


@dataclass(frozen=True)
class StageReport:
    """One stage of an experiment. `why` has a reason an entry, for a stage that runs or failed; `stage` is None for
    publishing, which is no stage of its own."""

    role: str
    kind: str
    digest: str
    state: str
    runs: bool
    why: tuple[str, ...] = ()
    stage: Stage | None = field(default=None, compare=False)


@dataclass(frozen=True)
class ExperimentReport:
    """One experiment: its state (`published`, `outdated`, `to run`) and its stages, publishing last."""

    name: str
    state: str
    stages: tuple[StageReport, ...]


def report(plan: Plan, experiment: ExperimentPlan, history: History) -> ExperimentReport:
    """What is there of an experiment, what is to run, and why."""
    state = plan.experiment_state(experiment)
    needed = {stage.digest for stage in plan.needed(experiment)}
    rows = [_stage(plan, experiment, history, role, stage, state, needed) for role, stage in experiment.roles.items()]
    publishing = state == "to run"
    rows.append(
        StageReport(
            "publish",
            "publish",
            experiment.publish_digest,
            _unfinished(plan.root / experiment.publish_directory)[0] if publishing else state,
            publishing,
            (_why_published_again(plan, experiment),) if publishing else (),
        )
    )
    return ExperimentReport(experiment.name, state, tuple(rows))


def _stage(
    plan: Plan, experiment: ExperimentPlan, history: History, role: str, stage: Stage, state: str, needed: set[str]
) -> StageReport:
    there, runs = plan.state(stage), stage.digest in needed
    why: list[str] = []
    if there == "published" and runs:
        why = [f"a later stage reads it: copied from {_folder_of(plan, stage)}"]
    elif there == "to run":
        there, said = _unfinished(plan.root / stage.directory)
        if there == "to run" and state == "outdated":
            there = "outdated"
        elif there == "to run" and not runs:
            there = "not needed"
        why = [said] if said else []
        if runs:
            why += _reasons(plan, experiment, history, stage)
    return StageReport(role, stage.kind, stage.digest, there, runs, tuple(why), stage)


def _unfinished(directory: Path) -> tuple[str, str]:
    """`running`, `failed` or `to run`, and what there is to say of it."""
    if holder := lock_holder(directory):
        return "running", holder
    if not (directory / MANIFEST).exists() and (error := last_error(directory / LOG)):
        return "failed", f"the last run said: {error}"
    return "to run", ""


def lock_holder(directory: Path) -> str | None:
    """Who is at work in a stage's directory, or None. Looks without waiting and without leaving a trace.

    The probe shares the lock for an instant: a stage that starts at that very moment waits for it, and goes on.
    """
    try:
        descriptor = os.open(directory / LOCK, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return elsewhere(directory)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        said = os.read(descriptor, 200).decode("utf-8", "replace").strip().splitlines()
        return said[-1] if said else "a process"
    except OSError:  # a file system without locks
        pass
    finally:
        os.close(descriptor)
    return elsewhere(directory)


def last_error(log: Path) -> str | None:
    """The error that a stage's log ends with, in one line; None when it ends otherwise or is not there."""
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, log.stat().st_size - _TAIL))
            lines = stream.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return None
    for at in range(len(lines) - 1, -1, -1):
        if match := _RECORD.match(lines[at]):
            more = sum(bool(line.strip()) for line in lines[at + 1 :])
            return (match[2] + (f" (and {more} more)" if more else "")) if match[1] == "ERROR" else None
    return None


def _reasons(plan: Plan, experiment: ExperimentPlan, history: History, stage: Stage) -> list[str]:
    """Why a stage that is not there must be made."""
    if damage := _damage(plan, stage):
        return [damage]
    made = history.nearest(stage, experiment)
    if made is not None and made.digest == stage.digest:
        return ["made before, but no longer in build/"]
    why = ["never made before"] if made is None else changes(stage, made)
    called = {upstream.digest: role for role, upstream in experiment.roles.items()}  # as the plan calls them
    waits = [called[s.digest] for s in stage.inputs.values() if plan.state(s) == "to run"]
    if waits:
        why.append(f"its input{'s' * (len(waits) > 1)} {_and(waits)} {'are' if len(waits) > 1 else 'is'} to run")
    others = [
        called[s.digest]
        for role, s in stage.inputs.items()
        if made is not None and plan.state(s) != "to run" and made.inputs[role] != s.digest
    ]
    if others:
        why.append(f"its input{'s' * (len(others) > 1)} {_and(others)} {'are others' if others[1:] else 'is another'}")
    return why


def _damage(plan: Plan, stage: Stage) -> str | None:
    """What keeps a stage that was made from counting: a file of build/ or of what is published."""
    manifest = read_json(plan.root / stage.directory / MANIFEST)
    if manifest is not None or (plan.root / stage.directory / MANIFEST).exists():
        for name, entry in (manifest or {}).get("files", {}).items() if isinstance(manifest, dict) else ():
            file = plan.root / stage.directory / name
            if not file.is_file():
                return f"{stage.directory}/{name} is missing"
            if isinstance(entry, dict) and file.stat().st_size != entry.get("size"):
                return f"{stage.directory}/{name} is not the file that was made"
        return f"{stage.directory}/{MANIFEST} is broken"
    for folder, lock in plan.published.locks.items():
        if folder in plan.published.bad and stage.digest in lock["stages"]:
            return f"its published copy cannot be taken: {plan.published.bad[folder][0]}"
    return None


def _folder_of(plan: Plan, stage: Stage) -> str:
    paths = [str(entry["path"]) for entry in plan.published.stages[stage.digest].values()]
    return paths[0].rpartition("/")[0] if paths else "what is published"


def _why_published_again(plan: Plan, experiment: ExperimentPlan) -> str:
    digest, lineage = plan.published.cards.get(experiment.name, ("", ""))
    lock = f"{experiment.folders[1]}/{LOCKFILE}"
    if not digest:
        return f"{lock} is not there yet"
    if digest == experiment.card.digest and plan.places_ggufs(experiment):
        before = (plan.published.placed.get(experiment.name) or {}).get("dir")
        return f"export.dir {_value(before)} → {_value(experiment.spec.export.dir)}"
    if lineage == experiment.card.lineage:
        return f"{lock} names a card of another version of bbjspec, and a refresh is asked for"
    return f"{lock} names another card"


def _value(path: str | None) -> str:
    return "null" if path is None else path


def _and(words: list[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]
