"""Stage `generate`: answers to the suite's prompts, sampled by transformers from the base, with or without an adapter.

Config: model, sampling, adapter (whether the `train` input is used). Inputs: base, tokenizer[, train]. Sources:
prompts. Output: `generations.jsonl`, a row per sample, sorted by task and sample; record: `generation_record.json`.

The plan of batches is fixed by the prompts and the sampling block, and each batch has a seed of its own. A batch
is written whole or not at all, so a run that was interrupted and went on equals one that was not.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bbjspec.digest import sha256_bytes, sha256_file
from bbjspec.errors import BadInput, StageFailed
from bbjspec.stage import StageRun
from bbjspec.stages import models
from bbjspec.stages.sampler import Sampler
from bbjspec.store import write_json
from bbjspec.suite import load_prompts

TIERS = ("syntax", "factual", "general", "realistic")
BACKEND = "transformers"
PREFLIGHT_TOKENS = 48  # greedy texts are compared over so many tokens
LIBRARIES = ("torch", "transformers", "peft", "bitsandbytes", "tokenizers")


@dataclass(frozen=True)
class Task:
    """A prompt as the model sees it: token ids, the same for base and tuned model."""

    id: str
    text: str
    ids: tuple[int, ...]


def run(stage: StageRun) -> None:
    """Generate what is still missing, then write the outputs. Raises StageFailed when the preflight finds a fault."""
    began = time.monotonic()
    models.prepare(stage)
    sampling = stage.config["sampling"]
    tokenizer = models.load_tokenizer(stage, "left")
    tasks = tasks_of(stage, tokenizer)
    check_tokens(tasks, tokenizer)
    model = models.load_base(stage, stage.config["model"])
    adapter = stage.input("train") / "adapter" if stage.config["adapter"] else None
    if adapter:
        model = models.add_adapter(model, adapter)
    sampler = Sampler(model, tokenizer, sampling)
    agree = greedy_agrees(sampler, tasks, sampling["batch_size"])
    size = sampling["batch_size"] if agree else 1
    if not agree:
        stage.log.warning("greedy texts at batch 1 and %d differ: going on at batch 1", sampling["batch_size"])
    who = {
        "base": stage.config["model"]["base"],
        "revision": stage.config["model"]["revision"],
        "adapter_sha256": sha256_file(adapter / "adapter_model.safetensors") if adapter else None,
        "quantization": models.quantization(stage.config["model"]),
    }
    batches = plan(tasks, sampling["n"], size)
    rows, seconds = _generate(stage, sampler, batches, who)
    write_rows(stage.directory / "generations.jsonl", rows)
    tokens = sum(row["n_tokens"] for row in rows)
    write_json(
        stage.directory / "generation_record.json",
        {
            "backend": BACKEND,
            "model": who,
            "dtype": stage.config["model"]["dtype"],
            "device": models.device(stage),
            "card": models.card(stage),
            "sampling": sampling,
            "batch_size_used": size,
            "preflight": {"greedy_same_at_batch_1_and_n": agree, "bos_at_most_one": True, "eos_ends_turn": True},
            "prompts": len(tasks),
            "samples": len(rows),
            "finish_reasons": {why: sum(row["finish_reason"] == why for row in rows) for why in ("stop", "length")},
            "tokens": tokens,
            "batches": [{"rows": len(batch), "latency_s": took} for batch, took in zip(batches, seconds, strict=True)],
            "tokens_per_s": round(tokens / max(sum(seconds), 1e-9), 1),
            "wall_time_s": round(time.monotonic() - began, 1),
            "peak_memory": models.peak_memory(),
            "versions": models.versions(*LIBRARIES),
        },
    )
    stage.log.info("%d samples of %d prompts, %d tokens", len(rows), len(tasks), tokens)


def tasks_of(stage: StageRun, tokenizer: Any) -> list[Task]:
    """The prompts of the tiers that are generated here, rendered by the chat template. Raises BadInput without any."""
    prompts = [prompt for prompt in load_prompts(list(stage.sources["prompts"])) if prompt.tier in TIERS]
    if not prompts:
        raise BadInput(f"eval.prompts: no prompt of the tiers {', '.join(TIERS)}; name files that hold some")
    system = stage.config["sampling"]["system_prompt"]
    tasks = []
    for prompt in prompts:
        messages = [{"role": "system", "content": system}, {"role": "user", "content": prompt.input}]
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        tasks.append(Task(prompt.id, text, tuple(tokenizer(text, add_special_tokens=False)["input_ids"])))
    return tasks


def check_tokens(tasks: Sequence[Task], tokenizer: Any) -> None:
    """Raise StageFailed for prompts with two beginnings, and for an end of sequence that is not the end of the turn."""
    bos = tokenizer.bos_token_id
    if bos is not None:
        for task in tasks:
            if task.ids.count(bos) > 1:
                raise StageFailed(
                    f"{task.id}: {task.ids.count(bos)} beginning-of-sequence tokens; the template doubles it"
                )
    turn = [{"role": "user", "content": "question"}, {"role": "assistant", "content": "answer"}]
    after = tokenizer.apply_chat_template(turn, tokenize=False).rpartition("answer")[2]
    if not after.startswith(tokenizer.eos_token):
        raise StageFailed(
            f"the chat template ends a turn with {after[:20]!r}, not with the eos token {tokenizer.eos_token}"
        )


def greedy_agrees(sampler: Sampler, tasks: Sequence[Task], size: int) -> bool:
    """Whether the shortest, middle and longest prompt get the same greedy text alone and in a batch of `size`."""
    ordered = sorted(tasks, key=lambda task: (len(task.ids), task.id))
    chosen = [ordered[0].ids, ordered[len(ordered) // 2].ids, ordered[-1].ids]
    if size == 1:
        return True
    alone = [sampler.greedy([ids], PREFLIGHT_TOKENS)[0] for ids in chosen]
    mixed: list[list[int]] = []
    for start in range(0, len(chosen), size):
        rows = [chosen[(start + i) % len(chosen)] for i in range(size)]
        mixed += sampler.greedy(rows, PREFLIGHT_TOKENS)[: len(chosen) - start]
    return alone == mixed[: len(chosen)]


def plan(tasks: Sequence[Task], n: int, size: int) -> list[list[tuple[Task, int]]]:
    """The batches: (task, sample index) longest prompt first, so that memory runs out at once or never."""
    ordered = sorted(tasks, key=lambda task: (-len(task.ids), task.id))
    cells = [(task, sample) for task in ordered for sample in range(n)]
    return [cells[start : start + size] for start in range(0, len(cells), size)]


def batch_seed(seed: int, batch: int) -> int:
    """The seed of one batch: 63 bits of the SHA-256 of `seed:batch`."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{batch}".encode()).digest()[:8], "big") >> 1


