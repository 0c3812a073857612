"""`resources`: what a run may use. No part of any digest: it says where a result is made, not what it is."""

from __future__ import annotations

from pydantic import Field

from bbjspec.spec.base import Section, told


class ResourcesSpec(Section):
    """The devices of one machine."""

    gpu: int = Field(
        1,
        ge=0,
        le=8,
        description="GPUs for training, the batch divided among them. Generation takes one whatever this says; 0 runs "
        "both on the CPU.",
        json_schema_extra=told(
            unit="GPUs", why="One GPU of 48 GB and more holds a 32B base in NF4 with its adapter (arXiv:2305.14314)."
        ),
    )
