"""Engines other than Snakemake: a compiled plan as a text that another program runs or reads."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from bbjspec.backends import data, make
from bbjspec.errors import EnvironmentLacks, UsageError
from bbjspec.workflow import Workflow


class BackEnd(Protocol):
    """What a module of this package offers."""

    def render(self, workflow: Workflow) -> str:
        """The whole plan as text. Writes nothing. Raises BadInput for what the format cannot say."""
        ...


BACKENDS: dict[str, BackEnd] = {"make": make, "json": data}


def compile_to(name: str, root: Path, *, refresh: bool = False) -> str:
    """The plan of the project at `root`, for the back end of that name; and on disk what its run will need.

    Stages find their work in `build/<kind>/<digest>/stage.json`, which is written here as it is when Snakemake starts.
    `refresh`: results that are only outdated are made again. Raises UsageError for an unknown back end,
    EnvironmentLacks when build/ cannot be written.
    """
    if name not in BACKENDS:
        raise UsageError(f"no back end {name!r}; there are {', '.join(BACKENDS)}")
    try:
        workflow = Workflow(root, refresh=refresh)
        text = BACKENDS[name].render(workflow)
        workflow.prepare()
    except OSError as error:
        raise EnvironmentLacks(f"compile: {error.strerror}: {error.filename}") from error
    return text
