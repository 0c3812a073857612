"""The order of one rater's pairs: balanced, repeatable, other for each rater."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bbjspec.rating.order import APART, order, repeats

SEEDS = st.text(max_size=8)
ITEMS = st.lists(st.text(min_size=1, max_size=6), unique=True, max_size=40)


@given(ITEMS, SEEDS)
def test_each_item_once_half_of_them_left_and_some_again_swapped(items: list[str], seed: str) -> None:
    places = order(items, seed, "v1", "base")
    first = [place for place in places if place.repeat_of is None]
    again = [(number, place) for number, place in enumerate(places, start=1) if place.repeat_of is not None]
    assert sorted(place.item for place in first) == sorted(items)
    assert abs(2 * sum(place.ours_left for place in first) - len(items)) <= 1
    assert len(again) == repeats(len(items)) == len({place.item for _, place in again})
    for number, place in again:
        assert place.repeat_of is not None
        shown = places[place.repeat_of - 1]
        assert shown.repeat_of is None and shown.item == place.item and shown.ours_left != place.ours_left
        assert number - place.repeat_of > APART


@given(ITEMS, SEEDS)
def test_the_order_depends_on_nothing_else(items: list[str], seed: str) -> None:
    assert order(items, seed, "v1", "base") == order(sorted(items, reverse=True), seed, "v1", "base")


def test_how_many_are_repeated() -> None:
    assert [repeats(n) for n in (0, 7, 8, 20, 24, 100)] == [0, 0, 2, 3, 4, 15]


def test_raters_see_other_orders_and_other_sides() -> None:
    items = [f"item {n}" for n in range(20)]
    ana, bo = (order(items, name, "v1", "base") for name in ("ana", "bo"))
    assert [place.item for place in ana] != [place.item for place in bo]
    sides = [{place.item: place.ours_left for place in places if place.repeat_of is None} for places in (ana, bo)]
    assert sides[0] != sides[1]


def test_the_order_stays_what_it_was() -> None:
    """A session goes on after an update of bbjspec or Python only if this never changes."""
    places = order([f"item {n}" for n in range(9)], "ana", "v1", "base")
    assert [(place.item[-1], place.ours_left, place.repeat_of) for place in places] == ORDER


ORDER = [
    ("0", False, None),
    ("6", True, None),
    ("4", True, None),
    ("5", False, None),
    ("7", False, None),
    ("8", True, None),
    ("3", False, None),
    ("1", True, None),
    ("2", False, None),
    ("0", True, 1),
    ("6", False, 2),
]


def test_the_odd_one_is_ours_for_some_and_theirs_for_others() -> None:
    left = {sum(place.ours_left for place in order(["a", "b", "c"], str(seed), "v1", "base")) for seed in range(20)}
    assert left == {1, 2}
