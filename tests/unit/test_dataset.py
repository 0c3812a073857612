"""What ships as data: every program is accepted, and the demo is not trained on what it is asked."""

from __future__ import annotations

import runpy
from pathlib import Path

from bbjspec.bbj.checker import check
from bbjspec.bbj.extract import blocks
from bbjspec.data.leakage import leaks
from bbjspec.data.rows import load_rows
from bbjspec.suite import load_prompts

ROOT = Path(__file__).parents[2]
ROWS = load_rows(ROOT / "dataset/sample.jsonl", "dataset/sample.jsonl")
STARTER = [row for row in ROWS if row.has("tags", "starter")]
SUITES = {
    name: load_prompts(sorted(ROOT.glob(f"eval/prompts/{name}/*.jsonl"))) for name in ("starter", "syntax", "factual")
}


def test_every_program_is_accepted_by_the_checker() -> None:
    wrong = {}
    for row in ROWS:
        for block in blocks(row.answer):
            if block.tag == "bbj" and (errors := check(block.code)):
                wrong[row.id] = [(error.line, error.message) for error in errors]
    assert wrong == {}
    assert len(ROWS) - len(STARTER) >= 300 and len(STARTER) >= 300


def test_no_prompt_of_any_suite_is_leaked_by_the_rows() -> None:
    assert leaks([prompt for suite in SUITES.values() for prompt in suite], ROWS) == []


def test_starter_rows_are_what_their_script_writes() -> None:
    script = runpy.run_path(str(ROOT / "dataset/starter.py"))
    lines = (ROOT / "dataset/sample.jsonl").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if '"tags":["starter",' in line] == script["lines"]()


def test_no_name_of_the_starter_suite_is_in_its_rows() -> None:
    script = runpy.run_path(str(ROOT / "dataset/starter.py"))
    names = script["names"]
    asked = set().union(*(names(prompt.reference) for prompt in SUITES["starter"] if prompt.checks))
    trained = set().union(*(names(block.code) for row in STARTER for block in blocks(row.answer)))
    assert len(asked) > 50 and not asked & trained
