"""Reading generations.jsonl: every (task, sample) of the suite exactly once, all made in the same way."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bbjspec.errors import StageFailed
from bbjspec.stages.verdicts import Sample
from bbjspec.suite import Prompt

SHOWN = 5  # rows named in a message
_FIELDS: dict[str, type] = {"task_id": str, "sample_idx": int, "completion": str, "finish_reason": str}


@dataclass(frozen=True)
class Generations:
    """The answers, sorted by prompt and sample, and what is the same for all of them."""

    samples: tuple[Sample, ...]
    model: Mapping[str, Any]
    sampling: Mapping[str, Any]
    backend: str


def read_generations(path: Path, prompts: Sequence[Prompt], n: int) -> Generations:
    """`n` samples of each prompt. Raises StageFailed for rows that are broken, missing, doubled, unknown or mixed."""
    known = {prompt.id: prompt for prompt in prompts}
    found: dict[tuple[str, int], Sample] = {}
    doubled, unknown = [], []
    made: list[Any] = []
    for line, row in _rows(path):
        key = (row["task_id"], row["sample_idx"])
        if key[0] not in known or not 0 <= key[1] < n:
            unknown.append(f"{key[0]} sample {key[1]} (line {line})")
        elif key in found:
            doubled.append(f"{key[0]} sample {key[1]} (line {line})")
        else:
            found[key] = Sample(known[key[0]], key[1], row["completion"], row["finish_reason"])
        how = [row.get(name) for name in ("model", "sampling", "backend")]
        if how not in made:
            made.append(how)
    missing = [f"{name} sample {i}" for name in known for i in range(n) if (name, i) not in found]
    for what, names in (("doubled", doubled), ("not of this suite", unknown), ("missing", missing)):
        if names:
            shown = ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
            raise StageFailed(f"{path.name}: {what}: {shown}; remove the generate stage's directory and run again")
    if len(made) != 1:
        raise StageFailed(f"{path.name}: rows of {len(made)} different models, sampling blocks or back ends are mixed")
    model, sampling, backend = made[0]
    return Generations(tuple(found[key] for key in sorted(found)), model or {}, sampling or {}, str(backend))


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise StageFailed(f"{path.name}: cannot be read: {error}") from error
    for line, content in enumerate(text.split("\n"), start=1):
        if not content.strip():
            continue
        try:
            row = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise StageFailed(f"{path.name}:{line}: not JSON; remove the generate stage's directory") from error
        if not isinstance(row, dict):
            raise StageFailed(f"{path.name}:{line}: an object is meant")
        for name, kind in _FIELDS.items():
            if not isinstance(row.get(name), kind) or isinstance(row[name], bool):
                raise StageFailed(f"{path.name}:{line}: {name}: {kind.__name__} is meant, not {row.get(name)!r:.60}")
        if not row["completion"].isascii() and any("\ud800" <= sign <= "\udfff" for sign in row["completion"]):
            raise StageFailed(f"{path.name}:{line}: completion: half a surrogate pair, which is no text")
        yield line, row
