"""`split`: the training and the validation side, and a ledger of every row's fate.

Sides are settled on all rows before anything else (bbjspec.data.sides), so that no filter moves a row from one side to
the other. Repairs, system prompts, filters and duplicates then treat both sides alike, but for `where`, which chooses
what is trained on: validation loss compares across experiments.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bbjspec.bbj.compiler import CompileError, open_compiler
from bbjspec.data.chat import all_token_counts, cut_to, load_tokenizer, token_counts
from bbjspec.data.choose import dropped_because, duplicates, mended, mixed
from bbjspec.data.code import has_code
from bbjspec.data.compiled import first_errors, programs_of
from bbjspec.data.rows import Row, load_rows
from bbjspec.data.sides import grouped, validation_lines
from bbjspec.errors import BadInput, Finding
from bbjspec.stage import StageRun
from bbjspec.store import write_json

SIDES = ("train", "val")


@dataclass
class Example:
    """A row on its way, as it will be learned, with the entry that the ledger has for it."""

    row: Row
    fate: dict[str, Any]

    @property
    def kept(self) -> bool:
        """Whether nothing has dropped it so far."""
        return "dropped" not in self.fate

    def drop(self, reason: str, **more: str) -> None:
        """Note why the row goes."""
        self.fate |= {"dropped": reason, **more}


def run(stage: StageRun) -> None:
    """Split the dataset. Raises BadInput for bad lines, over-length rows (`on_overlength: error`) and an empty side."""
    config = stage.config
    rows, shown = _source(stage, "dataset")
    tokenizer = load_tokenizer(stage.input("tokenizer"))
    found = grouped(rows, config["seed"], config["stratify_by"])
    held = validation_lines(found, config["val_size"])
    if not held or len(held) == len(rows):
        most = max(len(group.rows) for group in found)
        message = (
            f"{len(rows)} rows cannot be split at {config['val_size']:g}: {most} ask nearly the same and stay together"
        )
        raise BadInput([Finding(shown, 0, 0, "data.val_size", f"{message}; add other rows or change it")])
    examples = [_example(row, "val" if row.line in held else "train", config) for row in rows]
    errors = _first_errors(stage, examples)
    for example in examples:
        if example.kept and config["filters"]["require_compile"] and errors.get(example.row.line):
            example.drop("require_compile", error=errors[example.row.line].source)
    _settle_lengths(examples, tokenizer, config, shown)
    at = {example.row.line: example for example in examples}
    same = [[at[row.line].row for row in group.rows if at[row.line].kept] for group in found]
    for line, (reason, stays) in duplicates(same, config["dedup"], _goodness(at, errors)).items():
        at[line].drop(reason, kept=stays)
    mix = _mix(stage, examples, tokenizer) if config["mix"] else []
    sides = {side: [e for e in (*examples, *mix) if e.kept and e.fate["side"] == side] for side in SIDES}
    for side, kept in sides.items():
        if not kept:
            said = f"no row is left on the {side} side{_dropped(examples, side)}; loosen that"
            raise BadInput([Finding(shown, 0, 0, "data", said)])
        _write(stage.directory / f"{side}.jsonl", [example.row for example in kept])
    write_json(stage.directory / "ledger.json", ledger(examples, mix))
    stage.log.info(
        "%d rows: %d to train on, %d held out, %d dropped; %d mixed in",
        len(rows),
        len(sides["train"]) - len(mix),
        len(sides["val"]),
        sum(not example.kept for example in examples),
        len(mix),
    )


def _dropped(examples: Sequence[Example], side: str) -> str:
    """Why rows of a side were dropped, most first: `: 970 by where.tags, 100 by over_length`."""
    reasons = Counter(e.fate["dropped"] for e in examples if not e.kept and e.fate["side"] == side)
    told = ", ".join(f"{count} by {reason}" for reason, count in reasons.most_common())
    return f": {told}" if told else ""


def _source(stage: StageRun, role: str) -> tuple[list[Row], str]:
    (file,) = stage.sources[role]
    shown = file.relative_to(stage.root).as_posix()
    return load_rows(file, shown), shown


def _example(row: Row, side: str, config: Mapping[str, Any]) -> Example:
    fate: dict[str, Any] = {"line": row.line, "id": row.id, "side": side}
    made, repaired = mended(row, config["repair"], config["system_prompts"], config["seed"])
    if repaired:
        fate["repaired"] = list(repaired)
    example = Example(made, fate)
    if reason := dropped_because(made, side, config["filters"]):
        example.drop(reason)
    return example


def _first_errors(stage: StageRun, examples: Iterable[Example]) -> dict[int, CompileError]:
    """The compiler's first error by line, where the spec asks a compiler at all."""
    judge = stage.config["judge"]
    if judge is None:
        return {}
    compiler = open_compiler(judge["name"], judge["version"], stage.resources.get("compiler_path"))
    kept = [example.row for example in examples if example.kept]
    return first_errors([(row, code) for row in kept for code in programs_of(row.answer)], compiler)


