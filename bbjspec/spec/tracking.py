"""`tracking`: where a training can be watched while it runs, besides the TensorBoard events of its stage's folder."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, field_validator

from bbjspec.spec.base import Section, told

_NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}"


class WandbSpec(Section):
    """Weights & Biases. Its key stands in the environment (WANDB_API_KEY), never here."""

    project: str = Field(description="The project that the run is shown in.")
    entity: str | None = Field(
        None,
        description="The user or team that the project belongs to.",
        json_schema_extra=told(why="Null: the one that the key belongs to."),
    )
    mode: Literal["online", "offline"] = Field(
        "online",
        description="offline: written to the stage's folder alone, for `wandb sync`.",
        json_schema_extra=told(why="W&B's own default: who names a project wants to watch the run in it."),
    )

    @field_validator("project", "entity")
    @classmethod
    def _a_name(cls, name: str | None) -> str | None:
        if name is not None and not re.fullmatch(_NAME, name):
            raise ValueError(f"{name!r} is no name of W&B's: letters, digits, “.”, “_” and “-”, 128 at most")
        return name


class TrackingSpec(Section):
    """Not part of any digest: it watches a run, it does not change one, and it cannot fail one."""

    wandb: WandbSpec | None = Field(
        None,
        description="Report to Weights & Biases as well; the run is called as its experiment.",
        json_schema_extra=told(
            why="TensorBoard events are always written: no account, no network, and they stay beside the result."
        ),
    )
