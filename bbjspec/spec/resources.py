"""`resources`: what a run may use. No part of any digest: it says where a result is made, not what it is."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from bbjspec.spec.base import Section, told


class ResourcesSpec(Section):
    """The devices of one machine."""

    gpu: Literal[0, 1] = Field(
        1,
        description="GPUs for training and generation; 0 runs both on the CPU.",
        json_schema_extra=told(
            unit="GPUs", why="One GPU of 48 GB and more holds a 32B base in NF4 with its adapter (arXiv:2305.14314)."
        ),
    )
