"""What ships as data: every program is accepted, and the demo is not trained on what it is asked."""

from __future__ import annotations

import re
import runpy
from collections import Counter
from pathlib import Path

from bbjspec.bbj.checker import check
from bbjspec.bbj.compiler import Builtin
from bbjspec.bbj.extract import blocks, extract
from bbjspec.bbj.tables import verbs
from bbjspec.data.audit import Judges, audit
from bbjspec.data.code import has_code
from bbjspec.data.leakage import leaks
from bbjspec.data.rows import load_rows, normalise
from bbjspec.suite import load_prompts

ROOT = Path(__file__).parents[2]
ROWS = load_rows(ROOT / "dataset/sample.jsonl", "dataset/sample.jsonl")
STARTER = [row for row in ROWS if row.has("tags", "starter")]
OTHERS = [row for row in ROWS if not row.has("tags", "starter")]
VERBS = frozenset(verbs())
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


def test_there_is_enough_of_everything() -> None:
    assert len(OTHERS) >= 1000 and 300 <= len(STARTER) <= 500
    for name, least in (("generation", 5), ("kind", 7), ("topic", 15)):
        counts = Counter(str(row.fields[name]) for row in OTHERS)
        assert len(counts) >= least and min(counts.values()) >= 15, counts


def test_its_own_audit_finds_nothing() -> None:
    suites = [prompt for suite in SUITES.values() for prompt in suite]
    found = audit(ROWS, Judges(Builtin(), prompts=suites)).checks()
    assert {name: entry["lines"] for name, entry in found.items() if entry["count"]} == {}


def shape(code: str) -> str:
    """A program without its names, texts and numbers: what a template would leave."""
    code = re.sub(r'"[^"\n]*"?', "S", code.lower())
    return " ".join(re.sub(r"[a-z_]\w*[$!%]?|[0-9.]+", lambda m: m[0] if m[0] in VERBS else "v", code).split())


def test_no_template_makes_more_than_two_percent() -> None:
    programs = Counter(shape(extract(row.answer).code) for row in OTHERS if has_code(row.answer))
    questions = Counter(" ".join(normalise(row.question).split()[:4]) for row in OTHERS)
    for what in (programs, questions):
        assert what.most_common(1)[0][1] <= 0.02 * len(OTHERS), what.most_common(3)


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