def _generate(
    stage: StageRun, sampler: Sampler, batches: Sequence[Sequence[tuple[Task, int]]], who: Mapping[str, Any]
) -> tuple[list[dict[str, Any]], list[float]]:
    """Rows of all batches, and the seconds that each took. What `work` holds whole is not generated again."""
    sampling, journal = stage.config["sampling"], stage.work / "batches.jsonl"
    done, whole = read_journal(journal, batches)
    if done:
        stage.log.info("going on after %d of %d batches", len(done), len(batches))
    rows: list[dict[str, Any]] = []
    seconds: list[float] = []
    said = time.monotonic()
    with journal.open("ab") as stream:
        stream.truncate(whole)
        for index, batch in enumerate(batches):
            if index < len(done):
                entry = done[index]
            else:
                began = time.monotonic()
                samples = sampler.sample([task.ids for task, _ in batch], batch_seed(sampling["seed"], index))
                took = round(time.monotonic() - began, 3)
                entry = {"cells": _cells(batch), "samples": samples, "latency_s": took}
                stream.write(_line(entry).encode())
                stream.flush()
                os.fsync(stream.fileno())
                if time.monotonic() - said > 1 or index + 1 == len(batches):
                    said = time.monotonic()
                    stage.log.info("batch %d of %d, %.1f s", index + 1, len(batches), took)
            seconds.append(entry["latency_s"])
            for (task, sample), answer in zip(batch, entry["samples"], strict=True):
                rows.append(
                    {
                        "task_id": task.id,
                        "sample_idx": sample,
                        "model": dict(who),
                        "prompt_hash": sha256_bytes(task.text.encode()),
                        "sampling": dict(sampling),
                        "completion": answer["completion"],
                        "finish_reason": answer["finish_reason"],
                        "n_tokens": answer["n_tokens"],
                        "backend": BACKEND,
                    }
                )
    return sorted(rows, key=lambda row: (row["task_id"], row["sample_idx"])), seconds


def read_journal(path: Path, batches: Sequence[Sequence[tuple[Task, int]]]) -> tuple[list[dict[str, Any]], int]:
    """The leading batches of the plan that the journal holds whole, and the bytes they take; a torn line is dropped."""
    found: list[dict[str, Any]] = []
    whole = 0
    data = path.read_bytes() if path.is_file() else b""
    for line, batch in zip(data.splitlines(keepends=True), batches, strict=False):
        try:
            entry = json.loads(line) if line.endswith(b"\n") else None
        except ValueError:
            break
        if not isinstance(entry, dict) or entry.get("cells") != _cells(batch) or len(entry["samples"]) != len(batch):
            break
        found.append(entry)
        whole += len(line)
    return found, whole


def _cells(batch: Sequence[tuple[Task, int]]) -> list[list[Any]]:
    return [[task.id, sample] for task, sample in batch]


def _line(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False) + "\n"


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write JSONL, whole or not at all."""
    scratch = path.with_name(path.name + ".tmp")
    with scratch.open("w", encoding="utf-8", newline="\n") as stream:
        for row in rows:
            stream.write(_line(row))
        stream.flush()
        os.fsync(stream.fileno())
    scratch.replace(path)
