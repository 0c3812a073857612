"""The checker against its own valid programs, broken in many ways: nearly all are rejected, at the right line."""

from __future__ import annotations

import json
import random
from functools import cache
from pathlib import Path

from bbjspec.bbj.checker import check
from bbjspec.bbj.extract import blocks
from tests.bbj.broken import Program
from tests.bbj.mutations import MUTATIONS

ROOT = Path(__file__).parents[2]
EACH = 40
"""Programs broken in each way."""


@cache
def valid_programs() -> list[str]:
    """The project's own valid programs: conformance, references of prompts, and code of hand-written training rows."""

    def rows(path: Path) -> list[dict]:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]

    found = [row["code"] for row in rows(Path(__file__).with_name("conformance.jsonl")) if row["expect"] == "valid"]
    for path in sorted((ROOT / "eval/prompts/syntax").glob("*.jsonl")):
        found += [row["reference"] for row in rows(path)]
    for row in rows(ROOT / "dataset/sample.jsonl"):
        if "starter" not in row["id"] and row["kind"] != "starter":
            found += [block.code for block in blocks(row["messages"][-1]["content"]) if block.tag in ("bbj", "basic")]
    return [code for code in found if not check(code)]


def measure() -> dict[str, tuple[int, int, int, list[str]]]:
    """By mutation: programs broken, rejected, with the first error within a line of the mistake, and some missed."""
    programs = [Program.of(code) for code in valid_programs()]
    figures = {}
    for name, mutate in MUTATIONS.items():
        rng = random.Random(name)
        made = rejected = placed = 0
        missed: list[str] = []
        for program in rng.sample(programs, len(programs)):
            mutant = mutate(program, rng)
            if mutant is None or made == EACH:
                continue
            made += 1
            code, line = mutant
            errors = check(code)
            rejected += bool(errors)
            close = bool(errors) and abs(errors[0].line - line) <= 1
            placed += close
            if not close and len(missed) < 3:
                missed.append(code.split("\n")[line - 1])
        figures[name] = (made, rejected, placed, missed)
    return figures


def test_broken_programs_are_rejected_at_their_line() -> None:
    figures = measure()
    made, rejected, placed = (sum(row[i] for row in figures.values()) for i in range(3))
    table = "\n".join(f"{r}/{m} rejected, {p} placed: {name} {missed}" for name, (m, r, p, missed) in figures.items())
    assert len([row for row in figures.values() if row[0] >= 5]) >= 20, table
    assert rejected >= 0.98 * made, f"{rejected} of {made}\n{table}"
    assert placed >= 0.90 * rejected, f"{placed} of {rejected}\n{table}"


def test_what_bbjcpl_lets_through_is_let_through() -> None:
    for code in (
        "if a then\nprint 1\n",
        "for i=1 to 3\nprint i\n",
        "while 1\nprint 1\n",
        "methodend\n",
        "next i\n",
        "a!=b\n",
        "System.out.println(x)\n",
    ):
        assert not check(code), code
