"""Which prompts of a suite the rows give away.

A prompt leaks when its normalised text is a question of the rows, or shares 10 successive white-space words with one; a
reference leaks when the same program stands in an answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from bbjspec.bbj.extract import blocks
from bbjspec.data.rows import Row, normalise
from bbjspec.suite import Prompt

GRAM = 10  # words


def grams(text: str) -> set[tuple[str, ...]]:
    """Every run of 10 successive words of the normalised text."""
    words = normalise(text).split()
    return {tuple(words[i : i + GRAM]) for i in range(len(words) - GRAM + 1)}


def program_key(code: str) -> str:
    """A program as it is compared whole: blank lines, case and white space folded; names and literals kept."""
    return "\n".join(line for raw in code.splitlines() if (line := normalise(raw)))


def leaks(prompts: Iterable[Prompt], rows: Iterable[Row]) -> list[dict[str, Any]]:
    """One entry a leaked prompt, by id: the rule, the training row, and the words or the program in common."""
    questions: dict[str, str] = {}
    shared: dict[tuple[str, ...], str] = {}
    answers: dict[str, str] = {}
    for row in rows:
        questions.setdefault(normalise(row.question), row.id)
        for gram in grams(row.question):
            shared.setdefault(gram, row.id)
        for block in blocks(row.answer):
            answers.setdefault(program_key(block.code), row.id)
    found = []
    for prompt in sorted(prompts, key=lambda p: str(p.id)):
        text = normalise(prompt.input)
        common = sorted(gram for gram in grams(prompt.input) if gram in shared)
        key = program_key(prompt.reference or "")
        if text in questions:
            found.append(_leak(prompt.id, "same_question", questions[text], text))
        elif common:
            found.append(_leak(prompt.id, "shared_words", shared[common[0]], " ".join(common[0])))
        elif key and key in answers:
            found.append(_leak(prompt.id, "same_program", answers[key], key))
    return found


def _leak(prompt_id: str, rule: str, train_id: str, evidence: str) -> dict[str, Any]:
    return {"id": prompt_id, "rule": rule, "train_id": train_id, "evidence": evidence[:200]}


def leaking_rows(prompts: Iterable[Prompt], rows: Iterable[Row]) -> Iterator[tuple[Row, str, str]]:
    """Each row that gives a prompt away, by the rule of `leaks`: the row, the rule, and the prompt's id."""
    questions: dict[str, str] = {}
    shared: dict[tuple[str, ...], str] = {}
    references: dict[str, str] = {}
    for prompt in sorted(prompts, key=lambda p: p.id):
        questions.setdefault(normalise(prompt.input), prompt.id)
        for gram in grams(prompt.input):
            shared.setdefault(gram, prompt.id)
        if key := program_key(prompt.reference or ""):
            references.setdefault(key, prompt.id)
    for row in rows:
        if found := questions.get(normalise(row.question)):
            yield row, "same_question", found
        elif ids := sorted(shared[gram] for gram in grams(row.question) if gram in shared):
            yield row, "shared_words", ids[0]
        elif ids := [references[key] for b in blocks(row.answer) if (key := program_key(b.code)) in references]:
            yield row, "same_program", ids[0]
