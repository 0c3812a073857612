"""The sides decide what may be believed: exact, stable, and blind to anything but content, seed and stratum."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from bbjspec.data.rows import Row
from bbjspec.data.sides import grouped, validation_lines, value_of
from tests.rows import row

KINDS = ("completion", "explanation", "reference")


def held_out(rows: Sequence[Row], val_size: float, seed: int, stratify_by: Sequence[str] = ("kind",)) -> set[int]:
    return validation_lines(grouped(rows, seed, stratify_by), val_size)


def rows_of(count: int) -> list[Row]:
    """Rows whose questions differ by far more than a tenth."""
    return [row(i + 1, f"{i * 7919 % 10**6:06} {i * 104729 % 10**6:06}?", kind=KINDS[i % 7 % 3]) for i in range(count)]


def test_the_teams_numbers() -> None:
    assert len(held_out(rows_of(9922), 0.1, 42)) == 992


@given(st.integers(20, 400), st.floats(0.05, 0.5), st.integers(0, 5))
@settings(max_examples=40, deadline=None)
def test_exact_size_and_exact_strata(count: int, share: float, seed: int) -> None:
    rows = rows_of(count)
    held = held_out(rows, share, seed)
    assert len(held) == round(share * count)
    for kind, size in Counter(r.fields["kind"] for r in rows).items():
        there = sum(r.fields["kind"] == kind for r in rows if r.line in held)
        assert abs(there - share * size) <= 1 + 1e-9


@given(st.permutations(range(60)))
@settings(max_examples=20, deadline=None)
def test_the_order_of_rows_moves_nothing(order: list[int]) -> None:
    rows = rows_of(60)
    held = held_out(rows, 0.2, 1)
    questions = {r.question for r in rows if r.line in held}
    moved = [row(line, rows[i].question, **rows[i].fields) for line, i in enumerate(order, 1)]
    held = held_out(moved, 0.2, 1)
    assert {r.question for r in moved if r.line in held} == questions


def test_one_question_stays_on_one_side_however_it_is_written() -> None:
    def question(i: int) -> str:
        text = rows_of(30)[i // 3].question + " and then some more words"
        return (text, text.upper().replace(" ", "  "), text.replace("some", "sone"))[i % 3]

    rows = [row(i + 1, question(i), kind="x") for i in range(90)]
    held = held_out(rows, 0.2, 3)
    assert len(held) == 18
    for start in range(0, 90, 3):
        assert len({r.line in held for r in rows[start : start + 3]}) == 1


def test_removing_rows_moves_next_to_nothing() -> None:
    rows = rows_of(4000)
    before = held_out(rows, 0.1, 42)
    fewer = [r for r in rows if r.line % 20]
    after = held_out(fewer, 0.1, 42)
    moved = sum((r.line in before) != (r.line in after) for r in fewer)
    assert moved / len(fewer) < 0.01


def test_a_row_without_kind_is_told_by_its_text() -> None:
    assert value_of(row(1, "Write a program that prints a list.", "```bbj\nprint 1\n```"), "kind") == "code-generation"
    assert value_of(row(1, "Explain why this loop never ends."), "kind") == "explanation"
    assert value_of(row(1, "anything", kind="mine"), "kind") == "mine"
    assert value_of(row(1, "anything"), "author") is None
