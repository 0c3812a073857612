"""What becomes of a row is said, and depends on nothing but the row and the spec."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bbjspec.data.choose import chosen_prompt, dropped_because, duplicates, mended, mixed
from bbjspec.spec.data import FilterSpec, RepairSpec
from tests.rows import row

FILTERS = FilterSpec().model_dump()
LONG = "How do I read a whole text file into one string, line by line"


@pytest.mark.parametrize(
    ("change", "side", "expected"),
    [
        ({}, "train", None),
        ({"where": {"tags": "starter"}}, "train", "where.tags"),
        ({"where": {"tags": "starter"}}, "val", None),
        ({"exclude_ids": ("r1",)}, "val", "exclude_ids"),
        ({"min_answer_chars": 100}, "val", "min_answer_chars"),
        ({"max_answer_chars": 3}, "train", "max_answer_chars"),
        ({"require_code": True}, "train", "require_code"),
    ],
)
def test_a_dropped_row_says_why(change: dict[str, object], side: str, expected: str | None) -> None:
    assert dropped_because(row(1, "question"), side, FILTERS | change) == expected


def test_where_looks_into_lists_and_values() -> None:
    example = row(1, "question", tags=["starter", "gui"], kind="completion")
    assert dropped_because(example, "train", FILTERS | {"where": {"tags": "starter", "kind": "completion"}}) is None
    assert dropped_because(example, "train", FILTERS | {"where": {"kind": "explanation"}}) == "where.kind"


def test_repairs_and_their_names() -> None:
    repair = RepairSpec(fence_code=True, tag_fences=True).model_dump()
    made, names = mended(row(1, "q", 'print "a"\nprint "b"'), repair, [], 1)
    assert (made.answer, names) == ('```bbj\nprint "a"\nprint "b"\n```', ("fence_code",))
    assert made.document["messages"][2]["content"] == made.answer and made.id == "r1"
    assert mended(row(1, "q", 'print "a"'), RepairSpec().model_dump(), [], 1) == (row(1, "q", 'print "a"'), ())


@given(st.integers(1, 10), st.integers(1, 10))
def test_system_prompts_come_by_weight_and_stay(a: int, b: int) -> None:
    prompts = [{"text": "A", "weight": a}, {"text": "B", "weight": b}]
    rows = [row(i, f"question {i}") for i in range(400)]
    drawn = [chosen_prompt(r, prompts, 1) for r in rows]
    assert abs(Counter(drawn)["A"] / 400 - a / (a + b)) < 0.12
    assert [chosen_prompt(r, prompts, 1) for r in rows[::2]] == drawn[::2]
    assert chosen_prompt(row(1, "q", system="own"), [], 1) == "own"


def test_duplicates() -> None:
    rows = [
        row(1, LONG, "short"),
        row(2, LONG.upper(), "a longer answer"),
        row(3, LONG + "?"),
        row(4, "Something else"),
    ]
    same = [rows[:3], rows[3:]]

    def gone(exact: str, near: str) -> dict[int, tuple[str, str]]:
        return duplicates(same, {"exact": exact, "near": near}, lambda r: len(r.answer))

    assert gone("flag", "flag") == {}
    assert gone("keep_first", "flag") == {2: ("duplicate", "r1")}
    assert gone("keep_best", "flag") == {1: ("duplicate", "r2")}
    assert gone("flag", "drop") == {3: ("near_duplicate", "r1")}
    assert gone("keep_best", "drop") == {1: ("duplicate", "r2"), 3: ("near_duplicate", "r2")}


def test_the_ends_of_a_chain_both_stay() -> None:
    chain = [row(1, "a" * 20), row(2, "a" * 19 + "b"), row(3, "a" * 18 + "bb")]
    assert duplicates([chain], {"exact": "flag", "near": "drop"}, len) == {2: ("near_duplicate", "r1")}


def test_mixing_in_is_exact_and_stable() -> None:
    pool = [row(i, f"python {i}") for i in range(100)]
    drawn = mixed(pool, 0.1, 90, 1)
    assert isinstance(drawn, list) and len(drawn) == 10
    assert drawn == mixed(pool, 0.1, 90, 1) != mixed(pool, 0.1, 90, 2)
    assert {r.line for r in drawn} <= {r.line for r in mixed(pool, 0.2, 90, 1)}  # type: ignore[union-attr]
    assert mixed(pool, 0.9, 90, 1) == 810
