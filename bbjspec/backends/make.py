"""The plan as a Makefile for GNU Make 4, and the small writer that knows how Make quotes.

Exact by three things. A stage is a rule only when the plan says that it runs, so that a Makefile of a finished project
has none; a prerequisite is order-only, so that no modification time counts; and a bare `.SECONDARY:` keeps Make from
making again what a whole stage no longer needs.

What it is not: a scheduler. Of jobs that want the GPU one runs and the others wait for it, each in a slot of -j; a
stage's threads are not counted. Nor does it follow an edit: a Makefile is one plan, and after an edit it is compiled
again. An old one is harmless: its stages do what their stage.json says, or refuse because a file has changed since.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence

from bbjspec.errors import BadInput
from bbjspec.plan import ExperimentPlan
from bbjspec.stage import KINDS, Stage
from bbjspec.store import DONE, STAGE
from bbjspec.workflow import INVALID, Workflow, command

GPU_LOCK = "build/gpu.lock"
_PATH = re.compile(r"[A-Za-z0-9._/-]+")
_HEAD = """\
# Made by `bbjspec compile --to make`: one plan, as of then. After an edit, compile again.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS += --no-builtin-rules --keep-going
.ONESHELL:
.DELETE_ON_ERROR:
.SECONDARY:
"""


def escape(line: str) -> str:
    """A line of shell as a recipe holds it. Raises BadInput for a line break, which would be another line of Make."""
    if "\n" in line or "\r" in line:
        raise BadInput(f"{line!r}: Make cannot hold a line break in a command")
    return line.replace("$", "$$")


def path(name: str) -> str:
    """The name of a target or prerequisite. Raises BadInput for one that Make would take for more than a name."""
    if not _PATH.fullmatch(name) or name.startswith("-"):
        raise BadInput(f"{name!r}: Make takes paths of letters, digits, “.”, “_”, “-” and “/”; rename it")
    return name


def rule(target: str, *, after: Iterable[str] = (), order_only: Iterable[str] = (), recipe: Sequence[str] = ()) -> str:
    """One explicit rule. Commands are shell, not yet escaped; they are not echoed, since stages say what they do."""
    words = [f"{path(target)}:", *map(path, after)]
    if before := [path(name) for name in order_only]:
        words += ["|", *before]
    return (
        "\n".join(
            [
                " ".join(words),
                *(f"\t@{escape(line)}" if i == 0 else f"\t{escape(line)}" for i, line in enumerate(recipe)),
            ]
        )
        + "\n"
    )


def phony(targets: Iterable[str]) -> str:
    """Names that are never files."""
    return " ".join([".PHONY:", *map(path, targets)]) + "\n"


def render(workflow: Workflow) -> str:
    """The Makefile. Targets: `all`, the default, and each experiment; a bad spec's target fails and says why."""
    plan = workflow.plan
    wanted = {name: _wanted(workflow, name) for name in workflow.experiments}
    # A bad spec without a usable name has no target of its own, and must not pass in silence. It comes last.
    everything = sorted({target for targets in wanted.values() for target in targets} - {INVALID})
    everything += [INVALID] if plan.bad else []
    blocks = [_HEAD, phony(["all", *wanted]) + rule("all", after=everything)]
    blocks += [rule(name, after=targets) for name, targets in wanted.items()]
    needed: dict[str, Stage] = {}
    for experiment in plan.experiments.values():
        needed |= {stage.digest: stage for stage in plan.needed(experiment)}
    blocks += [_stage(workflow, stage) for stage in needed.values()]
    blocks += [_publish(workflow, e) for e in plan.experiments.values() if plan.experiment_state(e) == "to run"]
    if plan.bad:
        told = "echo 'the specs are good by now: compile the Makefile again' >&2"
        blocks.append(rule(INVALID, recipe=[command("check"), told, "exit 1"]))
    return "\n".join(blocks)


def _wanted(workflow: Workflow, name: str) -> list[str]:
    """What an experiment's target asks for: nothing when it is published, and Make then says so."""
    experiment = workflow.plan.experiments.get(name)
    done = experiment is not None and workflow.plan.experiment_state(experiment) != "to run"
    return [] if done else workflow.target(name)


def _stage(workflow: Workflow, stage: Stage) -> str:
    line = command("run", f"{stage.directory}/{STAGE}")
    if KINDS[stage.kind].gpu:
        line = f"flock {shlex.quote(GPU_LOCK)} {line}"
    before = workflow.markers(workflow.plan.inputs(stage))
    return rule(f"{stage.directory}/{DONE}", order_only=before, recipe=[f"exec {line}"])


def _publish(workflow: Workflow, experiment: ExperimentPlan) -> str:
    line = command("run", f"{experiment.publish_directory}/{STAGE}")
    before = workflow.markers(workflow.published_stages(experiment))
    return rule(f"{experiment.publish_directory}/{DONE}", order_only=before, recipe=[f"exec {line}"])
