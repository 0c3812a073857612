"""Stages: what one is when planned (`Stage`), what one is when run (`StageRun`), and the table of kinds.

A stage's digest names its directory, `build/<kind>/<digest>/`. It is made of the kind, the kind's version, exactly the
configuration that the stage consumes, the digests of the stages it builds on, and the SHA-256 of the source files it
reads. Resources are not in it: they say where a result is made, not what it is.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from bbjspec.digest import digest

VOLATILE = "volatile"  # the digest of a server's model that reports none


@dataclass(frozen=True)
class Kind:
    """One kind of stage: a row of the table below.

    `version` is part of the digest: it changes when the stage's code makes other bytes from the same input.
    `outputs` are files that a rerun reproduces byte for byte on one machine; `records` are files that say how, when
    and where it went (times, host, library versions), equally kept but never the same twice. A name that ends in `/`
    is a folder whose every file counts. `publish` maps outputs to their names under `adapters/<experiment>/`, a folder
    to what stands before its files' names there. Stages
    with `gpu` take the machine's one GPU slot: engines run them one at a time, on the CPU too.
    """

    version: int
    outputs: tuple[str, ...]
    records: tuple[str, ...] = ()
    publish: Mapping[str, str] = field(default_factory=dict)
    gpu: bool = False


KINDS: dict[str, Kind] = {
    "tokenizer": Kind(1, ("tokenizer/",)),
    "audit": Kind(2, ("audit.json",), publish={"audit.json": "audit.json"}),
    "split": Kind(
        2,
        ("train.jsonl", "val.jsonl", "ledger.json"),
        publish={"train.jsonl": "train.jsonl", "val.jsonl": "val.jsonl", "ledger.json": "ledger.json"},
    ),
    "contamination": Kind(2, ("contamination.json",), publish={"contamination.json": "contamination.json"}),
    "base": Kind(1, ("model.json", "model/")),
    "train": Kind(
        2,
        ("adapter/", "ledger.json", "loss.svg", "loss.png"),
        records=("training_log.json", "training_config.json", "tensorboard/"),
        publish={
            "adapter/adapter_model.safetensors": "adapter_model.safetensors",
            "adapter/adapter_config.json": "adapter_config.json",
            "training_log.json": "training_log.json",
            "training_config.json": "training_config.json",
            "ledger.json": "ledger.json",
            "loss.svg": "loss.svg",
            "loss.png": "loss.png",
        },
        gpu=True,
    ),
    "gguf": Kind(1, ("gguf/", "gguf.json")),
    "generate": Kind(
        1,
        ("generations.jsonl",),
        records=("generation_record.json",),
        publish={
            "generations.jsonl": "generations.jsonl",
            "generation_record.json": "generation_record.json",
        },
        gpu=True,
    ),
    "score": Kind(
        2,
        ("scores.jsonl", "results.json"),
        publish={"scores.jsonl": "scores.jsonl", "results.json": "eval_results.json"},
    ),
    "compare": Kind(2, ("comparison.json",), publish={"comparison.json": "comparison.json"}),
    "release": Kind(1, ("export.json", "release/"), publish={"export.json": "export.json", "release/": ""}),
    "card": Kind(
        3,
        ("MODEL_CARD.md", "scores.svg", "categories.svg", "funnel.svg"),
        publish={name: name for name in ("MODEL_CARD.md", "scores.svg", "categories.svg", "funnel.svg")},
    ),
}


@dataclass(frozen=True)
class Source:
    """Files of the repository that a stage reads, and the SHA-256 of what it reads of them.

    `files` are POSIX paths relative to the project's root. `view` names the part that counts: `bytes` is all of each
    file; other views are kept by `bbjspec.suite`. Paths are not part of the digest: a renamed file is the same data.
    """

    files: tuple[str, ...]
    sha256: str
    view: str = "bytes"


@dataclass(frozen=True)
class Stage:
    """A planned stage. Equal digests are one stage, whichever experiments ask for it."""

    kind: str
    config: Mapping[str, Any]
    inputs: Mapping[str, Stage] = field(default_factory=dict)
    sources: Mapping[str, Source] = field(default_factory=dict)
    resources: Mapping[str, Any] = field(default_factory=dict)

    @property
    def version(self) -> int:
        """The version of the stage's kind."""
        return KINDS[self.kind].version

    def _identity(self, *, versioned: bool) -> str:
        return digest(
            {
                "kind": self.kind,
                "version": self.version if versioned else None,
                "config": self.config
                if versioned
                else {k: v for k, v in self.config.items() if k != "builtin_version"},
                "inputs": {role: s.digest if versioned else s.lineage for role, s in self.inputs.items()},
                "sources": {role: [source.view, source.sha256] for role, source in self.sources.items()},
            }
        )

    @cached_property
    def digest(self) -> str:
        """16 hex digits that name the stage's directory."""
        return self._identity(versioned=True)

    @cached_property
    def lineage(self) -> str:
        """The digest without any stage's version: equal lineage, other digest means "only bbjspec itself changed"."""
        return self._identity(versioned=False)

    @cached_property
    def volatile(self) -> bool:
        """Whether it is, or builds on, answers of a model without a digest: never taken from what is published."""
        return self.config.get("digest") == VOLATILE or any(upstream.volatile for upstream in self.inputs.values())

    @property
    def directory(self) -> str:
        """`build/<kind>/<digest>`, relative to the project's root."""
        return f"build/{self.kind}/{self.digest}"


@dataclass(frozen=True)
class StageRun:
    """A stage at work: what `bbjspec.stages.<kind>.run` is given. All paths are absolute.

    Outputs go straight into `directory` under the names that KINDS lists: nothing there counts until the store has
    written the manifest. `work` survives a kill (training's checkpoints live there) and is removed once all is whole.
    """

    kind: str
    digest: str
    root: Path
    directory: Path
    config: Mapping[str, Any]
    inputs: Mapping[str, Path]
    sources: Mapping[str, Sequence[Path]]
    resources: Mapping[str, Any] = field(default_factory=dict)
    log: logging.Logger = field(default_factory=lambda: logging.getLogger("bbjspec.stage"))

    @property
    def work(self) -> Path:
        """The scratch directory, made on first use."""
        path = self.directory / "work"
        path.mkdir(parents=True, exist_ok=True)
        return path

    def input(self, role: str) -> Path:
        """The directory of the upstream stage in that role. Raises KeyError for a role that the plan did not name."""
        return self.inputs[role]
