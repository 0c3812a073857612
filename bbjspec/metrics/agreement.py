"""Agreement of raters beyond chance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from fractions import Fraction


def krippendorff(units: Sequence[Sequence[Hashable]]) -> float | None:
    """Krippendorff's alpha of nominal labels: 1 is perfect agreement, 0 what chance gives, below 0 less than that.

    Each unit holds the labels that raters gave it, in any order; who did not rate it is left out, and units with fewer
    than two labels say nothing. 1 - (n - 1) * sum_u (pairs that differ in u) / (m_u - 1) / (pairs that differ among all
    n labels): Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability". None where no unit has two labels, or
    all labels are the same: there is nothing to agree on.
    """
    counts = [Counter(unit) for unit in units if len(unit) > 1]
    total: Counter[Hashable] = sum(counts, Counter())
    n = total.total()
    expected = _differing(total)
    if not expected:
        return None
    observed = sum((Fraction(_differing(unit), unit.total() - 1) for unit in counts), Fraction(0))
    return float(1 - (n - 1) * observed / expected)


def _differing(labels: Counter[Hashable]) -> int:
    """Ordered pairs of labels that differ."""
    return labels.total() ** 2 - sum(times**2 for times in labels.values())
