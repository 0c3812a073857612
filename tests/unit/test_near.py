"""Near-duplicates are exactly those that comparing all pairs finds, whatever the texts."""

from __future__ import annotations

import math
import random
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rapidfuzz.distance import Levenshtein

from bbjspec.data import near
from bbjspec.data.near import groups, near_duplicates

Pairs = list[tuple[int, int]]


def brute(texts: list[str], share: str) -> Pairs:
    """The definition, pair by pair."""
    return [
        (i, j)
        for i, one in enumerate(texts)
        for j, other in enumerate(texts[i + 1 :], start=i + 1)
        if 0 < Levenshtein.distance(one, other) < Fraction(share) * max(len(one), len(other))
    ]


def edited(draw: random.Random, text: str, edits: int, alphabet: str) -> str:
    """The text after some random edits."""
    signs = list(text)
    for _ in range(edits):
        at, kind = draw.randrange(len(signs) + 1), draw.randrange(3)
        signs[at : at + (kind > 0)] = draw.choice(alphabet) if kind < 2 else ""
    return "".join(signs)


@st.composite
def families(draw: st.DrawFn) -> list[str]:
    """Texts of lengths around multiples of 10, each with relatives about as far away as is just near, and repeats."""
    random_ = random.Random(draw(st.integers(0, 2**32)))
    alphabet = draw(st.sampled_from(["ab", "abcdefghij klmnop", "aé€😀 \ud800\0z", "How do I open it in BBj?"]))
    texts = [""]
    for _ in range(draw(st.integers(1, 6))):
        length = max(10 * draw(st.integers(0, 12)) + draw(st.integers(-2, 2)), 0)
        text = "".join(random_.choice(alphabet) for _ in range(length))
        texts += [text, *(edited(random_, text, length // 10 + random_.randint(-2, 1), alphabet) for _ in range(4))]
    texts += random_.sample(texts, len(texts) // 3)
    random_.shuffle(texts)
    return texts


@given(families(), st.sampled_from(["0.1", "0.1", "0.05", "0.3", "1"]))
@settings(deadline=None, max_examples=150)
def test_related_texts(texts: list[str], share: str) -> None:
    assert near_duplicates(texts, float(share)) == brute(texts, share)


@given(st.lists(st.text(max_size=30), max_size=30), st.sampled_from(["0.1", "0.5", "1"]))
@settings(deadline=None)
def test_any_texts(texts: list[str], share: str) -> None:
    assert near_duplicates(texts, float(share)) == brute(texts, share)


@given(families(), st.integers(1, 5), st.integers(1, 5), st.integers(1, 500))
@settings(deadline=None)
def test_blocks_of_any_size(texts: list[str], rows: int, columns: int, characters: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(near, "ROWS", rows)
        patch.setattr(near, "COLUMNS", columns)
        patch.setattr(near, "CHARACTERS", characters)
        assert near_duplicates(texts) == brute(texts, "0.1")


def test_texts_longer_than_a_sketch() -> None:
    draw = random.Random(3)
    texts = ["".join(draw.choice("abcdefgh ") for _ in range(4000)) for _ in range(4)]
    texts += [edited(draw, text, edits, "xyz") for text in texts for edits in (100, 380, 500)]
    assert near_duplicates(texts) == brute(texts, "0.1")
    assert near_duplicates(texts)


@pytest.mark.parametrize(
    ("length", "distance", "found"), [(10, 1, False), (11, 1, True), (30, 3, False), (30, 2, True)]
)
def test_the_bound_is_strict_and_a_tenth_is_a_tenth(length: int, distance: int, found: bool) -> None:
    """0.1 × 30 is more than 3 in binary."""
    one = "a" * length
    assert near_duplicates([one, "b" * distance + one[distance:]]) == [(0, 1)] * found


def test_what_stands_twice_is_near_to_its_neighbours_twice_and_not_to_itself() -> None:
    question, other = "How do I open a file in BBj?", "How do I open a file in BBJ?"
    assert near_duplicates([question, other, "something else", question]) == [(0, 1), (1, 3)]
    assert near_duplicates([question, question]) == []


@pytest.mark.parametrize("texts", [[], [""], ["", ""], ["", "a"], ["a", "b"]])
def test_nothing_is_near(texts: list[str]) -> None:
    assert near_duplicates(texts) == []


@pytest.mark.parametrize("share", [0, -0.1, 1.01, math.nan])
def test_a_share_out_of_bounds(share: float) -> None:
    with pytest.raises(ValueError, match="share is above 0 and at most 1"):
        near_duplicates(["a"], share)


@given(
    st.integers(0, 20).flatmap(
        lambda n: st.tuples(st.just(n), st.lists(st.tuples(*[st.integers(0, max(n - 1, 0))] * 2)))
    )
)
def test_groups_are_the_connected_components(case: tuple[int, Pairs]) -> None:
    count, pairs = case
    pairs = pairs if count else []
    label = list(range(count))
    for _ in range(count):
        for a, b in pairs:
            label[a] = label[b] = min(label[a], label[b])
    found = groups(count, pairs)
    assert sorted(member for group in found for member in group) == list(range(count))
    assert [group[0] for group in found] == sorted(set(label))
    assert all(group == [i for i in range(count) if label[i] == label[group[0]]] for group in found)


def test_a_long_chain_is_one_group() -> None:
    count = 20_000
    assert groups(count, [(i, i + 1) for i in reversed(range(count - 1))]) == [list(range(count))]
