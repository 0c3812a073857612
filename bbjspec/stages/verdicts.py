"""The rules by which one answer passes or fails.

An answer to a syntax prompt passes *raw* when it ended by itself and its program compiles, and *strictly* when it also
holds enough statements of its own, meets the prompt's patterns, is no echo, and answers no other prompt as well. An
answer to a general prompt passes when it ended by itself and its Python passes the prompt's tests.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from bbjspec.bbj.compiler import Verdict
from bbjspec.bbj.extract import Extraction, extract, extract_python
from bbjspec.sandbox import Outcome
from bbjspec.stages.programs import containment, significant_statements, statements, stripped, unchanged
from bbjspec.suite import Prompt

ECHO = 0.8  # this share of the program's 8-grams in the prompt makes it an echo
PASS = "pass"

# Outcomes of a syntax answer in the order in which they are looked for, each with what it means in a card.
OUTCOMES = {
    PASS: "passes strictly",
    "truncated": "cut off at the token limit",
    "wrong_language": "only code fences of other languages",
    "empty": "no program",
    "compile_error": "does not compile",
    "too_few_statements": "too few non-trivial statements",
    "missing_construct": "lacks a required construct",
    "forbidden_construct": "uses a forbidden construct",
    "echo": "repeats the prompt",
    "unchanged": "leaves the given program as it was",
    "template_collapse": "the same program answers several prompts",
}
FACTUAL_OUTCOMES = {
    PASS: "right",
    "empty": "empty",
    "too_long": "longer than allowed",
    "missing_fact": "lacks the fact asked for",
    "wrong_fact": "states something wrong",
}
GENERAL_OUTCOMES = {
    PASS: "passes its tests",
    "truncated": "cut off at the token limit",
    "wrong_language": "only code fences of other languages",
    "empty": "no program",
    "wrong_result": "fails its tests, or with an error",
    "timeout": "does not end in time",
    "memory": "takes too much memory",
    "output": "prints too much",
    "forbidden": "does what the sandbox forbids",
}
UNRATED = "unrated"
# Of each tier: what an answer can come to, with what it means in a card.
TIER_OUTCOMES = {
    "syntax": OUTCOMES,
    "factual": FACTUAL_OUTCOMES,
    "general": GENERAL_OUTCOMES,
    "realistic": {UNRATED: "for people to rate"},
}
# Steps of the funnel, and the outcomes that have been left behind at each.
FUNNEL = {
    "generated": (),
    "complete": ("truncated",),
    "extracted": ("wrong_language", "empty"),
    "compiles": ("compile_error",),
    "non_trivial": ("too_few_statements",),
    "strict": ("missing_construct", "forbidden_construct", "echo", "unchanged", "template_collapse"),
}


@dataclass(frozen=True)
class Sample:
    """One row of generations.jsonl, as far as judging needs it."""

    prompt: Prompt
    index: int
    completion: str
    finish_reason: str


@dataclass(frozen=True)
class Judged:
    """A sample and all that was found out about it. `verdict` is None where there was nothing to compile."""

    sample: Sample
    solution: str
    extraction: str
    verdict: Verdict | None
    outcome: str
    raw_pass: bool
    strict_pass: bool
    checks: Mapping[str, Any] = field(default_factory=dict)


def solution_of(sample: Sample) -> Extraction:
    """The program in an answer to a syntax or general prompt: blind to whether it compiles or runs."""
    return (extract_python if sample.prompt.tier == "general" else extract)(sample.completion)


def judge_program(sample: Sample, extraction: Extraction, verdict: Verdict | None) -> Judged:
    """Rules 1 to 5 for one answer; rule 6 looks across prompts: `collapse`. `verdict` is None for no program."""
    prompt, code = sample.prompt, extraction.code
    assert prompt.checks is not None  # the suite's reader sees to it
    rules, plain = prompt.checks, stripped(code)
    missing = [pattern for pattern in rules.require if not re.search(pattern, plain, re.IGNORECASE)]
    forbidden = [pattern for pattern in rules.forbid if re.search(pattern, plain, re.IGNORECASE)]
    count, share = significant_statements(code), containment(code, prompt.input)
    same = rules.mode != "write" and _leaves_unchanged(code, prompt.input, rules.mode)
    if sample.finish_reason == "length":
        outcome = "truncated"
    elif verdict is None:
        outcome = "wrong_language" if extraction.outcome == "wrong_language" else "empty"
    elif verdict.verdict != "valid":
        outcome = "compile_error"
    elif count < rules.min_statements:
        outcome = "too_few_statements"
    elif missing or forbidden:
        outcome = "missing_construct" if missing else "forbidden_construct"
    elif same:
        outcome = "unchanged"
    elif rules.mode == "write" and share >= ECHO:
        outcome = "echo"
    else:
        outcome = PASS
    checks = {
        "statements": count,
        "min_statements": rules.min_statements,
        "missing": missing,
        "forbidden": forbidden,
        "containment": round(share, 6),
    }
    compiles = verdict is not None and verdict.verdict == "valid"
    raw = compiles and sample.finish_reason != "length"
    return Judged(sample, code, extraction.outcome, verdict, outcome, raw, outcome == PASS, checks)


def _leaves_unchanged(code: str, question: str, mode: str) -> bool:
    """Whether nothing was done to the program in the question, or to the question itself where it fences none."""
    given = extract(question)
    if given.n_blocks:
        return unchanged(code, given.code, mode)
    return bool(statements(code)) and set(statements(code)) <= set(statements(question))


def collapse(judged: Iterable[Judged]) -> list[Judged]:
    """Rule 6: a program that was given to two prompts or more passes at none of them, whichever of them it solves."""
    found = list(judged)
    asked: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for one in found:
        if one.sample.prompt.tier == "syntax":
            asked[tuple(statements(one.solution))].add(one.sample.prompt.id)
    return [
        replace(one, outcome="template_collapse", strict_pass=False)
        if one.strict_pass and one.sample.prompt.tier == "syntax" and len(asked[tuple(statements(one.solution))]) > 1
        else one
        for one in found
    ]


def judge_general(sample: Sample, extraction: Extraction, outcome: Outcome | None) -> Judged:
    """A general answer by how its program and tests ended in the sandbox; `outcome` is None for no program."""
    if sample.finish_reason == "length":
        said = "truncated"
    elif outcome is None:
        said = "wrong_language" if extraction.outcome == "wrong_language" else "empty"
    else:
        said = {"passed": PASS, "failed": "wrong_result"}.get(outcome.kind, outcome.kind)
    checks = {"detail": outcome.detail if outcome else ""}
    return Judged(sample, extraction.code, extraction.outcome, None, said, said == PASS, said == PASS, checks)


def unrated(sample: Sample) -> Judged:
    """An answer to a realistic prompt: kept for people, counted nowhere."""
    return Judged(sample, sample.completion, "text", None, UNRATED, False, False)


def first_sentence(text: str) -> str:
    """The text up to the end of its first sentence: `.`, `?` or `!` before white space, or an empty line.

    `x!` and `? x` are BBj: an exclamation mark behind a letter ends a sentence only before a capital, and a mark that
    stands alone ends none.
    """
    paragraph = re.split(r"\n\s*\n", text.strip(), maxsplit=1)[0]
    end = re.search(r"(?<=\S)(?:[.?](?=\s|$)|!(?=\s+[A-Z]|\s*$))", paragraph)
    return paragraph[: end.end()] if end else paragraph


def judge_answer(sample: Sample) -> Judged:
    """A factual answer: every `must` and no `must_not` within its scope, not empty, not too long."""
    prompt, text = sample.prompt, sample.completion.strip()
    scope = first_sentence(text) if prompt.scope == "first_sentence" else text
    missing = [pattern for pattern in prompt.must if not re.search(pattern, scope, re.IGNORECASE)]
    wrong = [pattern for pattern in prompt.must_not if re.search(pattern, scope, re.IGNORECASE)]
    if not text:
        outcome = "empty"
    elif prompt.max_chars is not None and len(text) > prompt.max_chars:
        outcome = "too_long"
    elif missing:
        outcome = "missing_fact"
    else:
        outcome = "wrong_fact" if wrong else PASS
    checks = {"chars": len(text), "missing": missing, "forbidden": wrong}
    passed = outcome == PASS
    return Judged(sample, text, "text", None, outcome, passed, passed, checks)
