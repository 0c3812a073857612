"""The suite: prompts with what their answers are judged by, read from JSONL, and the parts of it that stages consume.

One JSON object a line, blank lines ignored. Fields that every prompt has: `id`, `tier`, `category`, `difficulty`,
`generation`, `input` (the question, as the model sees it), `reference` (an answer that passes). A syntax prompt adds
`checks`, a factual one `must`, `must_not`, `scope`, `max_chars`, `pass_examples`, `fail_examples`. Patterns are Python
regular expressions, applied without regard to case: `require` and `forbid` to the program without its comments and
strings, `must` and `must_not` to the answer's text within `scope`. A general one (Python, to see what was forgotten)
adds `tests`, assertions that see `entry` of the answer alone, and `fail_examples`, programs that they must reject; a
realistic one, which people rate, adds `notes` for them.

What needs a compiler (do references compile and meet their checks?) is not looked at here: planning reads suites too.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bbjspec.digest import canonical, sha256_bytes
from bbjspec.errors import BadInput, Finding
from bbjspec.suitefields import row_errors, shown

VIEWS = ("input", "checks", "leakage")
MAX_LINE = 1_000_000  # bytes; a prompt is a page of text, a longer line is another kind of file


@dataclass(frozen=True)
class Checks:
    """What a program must hold besides compiling. `min_statements` counts non-trivial statements."""

    require: tuple[str, ...]
    forbid: tuple[str, ...]
    min_statements: int
    mode: str


@dataclass(frozen=True)
class Prompt:
    """One task of the suite. `checks` is None for all but syntax prompts; what another tier adds is None or empty."""

    id: str
    tier: str
    category: str
    difficulty: str
    generation: str
    input: str
    reference: str
    checks: Checks | None = None
    must: tuple[str, ...] = ()
    must_not: tuple[str, ...] = ()
    scope: str | None = None
    max_chars: int | None = None
    pass_examples: tuple[str, ...] = ()
    fail_examples: tuple[str, ...] = ()
    entry: str | None = None
    tests: str | None = None
    notes: str | None = None


def load_prompts(paths: Sequence[Path]) -> tuple[Prompt, ...]:
    """All prompts of the files, sorted by id. Raises BadInput with every error of every file."""
    findings: list[Finding] = []
    prompts: dict[str, Prompt] = {}
    places: dict[str, str] = {}
    for path in paths:
        found = 0
        for line, row in _rows(path, findings):
            found += 1
            errors = [Finding(str(path), line, 0, at, message) for at, message in row_errors(row)]
            identifier = row.get("id") if isinstance(row, dict) else None
            if isinstance(identifier, str) and identifier in places:
                message = f"{shown(identifier)} is taken by {places[identifier]}; ids are unique across all files"
                errors.append(Finding(str(path), line, 0, "id", message))
            elif isinstance(identifier, str):
                places[identifier] = f"{path}:{line}"
            findings += errors
            if not errors:
                prompts[row["id"]] = _prompt(row)
        if not found and not any(finding.file == str(path) for finding in findings):
            findings.append(Finding(str(path), 0, 0, "", "empty; one JSON object a line is expected"))
    if findings:
        raise BadInput(findings)
    return tuple(prompts[name] for name in sorted(prompts))


def view_bytes(prompts: Iterable[Prompt], view: str) -> bytes:
    """Canonical JSON of what one stage sees of the suite, whatever the order of the prompts.

    `input`: what generation sees; `checks`: all that scoring sees; `leakage`: what is compared with training data.
    Raises ValueError for another view.
    """
    if view not in VIEWS:
        raise ValueError(f"unknown view {view!r}; there are {', '.join(VIEWS)}")
    rows = [asdict(prompt) for prompt in sorted(prompts, key=lambda prompt: prompt.id)]
    if view != "checks":
        keep = ("id", "tier", "input") if view == "input" else ("id", "input", "reference")
        rows = [{name: row[name] for name in keep} for row in rows]
    return canonical(rows)


def suite_hash(prompts: Iterable[Prompt]) -> str:
    """SHA-256 (64 hex digits) of the `checks` view: results of different suites are not comparable."""
    return sha256_bytes(view_bytes(prompts, "checks"))


def _prompt(row: Mapping[str, Any]) -> Prompt:
    """A checked row as a Prompt."""
    fields: dict[str, Any] = _tuples(row)
    if "checks" in row:
        fields["checks"] = Checks(**_tuples(row["checks"]))
    return Prompt(**fields)


def _tuples(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in row.items()}


def _rows(path: Path, findings: list[Finding]) -> Iterator[tuple[int, Any]]:
    """The values of a JSONL file with their line numbers; what cannot be read is added to `findings`."""
    for line, data in _lines(path, findings):
        try:
            text = data.decode("utf-8").rstrip("\r\n")
            if text.strip():
                yield line, json.loads(text, object_pairs_hook=_object)
        except UnicodeDecodeError as error:
            findings.append(Finding(str(path), line, error.start + 1, "", "not UTF-8; save the file as UTF-8"))
        except json.JSONDecodeError as error:
            findings.append(Finding(str(path), line, error.colno, "", f"not JSON: {error.msg}"))
        except (ValueError, RecursionError) as error:  # a name given twice, a number of 5,000 digits, 10,000 brackets
            reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
            findings.append(Finding(str(path), line, 0, "", f"not JSON as meant here: {reason}"))


def _lines(path: Path, findings: list[Finding]) -> Iterator[tuple[int, bytes]]:
    """The lines of a file and their numbers, from 1, never holding more than MAX_LINE bytes."""
    try:
        if not path.is_file():
            findings.append(Finding(str(path), 0, 0, "", "not a file" if path.exists() else "no such file"))
            return
        with path.open("rb") as stream:
            line = 0
            while data := stream.readline(MAX_LINE + 1):
                line += 1
                if len(data) > MAX_LINE:
                    findings.append(Finding(str(path), line, 0, "", f"longer than {MAX_LINE:,} bytes"))
                    return
                yield line, data
    except OSError as error:
        findings.append(Finding(str(path), 0, 0, "", f"cannot be read: {error.strerror}"))


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object whose names are all different. Raises ValueError."""
    value = dict(pairs)
    if len(value) < len(pairs):
        name = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"{shown(name)} is given twice")
    return value
