"""A review applied: the dataset without its dropped rows, its edited ones in place, and a record of what changed."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from bbjspec.data.lines import BOM, BadLine, Line, read_lines
from bbjspec.data.reviewed import Decision, Review
from bbjspec.data.rows import Row, finding, parse_row
from bbjspec.digest import sha256_file
from bbjspec.errors import BadInput, Finding


@dataclass(frozen=True)
class Applied:
    """What became of the rows: how many there were and are, and one change each that was edited, mended or dropped."""

    before: int
    after: int
    changes: list[dict[str, Any]]


def apply(review: Review, dataset: Path, to: Path, shown: str) -> Applied:
    """Write `to`, the dataset as reviewed, and `<to>.changes.json`; both are whole or not there.

    Rows that the review does not name stay byte for byte as they were, in their order. Raises BadInput, and then writes
    nothing, for a row that is another than the one reviewed and for a decision that cannot be carried out; OSError.
    """
    findings: list[Finding] = []
    changes: list[dict[str, Any]] = []
    scratch = to.with_name(f".{to.name}.{os.getpid()}.tmp")
    record = to.with_name(f"{to.name}.changes.json")
    before = after = 0
    gone = dict(review.decisions)
    try:
        with _open(scratch, to.suffix == ".gz") as out:
            for line in _lines(dataset, shown):
                decision = gone.pop(line.number, None)
                if not line.whole and (decision is None or decision.action != "drop"):
                    findings.append(
                        Finding(shown, line.number, 0, "json", "too long to be a row; it can only be dropped")
                    )
                made = line.data if decision is None else _carry_out(review, decision, line, shown, findings, changes)
                before += bool(line.data.strip())
                after += bool(made.strip())
                out.write(made)
        for number in gone:
            findings.append(Finding(shown, number, 0, "fingerprint", "this line is gone; export the review again"))
        if findings:
            raise BadInput(findings)
        document = {
            "dataset": shown,
            "review": review.name,
            "reviewer": review.reviewer,
            "before": {"rows": before, "sha256": sha256_file(dataset)},
            "after": {"rows": after, "sha256": sha256_file(scratch)},
            "changes": changes,
        }
        told = scratch.with_suffix(".json")
        told.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        told.replace(record)
        scratch.replace(to)
    finally:
        scratch.unlink(missing_ok=True)
    return Applied(before, after, changes)


def _open(path: Path, packed: bool) -> IO[bytes]:
    """A file to write; packed without a time in it, so that equal rows give equal bytes."""
    if not packed:
        return path.open("wb")
    return cast("IO[bytes]", gzip.GzipFile(path, "wb", mtime=0))


def _lines(dataset: Path, shown: str) -> Iterator[Line]:
    """The lines of the dataset. Raises BadInput where the reading ends early."""
    for line in read_lines(dataset):
        if isinstance(line, BadLine):
            raise BadInput([finding(line, shown)])
        yield line


def _carry_out(
    review: Review,
    decision: Decision,
    line: Line,
    shown: str,
    findings: list[Finding],
    changes: list[dict[str, Any]],
) -> bytes:
    """The line as decided, with its end; nothing for a dropped one. Mistakes are added to the findings."""
    if line.fingerprint != decision.fingerprint:
        message = f"not the row that {review.name} was written for: it changed since; export the review again"
        findings.append(Finding(shown, line.number, 0, "fingerprint", message))
        return line.data
    if decision.action == "drop":
        changes.append(_change(decision, line, None))
        return b""
    row = parse_row(line.data, line.number) if line.whole else BadLine(line.number, "json", "too long to be a row")
    new = _text(review, decision, row, findings) if isinstance(row, Row) and "text" not in decision.texts else None
    if "text" in decision.texts or isinstance(row, BadLine):
        new = _replaced(review, decision, line, findings)
    if new is None:
        return line.data
    content = line.data.rstrip(b"\r\n")
    made = new.encode() + line.data[len(content) :]
    changes.append(_change(decision, line, Line(line.number, made, len(made))))
    return made


def _change(decision: Decision, line: Line, after: Line | None) -> dict[str, Any]:
    row = parse_row(line.data, line.number) if line.whole else None
    return {
        "line": line.number,
        "id": row.id if isinstance(row, Row) else None,
        "action": decision.action,
        "reasons": list(decision.reasons),
        "before": line.fingerprint,
        "after": after.fingerprint if after is not None else None,
    }


def _text(review: Review, decision: Decision, row: Row, findings: list[Finding]) -> str | None:
    """The JSON of the row as edited or mended; None where it stays as it is."""
    question = decision.texts.get("question", row.question)
    answer = decision.texts.get("answer", row.answer)
    changed = [
        name for name, now, old in (("question", question, row.question), ("answer", answer, row.answer)) if now != old
    ]
    if decision.action == "mend":
        if "suggested" not in decision.texts:
            findings.append(review.wrong(decision, "action", "there is no suggested answer to mend with; write edit"))
            return None
        if "answer" in changed:
            message = "the answer was changed, and mend takes suggested; write edit, or put the answer back"
            findings.append(review.wrong(decision, "action", message))
            return None
        answer = decision.texts["suggested"]
    elif decision.action == "keep":
        if changed:
            message = f"the {' and the '.join(changed)} was changed, and keep takes no change; write edit"
            findings.append(review.wrong(decision, "action", message))
        return None
    elif not changed:
        findings.append(
            review.wrong(decision, "action", "nothing was changed; write keep, or change question or answer")
        )
        return None
    for name, text in (("question", question), ("answer", answer)):
        if not text.strip():
            findings.append(review.wrong(decision, name, f"the {name} is empty; write drop to leave the row out"))
            return None
    contents = (row.system, question, answer)
    messages = [dict(old, content=text) for old, text in zip(row.fields["messages"], contents, strict=True)]
    return json.dumps({**row.fields, "messages": messages}, ensure_ascii=False)


def _replaced(review: Review, decision: Decision, line: Line, findings: list[Finding]) -> str | None:
    """The text in place of a line that was no row; None, with a finding, where it is none either."""
    text = decision.texts.get("text", "").strip()
    if decision.action != "edit" or not text:
        findings.append(
            review.wrong(decision, "action", "a line that is no row can only be dropped, or edited in text")
        )
        return None
    if "\n" in text or "\r" in text:
        findings.append(review.wrong(decision, "text", "a row is one line of JSON"))
        return None
    try:
        row = parse_row(text.encode(), 0)
    except UnicodeEncodeError:
        row = BadLine(0, "json", "half a surrogate pair is no text")
    if isinstance(row, BadLine):
        findings.append(review.wrong(decision, "text", f"still no row: {row.message}"))
        return None
    if text.encode() == line.data.removeprefix(BOM).strip():
        findings.append(review.wrong(decision, "text", "nothing was changed; write drop, or mend the line"))
        return None
    return text
