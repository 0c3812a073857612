"""Extraction is blind to syntax, and no degenerate answer passes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bbjspec.bbj.compiler import Builtin
from bbjspec.bbj.extract import extract, extract_python
from bbjspec.sandbox import Outcome
from bbjspec.stages.verdicts import (
    TIER_OUTCOMES,
    Judged,
    Sample,
    collapse,
    judge_answer,
    judge_general,
    judge_program,
    solution_of,
)
from bbjspec.suite import Checks, Prompt

PROMPT = Prompt(
    id="t/sum",
    tier="syntax",
    category="numbers",
    difficulty="basic",
    generation="all",
    input="Write a BBj program that adds price and tax into total and prints total with a label.",
    reference='price = 10\ntax = 2\ntotal = price + tax\nprint "Total: ", total\n',
    checks=Checks(require=(r"\btotal\s*=", r"\bprint\b"), forbid=(r"\bgoto\b",), min_statements=3, mode="write"),
)
GOOD = PROMPT.reference
FACT = replace(
    PROMPT,
    tier="factual",
    checks=None,
    reference="LEN returns the length.",
    must=(r"\blength\b",),
    must_not=(r"\bremainder\b",),
    scope="first_sentence",
    max_chars=80,
)


def judged(completion: str, finish: str = "stop", **changes: Any) -> Judged:
    sample = Sample(replace(PROMPT, **changes), 0, completion, finish)
    program = solution_of(sample)
    return judge_program(sample, program, Builtin().compile([program.code])[0] if program.code.strip() else None)


@pytest.mark.parametrize(
    ("text", "code", "outcome", "blocks"),
    [
        ("```bbj\nprint 1\n```", "print 1\n", "ok", 1),
        ("text\n~~~~ BBj\nprint 1\n~~~~\nmore", "print 1\n", "ok", 1),
        ("  ```\n  print 1\n  ```", "print 1\n", "ok", 1),
        ("```bbj\r\nprint 1\r\n```\r\n", "print 1\n", "ok", 1),
        ("```bbj\nprint 1\nprint 2", "print 1\nprint 2\n", "ok", 1),
        ("```python\nx = 1\n```", "", "wrong_language", 1),
        ("```python\nx = 1\ny = 2\n```\n```basic\nprint 1\n```", "print 1\n", "ok", 2),
        ("```\nprint 1\n```\n```bbj\nprint 2\nprint 3\n```", "print 2\nprint 3\n", "ok", 2),
        ("```bbj\nprint 1\n```\n```bbj\nprint 2\n```", "print 1\n", "ok", 2),
        ("```bbj\nrem a\nrem b\nrem c\nprint 1\n```\n```bbj\nprint 2\nprint 3\n```", "print 2\nprint 3\n", "ok", 2),
        ("````bbj\n```\nprint 1\n````", "```\nprint 1\n", "ok", 1),
        ("print 1", "print 1", "no_fence", 0),
        ("  \n", "", "empty", 0),
        ("```bbj\n```", "", "empty", 1),
        ("```bbj\nbroken ((\n```\n```bbj\nprint 1\n```", "broken ((\n", "ok", 2),
    ],
)
def test_extraction(text: str, code: str, outcome: str, blocks: int) -> None:
    found = extract(text)
    assert (found.code, found.outcome, found.n_blocks) == (code, outcome, blocks)


@pytest.mark.parametrize(
    ("text", "code", "outcome"),
    [
        ("```python\nx = 1\n```", "x = 1\n", "ok"),
        ("Here:\n```Py\nx = 1\n```\nand\n```\nx = 1\ny = 2\n```", "x = 1\ny = 2\n", "ok"),
        ("```python\n# a\n# b\n# c\nx = 1\n```\n```python\nx = 1\ny = 2\n```", "x = 1\ny = 2\n", "ok"),
        ("```bbj\nprint 1\n```", "", "wrong_language"),
        ("```python\nbroken ((\n```\n```python\nx = 1\n```", "broken ((\n", "ok"),
        ("x = 1", "x = 1", "no_fence"),
        ("", "", "empty"),
    ],
)
def test_extraction_of_python(text: str, code: str, outcome: str) -> None:
    found = extract_python(text)
    assert (found.code, found.outcome) == (code, outcome)


DEGENERATE = {
    "empty": ("", "stop", "empty"),
    "blank fence": ("```bbj\n\n```", "stop", "empty"),
    "comments alone": ("```bbj\nrem total = 1\nrem print total\n```", "stop", "too_few_statements"),
    "the prompt echoed": (PROMPT.input, "stop", "compile_error"),
    "the prompt as comments": (f"```bbj\nrem {PROMPT.input}\n```", "stop", "too_few_statements"),
    "one print repeated": ("```bbj\n" + 'print "total ="\n' * 30 + "```", "stop", "too_few_statements"),
    "prose": ("You add both numbers and print the sum.", "stop", "compile_error"),
    "another language": ("```python\ntotal = price + tax\nprint(total)\n```", "stop", "wrong_language"),
    "another language, untagged": ("```\ndef f(a):\n    return a\n```", "stop", "compile_error"),
    "cut": (f"```bbj\n{GOOD}", "length", "truncated"),
    "an unclosed fence of nothing": ("```bbj\n", "stop", "empty"),
    "labels alone": ("```bbj\na:\nb:\nc:\nd:\n```", "stop", "too_few_statements"),
    "end, stop, release": ("```bbj\nend\nstop\nrelease\n```", "stop", "too_few_statements"),
    "constructs in strings": ('```bbj\na = 1\nb = 2\nc$ = "total = 3; print total"\n```', "stop", "missing_construct"),
    "constructs in comments": ("```bbj\na = 1\nb = 2\nc = 3; rem total = print\n```", "stop", "missing_construct"),
    "forbidden": (f"```bbj\n{GOOD}goto done\ndone: end\n```", "stop", "forbidden_construct"),
    "half a program": (f"```bbj\n{GOOD[: GOOD.index('Total')]}\n```", "stop", "compile_error"),
}


@pytest.mark.parametrize("name", DEGENERATE)
def test_a_degenerate_answer_does_not_pass(name: str) -> None:
    completion, finish, outcome = DEGENERATE[name]
    found = judged(completion, finish)
    assert (found.outcome, found.strict_pass) == (outcome, False)


def test_a_good_answer_passes_and_raw_needs_less() -> None:
    assert judged(f"```bbj\n{GOOD}```").strict_pass
    short = judged("```bbj\nprint 1\n```")
    assert short.raw_pass and not short.strict_pass
    assert not judged("```bbj\nprint 1\n```", "length").raw_pass


def test_an_echo_of_the_prompts_own_code_passes_only_where_code_must_change() -> None:
    given = f"Say it again:\n```bbj\n{GOOD}```"
    answer = f"```bbj\n{GOOD}```"
    assert judged(answer, input=given).outcome == "echo"
    fix = Checks(require=(), forbid=(), min_statements=1, mode="fix")
    assert judged(answer, input=given, checks=fix).outcome == "unchanged"
    assert judged(answer.replace("tax = 2", "tax = 3"), input=given, checks=fix).outcome == "pass"


def test_one_program_for_two_prompts_passes_at_neither() -> None:
    answer = f"```bbj\n{GOOD}```"
    spaced = answer.replace(" = ", "   =   ").replace("print", "PRINT")
    both = collapse([judged(answer), judged(spaced, id="t/other")])
    assert [one.outcome for one in both] == ["template_collapse"] * 2
    assert all(one.raw_pass and not one.strict_pass for one in both)
    assert [one.outcome for one in collapse([judged(answer), judged(answer)])] == ["pass", "pass"]


def test_only_programs_in_bbj_collapse() -> None:
    facts = [judge_answer(Sample(replace(FACT, id=f"t/{i}"), 0, "It is the length.", "stop")) for i in range(2)]
    assert [one.outcome for one in collapse(facts)] == ["pass", "pass"]


@pytest.mark.parametrize(
    ("completion", "finish", "ended", "outcome"),
    [
        ("```python\nx = 1\n```", "stop", Outcome("passed"), "pass"),
        ("```python\nx = 1\n```", "length", Outcome("passed"), "truncated"),
        ("```python\nx = 1\n```", "stop", Outcome("failed", "AssertionError"), "wrong_result"),
        ("```python\nx = 1\n```", "stop", Outcome("timeout"), "timeout"),
        ("```python\nx = 1\n```", "stop", Outcome("memory"), "memory"),
        ("```python\nx = 1\n```", "stop", Outcome("output"), "output"),
        ("```python\nx = 1\n```", "stop", Outcome("forbidden"), "forbidden"),
        ("```bbj\nprint 1\n```", "stop", None, "wrong_language"),
        (" ", "stop", None, "empty"),
    ],
)
def test_a_general_answer(completion: str, finish: str, ended: Outcome | None, outcome: str) -> None:
    sample = Sample(replace(PROMPT, tier="general", checks=None), 0, completion, finish)
    found = judge_general(sample, solution_of(sample), ended)
    assert (found.outcome, found.strict_pass, found.raw_pass) == (outcome, outcome == "pass", outcome == "pass")
    assert outcome in TIER_OUTCOMES["general"]


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        ("LEN returns the length.", "pass"),
        ("", "empty"),
        ("It opens a file.", "missing_fact"),
        ("It is the length, or the remainder.", "wrong_fact"),
        ("Well. It is the length.", "missing_fact"),
        ("length " * 100, "too_long"),
    ],
)
def test_a_factual_answer(answer: str, outcome: str) -> None:
    assert judge_answer(Sample(FACT, 0, answer, "stop")).outcome == outcome
