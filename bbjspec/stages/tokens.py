"""What training reads: rows as token ids and labels, made once, checked, and mapped from disk.

Each side is an Arrow file in the stage's `work`: `input_ids`, `labels` (-100 where no loss is taken: prompt, system
message, padding), `length`; with packing, also `seq_lengths`, the rows inside one filled row.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

from bbjspec.data.chat import prompts_and_rows
from bbjspec.data.rows import load_rows
from bbjspec.errors import StageFailed
from bbjspec.stage import StageRun

IGNORED = -100  # torch's cross-entropy passes over labels of this value
SIDES = ("train", "val")
_CHUNK = 1000  # rows tokenised and written at a time


def prepare(stage: StageRun, tokenizer: Any) -> dict[str, Any]:
    """The datasets of both sides, by side; `val` is never packed. Written on first use, afterwards only mapped.

    Raises StageFailed for rows that must not be trained on as they are: longer than `max_length` (TRL would cut them
    silently), nothing supervised, an end of turn that is not supervised, two beginnings of text; or when the split
    counted other tokens. Raises BadInput for a chat template that does not fit.
    """
    training = stage.config["training"]
    folder = stage.work / "tokens"
    counted = json.loads((stage.input("split") / "ledger.json").read_text(encoding="utf-8"))
    found = {}
    for side in SIDES:
        file = folder / f"{side}.arrow"
        if not file.is_file():
            _write(file, _checked(stage, side, tokenizer, training["max_length"]))
        found[side] = _mapped(file)
        _agrees(found[side], counted[side], side)
    if not len(found["train"]):
        raise StageFailed("train.jsonl of the split is empty: nothing to train on; loosen data.filters")
    if training["packing"]:
        found["train"] = _packed(folder, found["train"], training["max_length"])
    return found


def supervised_texts(tokenizer: Any, labels: Sequence[Sequence[int]]) -> list[str]:
    """The supervised stretches of rows, decoded: an answer and its end of turn each; several in a packed row."""
    texts = []
    for row in labels:
        stretch: list[int] = []
        for label in (*row, IGNORED):
            if label != IGNORED:
                stretch.append(label)
            elif stretch:
                texts.append(tokenizer.decode(stretch))
                stretch = []
    return texts


def _checked(stage: StageRun, side: str, tokenizer: Any, max_length: int) -> Iterator[dict[str, Any]]:
    rows = load_rows(stage.input("split") / f"{side}.jsonl", f"{side}.jsonl") if _holds(stage, side) else []
    for start in range(0, len(rows), _CHUNK):
        chunk = rows[start : start + _CHUNK]
        for row, (prompt, whole) in zip(chunk, prompts_and_rows(tokenizer, chunk), strict=True):
            labels = [IGNORED] * len(prompt) + whole[len(prompt) :]
            check(tokenizer, whole, labels, max_length, f"{side}.jsonl line {row.line} ({row.id})")
            yield {"input_ids": whole, "labels": labels, "length": len(whole)}


def _holds(stage: StageRun, side: str) -> bool:
    return (stage.input("split") / f"{side}.jsonl").stat().st_size > 0


def check(tokenizer: Any, ids: Sequence[int], labels: Sequence[int], max_length: int, name: str) -> None:
    """Raise StageFailed, naming the row, for one that would be learned otherwise than it says."""
    if len(ids) > max_length:
        raise StageFailed(
            f"{name}: {len(ids)} tokens, more than training.max_length {max_length}; the split should have settled "
            "it: remove this split from build/ and run again"
        )
    if all(label == IGNORED for label in labels):
        raise StageFailed(f"{name}: nothing of it is supervised; its answer is empty")
    if tokenizer.eos_token_id not in labels:
        raise StageFailed(
            f"{name}: the end of turn {tokenizer.eos_token} is not supervised, so no answer would learn to end; the "
            "base's chat template does not fit its tokenizer: use another base"
        )
    begin = tokenizer.bos_token_id
    if begin is not None and begin != tokenizer.eos_token_id and list(ids).count(begin) > 1:
        raise StageFailed(
            f"{name}: {tokenizer.bos_token}, the beginning of the text, appears {list(ids).count(begin)} times; the "
            "base's chat template or the row's own text writes it again"
        )


def _write(file: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write an Arrow stream, whole or not at all."""
    import pyarrow as pa

    ids = pa.list_(pa.int32())
    fields = {"input_ids": ids, "labels": ids, "length": pa.int32(), "seq_lengths": ids}
    batches = _chunks(rows)
    first = next(batches, ())
    schema = pa.schema([(name, kind) for name, kind in fields.items() if not first or name in first[0]])
    file.parent.mkdir(parents=True, exist_ok=True)
    scratch = file.with_suffix(".tmp")
    with pa.OSFile(str(scratch), "wb") as sink, pa.ipc.new_stream(sink, schema) as stream:
        for batch in chain([first], batches):
            stream.write_batch(pa.RecordBatch.from_pylist(list(batch), schema))
    with scratch.open("rb") as written:
        os.fsync(written.fileno())
    scratch.replace(file)


def _chunks(rows: Iterable[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    stream = iter(rows)
    while chunk := list(islice(stream, _CHUNK)):
        yield chunk


def _mapped(file: Path) -> Any:
    import datasets

    return datasets.Dataset.from_file(str(file))


def _packed(folder: Path, rows: Any, max_length: int) -> Any:
    """Rows of up to `max_length` tokens, filled best-fit decreasing with whole rows: `check` saw that each fits."""
    from trl import pack_dataset

    file = folder / "packed.arrow"
    if not file.is_file():
        whole = {"keep_in_memory": True, "batch_size": None}  # best fit over all rows, not over each thousand
        packed = pack_dataset(rows.select_columns(["input_ids", "labels"]), max_length, "bfd", whole)
        _write(file, (row | {"length": sum(row["seq_lengths"])} for row in packed))
    return _mapped(file)


def _agrees(rows: Any, counted: Mapping[str, int], side: str) -> None:
    """The ledger is what the card tells of the data: it must be what is trained on."""
    import pyarrow.compute as pc

    labels = pc.list_flatten(rows.data.column("labels"))
    saw = {
        "rows": len(rows),
        "tokens": pc.sum(rows.data.column("length")).as_py() or 0,
        "supervised_tokens": pc.sum(pc.not_equal(labels, IGNORED)).as_py() or 0,
    }
    for what, amount in saw.items():
        if amount != counted[what]:
            raise StageFailed(
                f"{side}.jsonl: training sees {amount:,} {what.replace('_', ' ')}, the split counted "
                f"{counted[what]:,}; remove this split from build/ and run again"
            )
