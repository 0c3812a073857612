"""`audit`: what is wrong with the dataset, by check, with the lines. Flags rows; never removes one."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bbjspec.data.code import has_code
from bbjspec.data.rows import BadLine, Row, normalise, read_rows
from bbjspec.errors import BadInput, Finding
from bbjspec.stage import StageRun
from bbjspec.store import write_json

EXAMPLES = 5  # shown per check; the lines are all there
SEVERITY = {
    "json": "error",
    "roles": "error",
    "empty": "error",
    "duplicate_question": "warning",
    "conflicting_answer": "warning",
    "short_answer": "warning",
    "long_answer": "info",
    "short_question": "warning",
    "untagged_fence": "info",
    "compile_error": "warning",
    "over_length": "warning",
}
_FENCE_TAG = re.compile(r"^[ ]{0,3}(?:`{3,}|~{3,})[ \t]*([^\s`]*)", re.MULTILINE)


@dataclass
class Audit:
    """Findings as they are made."""

    lines: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    examples: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))

    def flag(self, check: str, line: int, what: str, row_id: str | None = None) -> None:
        """Note one line under a check; a line is counted once a check."""
        if self.lines[check] and self.lines[check][-1] == line:
            return
        self.lines[check].append(line)
        if len(self.examples[check]) < EXAMPLES:
            self.examples[check].append({"line": line, "id": row_id, "excerpt": " ".join(what.split())[:120]})

    def checks(self) -> dict[str, Any]:
        """Every check, those that found nothing included."""
        return {
            check: {
                "severity": severity,
                "count": len(self.lines[check]),
                "lines": sorted(self.lines[check]),
                "examples": self.examples[check],
            }
            for check, severity in SEVERITY.items()
        }


def audit_rows(items: Iterable[Row | BadLine], max_length: int, tokenizer: Any, compiler: Any) -> dict[str, Any]:
    """All checks over all lines; the document of `audit.json`. `compiler` and `tokenizer` may be None: not checked."""
    audit = Audit()
    rows: list[Row] = []
    total = 0
    for item in items:
        total += 1
        if isinstance(item, BadLine):
            audit.flag(item.check, item.line, item.message)
        else:
            rows.append(item)
    tokens = _lengths(audit, rows, max_length, tokenizer)
    _questions(audit, rows)
    if compiler is not None:
        _compile(audit, rows, compiler)
    statistics = {
        "answer_chars": _spread([len(row.answer) for row in rows]),
        "tokens": _spread(tokens),
        "with_code": sum(has_code(row.answer) for row in rows),
        "system_prompts": len({row.system for row in rows}),
        **{name: _counts(rows, name) for name in ("kind", "topic", "generation", "tags")},
    }
    return {"rows": total, "checks": audit.checks(), "statistics": statistics}


def _lengths(audit: Audit, rows: Iterable[Row], max_length: int, tokenizer: Any) -> list[int]:
    from bbjspec.data.chat import token_counts

    counts: list[int] = []
    for row in rows:
        if len(row.answer.strip()) < 20:
            audit.flag("short_answer", row.line, row.answer, row.id)
        if len(row.answer) > 4000:
            audit.flag("long_answer", row.line, row.answer, row.id)
        if len(row.question.strip()) < 10:
            audit.flag("short_question", row.line, row.question, row.id)
        if "" in _FENCE_TAG.findall(row.answer)[::2]:
            audit.flag("untagged_fence", row.line, row.answer, row.id)
        if tokenizer is not None:
            counts.append(token_counts(tokenizer, row)[0])
            if counts[-1] > max_length:
                audit.flag("over_length", row.line, f"{counts[-1]} tokens, max_length is {max_length}", row.id)
    return counts


def _questions(audit: Audit, rows: Iterable[Row]) -> None:
    same: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        same[normalise(row.question)].append(row)
    for group in same.values():
        if len(group) < 2:
            continue
        conflicting = len({normalise(row.answer) for row in group}) > 1
        for row in group:
            audit.flag("duplicate_question", row.line, row.question, row.id)
            if conflicting:
                audit.flag("conflicting_answer", row.line, row.answer, row.id)


def _compile(audit: Audit, rows: Iterable[Row], compiler: Any) -> None:
    from bbjspec.bbj import extract

    coded = [row for row in rows if has_code(row.answer)]
    found = [(row, extract(row.answer)) for row in coded]
    programs = [(row, extraction.code) for row, extraction in found if extraction.outcome == "ok"]
    verdicts = compiler.compile([code for _, code in programs])
    infra = [row for (row, _), verdict in zip(programs, verdicts, strict=True) if verdict.verdict == "infra_error"]
    if infra:
        from bbjspec.errors import StageFailed

        raise StageFailed(
            f"audit: the compiler gave no verdict for {len(infra)} rows, the first in line {infra[0].line}"
        )
    for (row, _), verdict in zip(programs, verdicts, strict=True):
        if verdict.verdict == "compile_error":
            first = verdict.errors[0]
            audit.flag("compile_error", row.line, f"{first.message or 'error'}: {first.source}", row.id)


def _spread(values: list[int]) -> Mapping[str, int]:
    if not values:
        return {}
    ordered = sorted(values)
    at = {"min": 0.0, "median": 0.5, "p90": 0.9, "max": 1.0}
    return {name: ordered[round(share * (len(ordered) - 1))] for name, share in at.items()}


def _counts(rows: Iterable[Row], name: str) -> dict[str, int]:
    counter: Counter[str] = Counter()
    for row in rows:
        value = row.fields.get(name)
        counter.update(map(str, value) if isinstance(value, list) else [str(value)] if value is not None else [])
    return dict(sorted(counter.items()))


def broken_lines(path: Path, shown: str) -> list[Finding]:
    """The lines that would break training, as findings."""
    bad = (item for item in read_rows(path) if isinstance(item, BadLine))
    return [Finding(shown, item.line, item.column, item.check, item.message) for item in bad]


def run(stage: StageRun) -> None:
    """Audit the dataset. Raises BadInput, with every bad line, when training could not read it."""
    from bbjspec.bbj.compiler import open_compiler
    from bbjspec.data.chat import load_tokenizer

    (dataset,) = stage.sources["dataset"]
    shown = dataset.relative_to(stage.root).as_posix()
    if findings := broken_lines(dataset, shown):
        raise BadInput(findings)
    judge = stage.config["compiler"]
    compiler = open_compiler(judge["name"], judge["version"], stage.resources.get("compiler_path"))
    document = audit_rows(
        read_rows(dataset), stage.config["max_length"], load_tokenizer(stage.input("tokenizer")), compiler
    )
    document["compiler"] = {"name": compiler.name, "version": compiler.version}
    flagged = {check: entry["count"] for check, entry in document["checks"].items() if entry["count"]}
    stage.log.info("%d rows; flagged: %s", document["rows"], flagged or "none")
    write_json(stage.directory / "audit.json", document)
