"""What has been generated, kept in the stage's scratch directory: a kill costs the batches in the works, no more.

The plan of batches is fixed by prompts, samples and batch size, and each batch has a seed of its own. A batch is
written whole, with an fsync, or not at all; what is missing is made again by the same plan. So a run that was
interrupted and went on equals one that was not.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bbjspec.generation.base import Answer, Task

Batch = Sequence[tuple[Task, int]]


def plan(tasks: Sequence[Task], n: int, size: int) -> list[list[tuple[Task, int]]]:
    """The batches: (task, sample index) longest prompt first, so that memory runs out at once or never."""
    ordered = sorted(tasks, key=lambda task: (-task.length, task.id))
    cells = [(task, sample) for task in ordered for sample in range(n)]
    return [cells[start : start + size] for start in range(0, len(cells), size)]


class Journal:
    """The finished batches of one plan, by their index."""

    def __init__(self, path: Path, batches: Sequence[Batch]) -> None:
        self._cells = [[[task.id, sample] for task, sample in batch] for batch in batches]
        self.done: dict[int, dict[str, Any]] = {}
        whole = self._read(path)
        self._stream = path.open("ab")
        self._stream.truncate(whole)

    def _read(self, path: Path) -> int:
        """Take the batches that the file holds whole. Returns the bytes before the first torn or foreign line."""
        index = {json.dumps(cells): at for at, cells in enumerate(self._cells)}
        whole = 0
        for line in path.read_bytes().splitlines(keepends=True) if path.is_file() else ():
            try:
                entry = json.loads(line) if line.endswith(b"\n") else None
            except (ValueError, RecursionError):
                break
            if not isinstance(entry, dict):
                break
            at, samples = index.get(json.dumps(entry.get("cells"))), entry.get("samples")
            if at is None or not isinstance(samples, list) or len(samples) != len(self._cells[at]):
                break
            if not all(map(_is_answer, samples)) or not isinstance(entry.get("latency_s"), int | float):
                break
            self.done[at] = entry
            whole += len(line)
        return whole

    def add(self, index: int, samples: Sequence[Answer], seconds: float) -> None:
        """Write one batch, so that it survives this process and a power cut."""
        entry = {"cells": self._cells[index], "samples": list(samples), "latency_s": round(seconds, 3)}
        self._stream.write(json_line(entry).encode())
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self.done[index] = entry

    def close(self) -> None:
        """Let the file go."""
        self._stream.close()


def _is_answer(value: Any) -> bool:
    return isinstance(value, dict) and {"completion", "finish_reason", "n_tokens"} <= set(value)


def json_line(value: Any) -> str:
    """One line of JSONL, the same for the same value."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False) + "\n"
