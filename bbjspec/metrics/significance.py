"""Tests of significance: exact, two-sided, in whole numbers until the last division."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

from bbjspec.metrics.intervals import Number, _count, exact

MAX_DENOMINATOR = 10**6  # a float this near a fraction with at most this denominator is taken for that fraction
NEAR = Fraction(1, 10**12)
MAX_BITS = 2**25  # of the table below; 200 prompts of 10 samples need 4e5
MAX_ENUMERATED = 18  # differences with no common grid: up to 2^18 distinct sums are counted one by one


def mcnemar_exact(b: int, c: int) -> float:
    """The two-sided p value for `b` prompts passed by the first model alone and `c` by the second alone.

    Twice the smaller binomial tail at one half, at most 1: McNemar 1947, Psychometrika 12, in its exact form. Without
    any such prompt it is 1. Raises ValueError for negative counts.
    """
    b, c = _count("b", b), _count("c", c)
    if b < 0 or c < 0:
        raise ValueError(f"counts cannot be negative: {b}, {c}")
    tail = sum(math.comb(b + c, i) for i in range(min(b, c) + 1))
    return float(min(Fraction(1), Fraction(2 * tail, 2 ** (b + c))))


def sign_flip(differences: Sequence[Number]) -> float:
    """The two-sided p value of "every difference might as well have had the other sign".

    The share of the 2^n sign assignments whose sum lies at least as far from 0 as the observed one: Fisher 1935, "The
    Design of Experiments", section 21. Exact for rational differences (0.1 means 1/10), however many there are, and for
    any up to 18 of them. More than 18 without a common grid are rounded to one of about 10^5 steps or finer first.
    Raises ValueError for an empty list.
    """
    values = [_rational(x) for x in exact(differences)]
    if not values:
        raise ValueError("the sign-flip test needs at least one difference")
    values = [x for x in values if x]  # a zero flips into itself: it doubles both counts
    if sum(values, Fraction(0)) == 0:
        return 1.0
    unit = math.lcm(*(x.denominator for x in values))
    steps = [int(x * unit) for x in values]
    common = math.gcd(*steps)
    steps = [x // common for x in steps]
    n, room, total = len(steps), MAX_BITS // _slot(len(steps)), sum(map(abs, steps))
    if total > room and n > MAX_ENUMERATED:
        steps = [round(Fraction(x * (room - n), total)) for x in steps]
        total = sum(map(abs, steps))
    tail = (_tail if total <= room else _enumerated_tail)([abs(x) for x in steps], abs(sum(steps)))
    return float(min(Fraction(1), Fraction(2 * tail, 2**n)))


def _rational(value: Fraction) -> Fraction:
    """0.1 as 1/10 rather than as the binary fraction nearest to it: sums that are equal on paper must tie."""
    simple = value.limit_denominator(MAX_DENOMINATOR)
    return simple if abs(simple - value) <= NEAR else value


def _slot(n: int) -> int:
    """Bits for a count of up to 2^n, in whole bytes."""
    return (n + 8) // 8 * 8


def _tail(steps: Sequence[int], target: int) -> int:
    """How many sign assignments of `steps` (each >= 0) sum to `target` or more.

    Signs with sum s are subsets (the pluses) with sum (total + s) / 2, so this counts subset sums. The counts of all
    sums stand side by side in one big integer: adding an element is one shift and one addition.
    """
    width, total = _slot(len(steps)), sum(steps)
    table = 1
    for step in steps:
        table += table << (step * width)
    first = (total + target + 1) // 2  # parity makes an odd sum impossible, so rounding up loses nothing
    counts = (table >> (first * width)).to_bytes((total - first + 1) * width // 8, "little")
    size = width // 8
    return sum(int.from_bytes(counts[i : i + size], "little") for i in range(0, len(counts), size))


def _enumerated_tail(steps: Sequence[int], target: int) -> int:
    """The same count by listing the distinct sums; for few steps that share no coarse grid."""
    sums = {0: 1}
    for step in steps:
        after: dict[int, int] = {}
        for value, count in sums.items():
            for moved in (value - step, value + step):
                after[moved] = after.get(moved, 0) + count
        sums = after
    return sum(count for value, count in sums.items() if value >= target)


def holm(pvalues: Sequence[float]) -> list[float]:
    """The adjusted p values, in the order given: the i-th smallest of m times m - i + 1, never less than one before it.

    Holm 1979, "A Simple Sequentially Rejective Multiple Test Procedure", Scandinavian Journal of Statistics 6. Raises
    ValueError for a value outside [0, 1].
    """
    for p in pvalues:
        if not 0 <= p <= 1:
            raise ValueError(f"a p value lies in [0, 1], not {p!r}")
    adjusted, floor, m = [0.0] * len(pvalues), 0.0, len(pvalues)
    for rank, index in enumerate(sorted(range(m), key=lambda i: pvalues[i])):
        floor = max(floor, min(1.0, (m - rank) * float(pvalues[index])))
        adjusted[index] = floor
    return adjusted
