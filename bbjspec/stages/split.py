"""`split`: filters, then the training and the validation side, with a ledger of every row's fate.

Sides are settled on all rows before any filter, so that a filter moves no row from one side to the other. Rows of one
question are one group and stay on one side. The validation side is exact: round(val_size × rows), shared among the
strata by largest remainder.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bbjspec.data.chat import load_tokenizer, token_counts
from bbjspec.data.code import has_code
from bbjspec.data.rows import Row, load_rows, normalise
from bbjspec.errors import BadInput, Finding
from bbjspec.stage import StageRun
from bbjspec.store import write_json


def validation_ids(rows: Sequence[Row], val_size: float, seed: int, stratify_by: Sequence[str]) -> set[int]:
    """Line numbers of the rows held out: round(val_size × len(rows)) of them, or as near as whole groups allow.

    A group's place in the draw is a hash of its question and the seed: it depends on no other row.
    """
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[normalise(row.question)].append(row)
    strata: dict[tuple[str, ...], list[list[Row]]] = defaultdict(list)
    for group in groups.values():
        strata[tuple(_stratum(group[0], name) for name in stratify_by)].append(group)
    wanted = round(val_size * len(rows))
    shares = _largest_remainder({key: sum(map(len, found)) for key, found in strata.items()}, wanted)
    held: set[int] = set()
    for key, share in shares.items():
        held |= _draw(strata[key], share, seed)
    return _exact(held, strata, wanted, seed)


def _stratum(row: Row, name: str) -> str:
    return json.dumps(row.fields.get(name), sort_keys=True)


def _place(group: Sequence[Row], seed: int) -> str:
    return hashlib.sha256(f"{seed}\0{normalise(group[0].question)}".encode()).hexdigest()


def _draw(groups: Iterable[Sequence[Row]], share: int, seed: int) -> set[int]:
    held: set[int] = set()
    for group in sorted(groups, key=lambda g: _place(g, seed)):
        if len(held) + len(group) <= share:
            held |= {row.line for row in group}
    return held


def _exact(held: set[int], strata: Mapping[Any, Iterable[Sequence[Row]]], wanted: int, seed: int) -> set[int]:
    """Where a stratum's groups did not add up to its share, the next groups of any stratum fill the rest."""
    rest = sorted(
        (group for found in strata.values() for group in found if group[0].line not in held),
        key=lambda g: _place(g, seed),
    )
    for group in rest:
        if len(held) + len(group) <= wanted:
            held |= {row.line for row in group}
    return held


def _largest_remainder(sizes: Mapping[Any, int], wanted: int) -> dict[Any, int]:
    total = sum(sizes.values())
    exact = {key: wanted * size / total for key, size in sizes.items()}
    shares = {key: int(value) for key, value in exact.items()}
    left = wanted - sum(shares.values())
    for key in sorted(exact, key=lambda k: (shares[k] - exact[k], k))[:left]:
        shares[key] += 1
    return shares


def dropped_because(row: Row, where: Mapping[str, str], filters: Mapping[str, Any]) -> str | None:
    """Why the filters drop the row, or None when it is kept."""
    for name, value in where.items():
        if not row.has(name, value):
            return f"where.{name}"
    if row.id in filters["exclude_ids"]:
        return "exclude_ids"
    if len(row.answer) < filters["min_answer_chars"]:
        return "min_answer_chars"
    if filters["max_answer_chars"] is not None and len(row.answer) > filters["max_answer_chars"]:
        return "max_answer_chars"
    if filters["require_code"] and not has_code(row.answer):
        return "require_code"
    return None


def run(stage: StageRun) -> None:
    """Split the dataset. Raises BadInput for bad lines, over-length rows (`on_overlength: error`) and an empty side."""
    config = stage.config
    (dataset,) = stage.sources["dataset"]
    shown = dataset.relative_to(stage.root).as_posix()
    rows = load_rows(dataset, shown)
    tokenizer = load_tokenizer(stage.input("tokenizer"))
    held = validation_ids(rows, config["val_size"], config["seed"], config["stratify_by"])
    sides: dict[str, list[Row]] = {"train": [], "val": []}
    fates: list[dict[str, Any]] = []
    over: list[Finding] = []
    totals = {side: {"rows": 0, "tokens": 0, "supervised_tokens": 0} for side in sides}
    for row in rows:
        side = "val" if row.line in held else "train"
        fate: dict[str, Any] = {"line": row.line, "id": row.id, "side": side}
        reason = dropped_because(row, config["where"], config["filters"])
        if reason is None:
            tokens, supervised = token_counts(tokenizer, row)
            fate |= {"tokens": tokens, "supervised_tokens": supervised}
            if tokens > config["max_length"]:
                reason = "over_length"
                over.append(Finding(shown, row.line, 0, row.id, f"{tokens} tokens, more than {config['max_length']}"))
        if reason is None:
            sides[side].append(row)
            totals[side]["rows"] += 1
            totals[side]["tokens"] += fate["tokens"]
            totals[side]["supervised_tokens"] += fate["supervised_tokens"]
        else:
            fate["dropped"] = reason
        fates.append(fate)
    if over and config["on_overlength"] == "error":
        hint = f"{len(over)} rows are longer than training.max_length; raise it, or write data.on_overlength: drop"
        raise BadInput([*over[:10], Finding(shown, 0, 0, "", hint)])
    for side, kept in sides.items():
        if not kept:
            raise BadInput([Finding(shown, 0, 0, "data", f"no row is left on the {side} side; loosen the filters")])
        _write(stage.directory / f"{side}.jsonl", kept)
    reasons = [fate["dropped"] for fate in fates if "dropped" in fate]
    write_json(
        stage.directory / "ledger.json",
        {
            "rows": len(rows),
            **totals,
            "dropped": {reason: reasons.count(reason) for reason in sorted(set(reasons))},
            "fates": fates,
        },
    )
    stage.log.info(
        "%d rows: %d to train on, %d held out, %d dropped",
        len(rows),
        len(sides["train"]),
        len(sides["val"]),
        len(reasons),
    )


def _write(path: Path, rows: Iterable[Row]) -> None:
    with path.open("w", encoding="utf-8") as stream:
        for row in rows:
            stream.write(json.dumps(row.document, ensure_ascii=False, sort_keys=True, separators=(",", ":")) + "\n")
