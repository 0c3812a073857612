"""Point estimates and their intervals.

Sums are exact (rational arithmetic, one rounding at the end), so the order of samples and prompts cannot change a bit.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable, Sequence
from fractions import Fraction
from statistics import NormalDist
from typing import TypeAlias

Number: TypeAlias = "int | float | Fraction"


def _count(name: str, value: object) -> int:
    """`value` as an int; ValueError for what is no whole number (True and 2.0 are refused too: they hide mistakes)."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise ValueError(f"{name} must be a whole number, not {value!r}")
    return int(value)


def _confidence(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, not {confidence!r}")
    return float(confidence)


def exact(values: Iterable[Number]) -> list[Fraction]:
    """The values as fractions, without rounding. Raises ValueError for what is no finite number."""
    out = []
    for value in values:
        if not isinstance(value, numbers.Real) or not math.isfinite(value):
            raise ValueError(f"expected finite numbers, got {value!r}")
        out.append(Fraction(value) if isinstance(value, Fraction) else Fraction(*value.as_integer_ratio()))
    return out


def pass_at_k(n: int, c: int, k: int) -> float:
    """The chance that at least one of `k` samples passes, estimated without bias from `c` passes among `n` samples.

    1 - C(n-c, k) / C(n, k): Chen et al. 2021, "Evaluating Large Language Models Trained on Code", section 2.1. Computed
    in whole numbers, rounded once. Raises ValueError unless 0 <= c <= n and 1 <= k <= n.
    """
    n, c, k = _count("n", n), _count("c", c), _count("k", k)
    if not 1 <= k <= n:
        raise ValueError(f"pass@{k} needs 1 <= k <= n, but n is {n}: take more samples or a smaller k")
    if not 0 <= c <= n:
        raise ValueError(f"{c} passes among {n} samples: impossible")
    return float(1 - Fraction(math.comb(n - c, k), math.comb(n, k)))


def wilson(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """The score interval (low, high) of a proportion, both in [0, 1].

    Wilson 1927, "Probable Inference, the Law of Succession, and Statistical Inference", JASA 22. Raises ValueError
    unless 0 <= successes <= n and n >= 1.
    """
    s, n = _count("successes", successes), _count("n", n)
    if n < 1 or not 0 <= s <= n:
        raise ValueError(f"{s} successes of {n}: impossible")
    z = NormalDist().inv_cdf((1 + _confidence(confidence)) / 2)
    centre = (s + z * z / 2) / (n + z * z)
    half = z / (n + z * z) * math.sqrt(s * (n - s) / n + z * z / 4)
    # At the ends the bound is exactly 0 or 1; the formula misses it by a rounding error.
    return (0.0 if s == 0 else max(0.0, centre - half), 1.0 if s == n else min(1.0, centre + half))


def t_quantile(degrees: int, confidence: float) -> float:
    """Student's t for a two-sided interval: the (1 + confidence) / 2 quantile at `degrees` >= 1 degrees of freedom."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees, (1 + _confidence(confidence)) / 2))


def paired_interval(differences: Sequence[Number], confidence: float = 0.95) -> tuple[float, float, float]:
    """(mean, low, high) of per-prompt differences: mean ± t(n-1) * s / sqrt(n), with s over n - 1.

    Student 1908, "The Probable Error of a Mean", Biometrika 6. Raises ValueError for fewer than two differences.
    """
    d = exact(differences)
    if len(d) < 2:
        raise ValueError(f"an interval needs at least 2 differences, got {len(d)}")
    mean = sum(d, Fraction(0)) / len(d)
    variance = sum(((x - mean) ** 2 for x in d), Fraction(0)) / (len(d) - 1)
    half = t_quantile(len(d) - 1, confidence) * math.sqrt(variance / len(d))
    return float(mean), float(mean) - half, float(mean) + half


def clustered_error(rows: Sequence[Sequence[Number]]) -> tuple[float, float]:
    """(mean, standard error) of all values, where each row holds the samples of one prompt, which resemble each other.

    SE = sqrt(G/(G-1) * sum_g (sum_j (x_gj - mean))^2) / N: Liang and Zeger 1986, Biometrika 73, with the usual factor
    for few clusters. Raises ValueError for fewer than two rows or an empty row.
    """
    clusters = [exact(row) for row in rows]
    if len(clusters) < 2:
        raise ValueError(f"a clustered error needs at least 2 prompts, got {len(clusters)}")
    if not all(clusters):
        raise ValueError("a prompt without samples: each row needs at least one value")
    groups, total = len(clusters), sum(len(row) for row in clusters)
    mean = sum((sum(row, Fraction(0)) for row in clusters), Fraction(0)) / total
    squares = sum(((sum(row, Fraction(0)) - len(row) * mean) ** 2 for row in clusters), Fraction(0))
    return float(mean), math.sqrt(squares * groups / (groups - 1)) / total


def clustered_interval(rows: Sequence[Sequence[Number]], confidence: float = 0.95) -> tuple[float, float, float]:
    """(mean, low, high) of all values: mean ± t(G-1) * SE, with `clustered_error`'s SE for G prompts.

    The bounds are not cut to [0, 1]; for means near 0 or 1 they cover less than they say. Raises ValueError for fewer
    than two rows or an empty row.
    """
    mean, error = clustered_error(rows)
    half = t_quantile(len(rows) - 1, confidence) * error
    return mean, mean - half, mean + half
