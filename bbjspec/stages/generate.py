"""Stage `generate`: answers to the suite's prompts, by one of the back ends of `bbjspec.generation`.

Config: sampling, backend (`transformers` where it is not named), and what the back end's module lists, as it does for
inputs. Sources: prompts. Output: `generations.jsonl`, a row per sample, sorted by task and sample; record:
`generation_record.json`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from bbjspec.generation import BACKENDS
from bbjspec.generation.base import Answer, Backend, derived_seed
from bbjspec.generation.journal import Batch, Journal, json_line, plan
from bbjspec.progress import Progress
from bbjspec.stage import StageRun
from bbjspec.store import write_json


def run(stage: StageRun) -> None:
    """Generate what is still missing, then write the outputs. Raises StageFailed when the preflight finds a fault."""
    began = time.monotonic()
    sampling = stage.config["sampling"]
    backend = BACKENDS[stage.config.get("backend", "transformers")](stage)
    try:
        batches = plan(backend.tasks, sampling["n"], backend.batch_size)
        entries = _generate(stage, backend, batches)
        record = backend.record()
    finally:
        backend.close()
    rows = _rows(backend, sampling, batches, entries)
    write_rows(stage.directory / "generations.jsonl", rows)
    seconds = sum(entry["latency_s"] for entry in entries)
    tokens = sum(row["n_tokens"] or 0 for row in rows)
    write_json(
        stage.directory / "generation_record.json",
        {
            "backend": backend.name,
            "model": backend.model,
            "volatile": bool(backend.model.get("volatile")),
            "sampling": sampling,
            "batch_size_used": backend.batch_size,
            "preflight": backend.preflight,
            "prompts": len(backend.tasks),
            "samples": len(rows),
            "finish_reasons": {why: sum(row["finish_reason"] == why for row in rows) for why in ("stop", "length")},
            "tokens": tokens,
            "batches": [{"rows": len(entry["samples"]), "latency_s": entry["latency_s"]} for entry in entries],
            "tokens_per_s": round(backend.workers * tokens / max(seconds, 1e-9), 1),
            "wall_time_s": round(time.monotonic() - began, 1),
            **record,
        },
    )
    stage.log.info("%d samples of %d prompts, %d tokens", len(rows), len(backend.tasks), tokens)


def _generate(stage: StageRun, backend: Backend, batches: Sequence[Batch]) -> list[dict[str, Any]]:
    """The journal's entries of all batches, in order. What the journal holds is not generated again."""
    journal = Journal(stage.work / "batches.jsonl", batches)
    try:
        there = sum(len(batches[index]) for index in journal.done)
        if there:
            stage.log.info("going on after %d of %d batches", len(journal.done), len(batches))
        missing = [index for index in range(len(batches)) if index not in journal.done]
        total = sum(map(len, batches))
        with Progress("generating", total, "samples", stage.log, done=there) as progress:
            for index, samples, took in _answers(backend, batches, missing, stage.config["sampling"]["seed"]):
                journal.add(index, samples, took)
                progress.advance(len(samples))
    finally:
        journal.close()
    return [journal.done[index] for index in range(len(batches))]


def _answers(
    backend: Backend, batches: Sequence[Batch], missing: Sequence[int], seed: int
) -> Iterator[tuple[int, list[Answer], float]]:
    """(batch, its answers, seconds) as they come, `workers` of them in the works at once.

    When one fails no other is begun, and what is in the works is waited for and kept; then its error is raised.
    """

    def one(index: int) -> tuple[int, list[Answer], float]:
        began = time.monotonic()
        samples = backend.sample([task for task, _ in batches[index]], derived_seed(seed, index))
        return index, samples, time.monotonic() - began

    if backend.workers == 1:
        yield from map(one, missing)
        return
    waiting = iter(missing)
    failed: BaseException | None = None
    with ThreadPoolExecutor(backend.workers) as pool:
        running: set[Future[tuple[int, list[Answer], float]]] = set()
        while True:
            while failed is None and len(running) < backend.workers and (index := next(waiting, None)) is not None:
                running.add(pool.submit(one, index))
            if not running:
                break
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                if error := future.exception():
                    failed = failed or error
                else:
                    yield future.result()
    if failed is not None:
        raise failed


def _rows(
    backend: Backend, sampling: Mapping[str, Any], batches: Sequence[Batch], entries: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """The rows of generations.jsonl, sorted by task and sample."""
    rows = [
        {
            "task_id": task.id,
            "sample_idx": sample,
            "model": dict(backend.model),
            "prompt_hash": task.prompt_hash,
            "sampling": dict(sampling),
            "completion": answer["completion"],
            "finish_reason": answer["finish_reason"],
            "n_tokens": answer["n_tokens"],
            "backend": backend.name,
        }
        for batch, entry in zip(batches, entries, strict=True)
        for (task, sample), answer in zip(batch, entry["samples"], strict=True)
    ]
    return sorted(rows, key=lambda row: (row["task_id"], row["sample_idx"]))


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write JSONL, whole or not at all."""
    scratch = path.with_name(path.name + ".tmp")
    with scratch.open("w", encoding="utf-8", newline="\n") as stream:
        for row in rows:
            stream.write(json_line(row))
        stream.flush()
        os.fsync(stream.fileno())
    scratch.replace(path)