def _settle_lengths(examples: Sequence[Example], tokenizer: Any, config: Mapping[str, Any], shown: str) -> None:
    """Count every row's tokens, dropped ones too, and settle what is too long; BadInput where that is an error."""
    over: list[Finding] = []
    counts = all_token_counts(tokenizer, [example.row for example in examples], shown)
    for example, (tokens, supervised) in zip(examples, counts, strict=True):
        example.fate |= {"tokens": tokens, "supervised_tokens": supervised}
        if tokens <= config["max_length"] or not example.kept:
            continue
        if config["on_overlength"] == "error":
            message = f"{tokens} tokens, more than {config['max_length']}"
            over.append(Finding(shown, example.row.line, 0, example.row.id, message))
        shorter = (
            cut_to(tokenizer, example.row, config["max_length"]) if config["on_overlength"] == "truncate" else None
        )
        if shorter is None:
            example.drop("over_length")
            continue
        left, learned = token_counts(tokenizer, shorter)
        example.row = shorter
        example.fate |= {"tokens": left, "supervised_tokens": learned, "truncated": tokens - left}
    if over:
        hint = f"rows longer than training.max_length: {len(over)}; raise it, or write data.on_overlength: drop"
        raise BadInput([*over[:10], Finding(shown, 0, 0, "", hint)])


def _goodness(at: Mapping[int, Example], errors: Mapping[int, CompileError]) -> Any:
    """How good an answer is among those to one question: see `data.dedup.exact`."""

    def of(row: Row) -> tuple[bool, bool, bool, int]:
        return not errors.get(row.line), has_code(row.answer), "repaired" not in at[row.line].fate, len(row.answer)

    return of


def _mix(stage: StageRun, examples: Sequence[Example], tokenizer: Any) -> list[Example]:
    """The rows that are mixed in. Raises BadInput where the file has too few, or an id or length that will not do."""
    rows, shown = _source(stage, "mix")
    taken = {example.row.id for example in examples}
    if clash := [row for row in rows if row.id in taken]:
        raise BadInput([Finding(shown, row.line, 0, "id", f"{row.id!r} is in the dataset already") for row in clash])
    config, share = stage.config, stage.config["mix"]["share"]
    trained = sum(example.kept and example.fate["side"] == "train" for example in examples)
    pool = [Example(row, {"line": row.line, "id": row.id, "side": "train", "mixed": True}) for row in rows]
    _settle_lengths(pool, tokenizer, config, shown)
    at = {example.row.line: example for example in pool if example.kept}
    drawn = mixed([example.row for example in at.values()], share, trained, config["seed"])
    if isinstance(drawn, int):
        message = f"has {len(at)} rows, but data.mix.share {share} of {trained} training rows takes {drawn}; lower it"
        raise BadInput([Finding(shown, 0, 0, "data.mix.share", message)])
    return [at[row.line] for row in drawn]


def ledger(examples: Sequence[Example], mix: Sequence[Example]) -> dict[str, Any]:
    """The document of ledger.json: sums by side and by reason, and every row's fate."""
    everything = [*examples, *mix]
    totals = {side: _sums(e for e in everything if e.kept and e.fate["side"] == side) for side in SIDES}
    reasons = sorted({e.fate["dropped"] for e in everything if not e.kept})
    cut = [e.fate for e in everything if "truncated" in e.fate and e.kept]
    return {
        "rows": len(examples),
        **totals,
        "repaired": dict(sorted(Counter(name for e in everything for name in e.fate.get("repaired", ())).items())),
        "dropped": {reason: sum(e.fate.get("dropped") == reason for e in everything) for reason in reasons},
        "dropped_tokens": _sums(e for e in everything if not e.kept),
        "truncated": {"rows": len(cut), "tokens": sum(fate["truncated"] for fate in cut)},
        "mixed": _sums(mix),
        "fates": [example.fate for example in everything],
    }


def _sums(examples: Iterable[Example]) -> dict[str, int]:
    fates = [example.fate for example in examples]
    return {
        "rows": len(fates),
        "tokens": sum(fate["tokens"] for fate in fates),
        "supervised_tokens": sum(fate["supervised_tokens"] for fate in fates),
    }


def _write(path: Path, rows: Iterable[Row]) -> None:
    with path.open("w", encoding="utf-8") as stream:
        for row in rows:
            stream.write(json.dumps(row.document, ensure_ascii=False, sort_keys=True, separators=(",", ":")) + "\n")
