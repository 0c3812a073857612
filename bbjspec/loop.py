"""What `bbjspec` says without a command: the daily loop, with the names of the project at hand."""

from __future__ import annotations

import re
from pathlib import Path

from bbjspec.spec.names import is_name


def loop(root: Path) -> list[str]:
    """The lines. The newest spec is what the next one starts from; without a project the names are made up."""
    old, new = _names(root / "experiments") or ("v3", "v4")
    steps = {
        "new": f"bbjspec new {new} --from {old} --set lora.r=16",
        "check": f"bbjspec check {new}",
        "plan": f"bbjspec plan {new}",
        "run": f"snakemake --cores 8 {new} --resources gpu=1",
        "read": f"bbjspec card {new}",
        "compare": f"bbjspec compare {old} {new}",
    }
    return [
        "bbjspec: one YAML spec an experiment, from its dataset to its model card",
        "",
        *(f"  {step:<9} {command}" for step, command in steps.items()),
        "",
        "What this machine lacks for that: bbjspec doctor",
        "All commands: bbjspec --help; of each, with an example: bbjspec COMMAND --help; the guide: README.md",
    ]


def _names(experiments: Path) -> tuple[str, str] | None:
    """The newest spec's name, and the next free one after it."""
    try:
        ages = {path.stem: path.stat().st_mtime for path in experiments.glob("*.yaml") if is_name(path.stem)}
    except OSError:
        return None
    if not ages:
        return None
    old = max(sorted(ages), key=lambda name: ages[name])
    stem, number = re.fullmatch(r"(.*?)(\d{0,6})", old).groups()  # type: ignore[union-attr]
    if not number:
        stem, number = f"{old}-", "1"
    at = int(number) + 1
    while (new := f"{stem}{at:0{len(number)}}") in ages:
        at += 1
    return old, new
