"""`tracking`: where training reports to while it runs."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from bbjspec.spec.base import Section, told


class TrackingSpec(Section):
    """Not part of any digest: it watches a run, it does not change one."""

    report_to: Literal["tensorboard"] = Field(
        "tensorboard",
        description="TensorBoard events, in the stage's folder.",
        json_schema_extra=told(why="Needs no account and no network; the files stay beside the result."),
    )
