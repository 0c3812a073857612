"""A review: the flagged rows of a dataset in a YAML file, for a person to keep, mend, edit or drop.

Question and answer stand there as block scalars, as they are. The file is written by hand rather than by a YAML
library: ten thousand rows take a second, and every text comes back unchanged (a property test says so).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bbjspec.data.audit import CHECKS, Audit
from bbjspec.data.lines import Line, read_lines
from bbjspec.data.rows import Row

ACTIONS = ("keep", "mend", "edit", "drop")
_HEAD = """\
# What `bbjspec audit` flagged. Give each row an action:
#   keep   leave the row as it is
#   mend   take `suggested` for its answer
#   edit   take question and answer (of a line that is no row: text) as you changed them here
#   drop   leave the row out
# Then: bbjspec audit {dataset} --apply THIS_FILE --to CLEANED.jsonl
dataset: {quoted}
reviewer: null
rows:
"""
# What a block scalar cannot hold, or not without more care: control characters, other line ends, a blank or empty
# beginning.
_NOT_LITERAL = re.compile(
    r"[^\n\x20-\x7e\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]|[\u2028\u2029]|^[\s]|^$"
)
_NOT_PRINTABLE = re.compile(r"[^\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class Entry:
    """One line of the dataset in a review. `text` is set for a line that is no row, the others for a row."""

    line: int
    id: str | None
    fingerprint: str
    reasons: tuple[tuple[str, str], ...]
    question: str | None = None
    answer: str | None = None
    suggested: str | None = None
    text: str | None = None


def entries(audit: Audit, path: Path) -> Iterator[Entry]:
    """The flagged lines of the file that was audited, in order. Raises OSError."""
    reasons: dict[int, list[tuple[str, str]]] = {}
    for check in CHECKS:
        for flag in audit.flags.get(check, []):
            reasons.setdefault(flag.line, []).append((check, flag.excerpt))
    rows = {row.line: row for row in audit.rows}
    for line in read_lines(path):
        if isinstance(line, Line) and line.number in reasons:
            yield _entry(line, rows.get(line.number), tuple(reasons[line.number]), audit.mended.get(line.number))


def _entry(line: Line, row: Row | None, reasons: tuple[tuple[str, str], ...], mended: str | None) -> Entry:
    if row is not None:
        return Entry(line.number, row.id, line.fingerprint, reasons, row.question, row.answer, mended)
    text = line.data.decode("utf-8", "replace").rstrip("\r\n") if line.whole else None
    return Entry(line.number, None, line.fingerprint, reasons, text=text)


def export(audit: Audit, path: Path, to: Path, shown: str) -> int:
    """Write the review of an audited file, and give the number of its rows. Raises OSError, FileExistsError too."""
    count = 0
    with to.open("x", encoding="utf-8", newline="\n") as stream:
        stream.write(_HEAD.format(dataset=shown, quoted=quoted(shown)))
        for entry in entries(audit, path):
            stream.write(written(entry))
            count += 1
        if not count:
            stream.write("  []\n")
    return count


def written(entry: Entry) -> str:
    """The entry as it stands in the file."""
    lines = [f"- line: {entry.line}"]
    if entry.id is not None:
        lines.append(f"  id: {quoted(entry.id)}")
    lines += [f'  fingerprint: "{entry.fingerprint}"', "  reasons:"]
    lines += [f"  - {check}: {quoted(detail)}" for check, detail in entry.reasons]
    lines.append(
        "  action: keep" if entry.text is None and entry.id else "  action: keep  # which no bad line can: edit or drop"
    )
    for name in ("question", "answer", "suggested", "text"):
        value = getattr(entry, name)
        if value is not None:
            lines.append(f"  {name}: {scalar(value, '    ')}")
    return "\n".join(lines) + "\n"


def scalar(text: str, indent: str) -> str:
    """Any text as a block scalar where that can hold it, else in double quotes."""
    if _NOT_LITERAL.search(text):
        return quoted(text)
    body = text.rstrip("\n")
    chomp = "-" if body == text else "" if text == body + "\n" else "+"
    lines = text.split("\n") if chomp == "-" else text.split("\n")[:-1]
    return f"|{chomp}\n" + "\n".join(f"{indent}{line}" if line else "" for line in lines)


def quoted(text: str) -> str:
    """Any text in double quotes, on one line."""
    return _NOT_PRINTABLE.sub(lambda sign: f"\\u{ord(sign.group()):04x}", json.dumps(text, ensure_ascii=False))
