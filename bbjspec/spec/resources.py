"""`resources`: what a run may use. No part of any digest: it says where a result is made, not what it is."""

from __future__ import annotations

from pydantic import Field, field_validator, model_validator

from bbjspec.spec.base import Section, conflict, told

_MODEL = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_."


class ResourcesSpec(Section):
    """The devices of one machine, and what a job of a stage that holds a model asks a cluster for."""

    gpu: int = Field(
        1,
        ge=0,
        le=8,
        description="GPUs of one machine for training, the batch divided among them. Generation takes one whatever "
        "this says; 0 runs both on the CPU.",
        json_schema_extra=told(
            unit="GPUs", why="One GPU of 48 GB and more holds a 32B base in NF4 with its adapter (arXiv:2305.14314)."
        ),
    )
    gpu_model: str | None = Field(
        None,
        min_length=1,
        max_length=64,
        description="Cluster: the GPU's model, called as `sinfo -o %G` shows it (`h100`); null: any.",
        json_schema_extra=told(why="Names differ from cluster to cluster."),
    )
    mem_mb: int = Field(
        65_536,
        ge=256,
        le=8_000_000,
        description="Cluster: memory of a job that trains, generates or converts, beside the GPU's own.",
        json_schema_extra=told(
            unit="MB", why="The weights of a 32B base in 16 bits pass through it while they are loaded."
        ),
    )
    runtime: int = Field(
        1440,
        ge=5,
        le=525_600,
        description="Cluster: the time limit of such a job. A training that takes longer saves, and goes on in a job "
        "of its own.",
        json_schema_extra=told(unit="minutes", why="Most clusters have a queue for a day."),
    )
    cpus_per_task: int = Field(
        8,
        ge=1,
        le=512,
        description="Cluster: cores of such a job, for all its GPUs together.",
        json_schema_extra=told(unit="cores", why="What such a stage takes on one machine."),
    )

    @field_validator("gpu_model")
    @classmethod
    def _is_a_name(cls, name: str | None) -> str | None:
        # What SLURM's plugin takes; anything else would only be refused when the job is submitted.
        if name is not None and set(name) - set(_MODEL):
            raise ValueError("not a GPU's name: letters, digits, _ and . alone, as `sinfo -o %G` shows it (h100)")
        return name

    @model_validator(mode="after")
    def _a_model_is_a_gpus(self) -> ResourcesSpec:
        if self.gpu_model is not None and self.gpu == 0:
            raise conflict(f"gpu_model {self.gpu_model} without a GPU; write gpu: 1, or null", "gpu_model", "gpu")
        return self
