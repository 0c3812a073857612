"""In which order one rater sees the pairs, and on which side which answer stands.

By SHA-256 of the seed, which holds the rater's name: the same on every machine and in every version of Python, so that
a session goes on where it was, and two raters see other orders and other sides.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

FEWEST = 8  # pairs from which on some are shown twice
SHARE = 0.15  # of the pairs that are shown twice
APART = 2  # pairs at least between the two showings of one


@dataclass(frozen=True)
class Place:
    """One showing: which item, whether the experiment's answer stands left, and which number it repeats, if any."""

    item: str
    ours_left: bool
    repeat_of: int | None = None


def repeats(pairs: int) -> int:
    """How many of so many pairs are shown again, sides swapped."""
    return max(2, round(pairs * SHARE)) if pairs >= FEWEST else 0


def order(items: Sequence[str], rater: str, experiment: str, against: str) -> list[Place]:
    """One rater's showings, first to last. Half of the items have the experiment's answer left, to within one.

    Items of the first half are repeated, sides swapped, among those of the second.
    """
    seed = f"{rater}\0{experiment}\0{against}"
    sequence, sides = _shuffled(items, seed, "order"), _shuffled(items, seed, "sides")
    odd = len(items) % 2 and _rank(seed, "odd", "") < "8"  # the one too many is ours by half of the seeds
    left = set(sides[: len(items) // 2 + bool(odd)])
    half = len(sequence) // 2
    again = set(_shuffled(sequence[: max(0, half - APART)], seed, "again")[: repeats(len(items))])
    number = {item: at for at, item in enumerate(sequence, start=1)}
    first = [Place(item, item in left) for item in sequence[:half]]
    rest = [Place(item, item in left) for item in sequence[half:]]
    rest += [Place(item, item not in left, number[item]) for item in again]
    rest.sort(key=lambda place: _rank(seed, "rest", f"{place.item} {place.repeat_of}"))
    return first + rest


def _shuffled(items: Sequence[str], seed: str, what: str) -> list[str]:
    return sorted(items, key=lambda item: _rank(seed, what, item))


def _rank(seed: str, what: str, item: str) -> str:
    return hashlib.sha256(f"{seed}\0{what}\0{item}".encode()).hexdigest()
