"""The split decides what may be believed: exact, stable, and blind to anything but content, seed and stratum."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bbjspec.data.rows import Row
from bbjspec.stages.split import dropped_because, validation_ids

FILTERS = {"exclude_ids": (), "min_answer_chars": 1, "max_answer_chars": None, "require_code": False}


def row(line: int, question: str, answer: str = "an answer", **fields: object) -> Row:
    return Row(line, f"r{line}", "system", question, answer, fields)


def rows_of(count: int) -> list[Row]:
    kinds = ("completion", "explanation", "reference")
    return [row(i + 1, f"question {i}", kind=kinds[i % 7 % 3]) for i in range(count)]


def test_the_teams_numbers() -> None:
    assert len(validation_ids(rows_of(9922), 0.1, 42, ["kind"])) == 992


@given(st.integers(20, 400), st.floats(0.05, 0.5), st.integers(0, 5))
@settings(max_examples=40, deadline=None)
def test_exact_size_and_exact_strata(count: int, share: float, seed: int) -> None:
    rows = rows_of(count)
    held = validation_ids(rows, share, seed, ["kind"])
    assert len(held) == round(share * count)
    for kind, size in Counter(r.fields["kind"] for r in rows).items():
        there = sum(r.fields["kind"] == kind for r in rows if r.line in held)
        assert abs(there - share * size) <= 1 + 1e-9


@given(st.permutations(range(60)))
@settings(max_examples=20, deadline=None)
def test_the_order_of_rows_moves_nothing(order: list[int]) -> None:
    rows = rows_of(60)
    questions = {r.question for r in rows if r.line in validation_ids(rows, 0.2, 1, ["kind"])}
    shuffled = [rows[i] for i in order]
    assert {r.question for r in shuffled if r.line in validation_ids(shuffled, 0.2, 1, ["kind"])} == questions


def test_one_question_stays_on_one_side() -> None:
    rows = [row(i + 1, f"Question  {i // 3}" if i % 2 else f"question {i // 3}", kind="x") for i in range(90)]
    held = validation_ids(rows, 0.2, 3, ["kind"])
    for start in range(0, 90, 3):
        assert len({r.line in held for r in rows[start : start + 3]}) == 1


def test_removing_rows_moves_next_to_nothing() -> None:
    rows = rows_of(4000)
    before = validation_ids(rows, 0.1, 42, ["kind"])
    fewer = [r for r in rows if r.line % 20]
    after = validation_ids(fewer, 0.1, 42, ["kind"])
    moved = sum((r.line in before) != (r.line in after) for r in fewer)
    assert moved / len(fewer) < 0.01


@pytest.mark.parametrize(
    ("change", "where", "expected"),
    [
        ({}, {}, None),
        ({}, {"tags": "starter"}, "where.tags"),
        ({"exclude_ids": ("r1",)}, {}, "exclude_ids"),
        ({"min_answer_chars": 100}, {}, "min_answer_chars"),
        ({"max_answer_chars": 3}, {}, "max_answer_chars"),
        ({"require_code": True}, {}, "require_code"),
    ],
)
def test_a_dropped_row_says_why(change: dict[str, object], where: dict[str, str], expected: str | None) -> None:
    assert dropped_because(row(1, "question"), where, FILTERS | change) == expected


def test_where_looks_into_lists_and_values() -> None:
    example = row(1, "question", tags=["starter", "gui"], kind="completion")
    assert dropped_because(example, {"tags": "starter", "kind": "completion"}, FILTERS) is None
    assert dropped_because(example, {"kind": "explanation"}, FILTERS) == "where.kind"
