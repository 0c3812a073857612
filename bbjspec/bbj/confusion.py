"""`bbjspec cpl --agreement generations.jsonl`: the embedded checker against bbjcpl on what models really wrote.

Needs bbjcpl. Prints the confusion matrix of the two and where they differ, by the checker's rule, so that the checker
can be mended; the figures say how far a provisional verdict can be trusted.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from bbjspec.bbj.checker import BUILTIN_VERSION, check
from bbjspec.bbj.compiler import Compiler, Verdict, open_compiler
from bbjspec.bbj.extract import extract
from bbjspec.errors import BadInput, EnvironmentLacks, Finding

_SHOWN = 20
"""How many differences are shown, of each kind."""


def print_agreement(path: Path, stdout: TextIO) -> None:
    """Judges every sample of `path` by both. Raises EnvironmentLacks without bbjcpl, BadInput for a bad file."""
    try:
        compiler = open_compiler("bbjcpl", None)
    except EnvironmentLacks as lacks:
        raise EnvironmentLacks(
            "--agreement compares the builtin with bbjcpl, which was not found in PATH or $BBJ_HOME/bin: run it where "
            "BBj is installed"
        ) from lacks
    samples = read_samples(path)
    names = [name for name, code in samples if code]
    programs = [code for _, code in samples if code]
    for line in report(names, programs, len(samples), compiler):
        stdout.write(line + "\n")


def read_samples(path: Path) -> list[tuple[str, str]]:
    """Name and extracted program (empty: none) of each row. Raises BadInput for what is no generations.jsonl."""
    found = []
    try:
        rows = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no UTF-8"
        raise BadInput(f"{path}: cannot be read: {reason}") from error
    for number, row in enumerate(rows, start=1):
        if not row.strip():
            continue
        try:
            sample = json.loads(row)
            name, text = f"{sample['task_id']} #{sample['sample_idx']}", sample["completion"]
            found.append((name, extract(text).code))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            finding = Finding(str(path), number, 0, "", "a row wants task_id, sample_idx and completion")
            raise BadInput([finding]) from error
    return found


def report(names: Sequence[str], programs: Sequence[str], samples: int, compiler: Compiler) -> list[str]:
    """The lines of the report: matrix, agreement, differences."""
    judged: list[Verdict] = compiler.compile(programs)
    matrix: Counter[tuple[bool, bool]] = Counter()
    accepts: list[str] = []
    refuses: list[str] = []
    rules: Counter[str] = Counter()
    for name, program, verdict in zip(names, programs, judged, strict=True):
        if verdict.verdict == "infra_error":
            continue
        errors, valid = check(program), verdict.verdict == "valid"
        matrix[not errors, valid] += 1
        if errors and valid:
            rules[errors[0].rule] += 1
            refuses.append(f"  {name}: line {errors[0].line}: {errors[0].rule}: {errors[0].source.strip()[:100]}")
        elif not errors and not valid:
            first = verdict.errors[0]
            accepts.append(f"  {name}: line {first.line}: {first.source.strip()[:100]}")
    total = sum(matrix.values())
    agreed = matrix[True, True] + matrix[False, False]
    lines = [
        f"{samples} samples, {len(programs)} with a program, {total} with a verdict of {compiler.name} "
        f"{compiler.version}; builtin {BUILTIN_VERSION}",
        f"{'':16}{'bbjcpl valid':>14}{'bbjcpl error':>14}",
        f"{'builtin valid':16}{matrix[True, True]:14}{matrix[True, False]:14}",
        f"{'builtin error':16}{matrix[False, True]:14}{matrix[False, False]:14}",
        f"agreement: {agreed} of {total}" + (f" ({agreed / total:.1%})" if total else ""),
    ]
    if accepts:
        lines += [f"builtin accepts, bbjcpl rejects ({len(accepts)}), bbjcpl's line:", *accepts[:_SHOWN]]
    if refuses:
        counts = ", ".join(f"{rule} {count}" for rule, count in rules.most_common())
        lines += [f"builtin rejects, bbjcpl accepts ({len(refuses)}: {counts}):", *refuses[:_SHOWN]]
    return lines
