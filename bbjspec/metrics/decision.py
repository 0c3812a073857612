"""From per-prompt differences to a decision: the gate, a rule fixed before the run, its power, and non-inferiority."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

from bbjspec.metrics.intervals import Number, exact, paired_interval, t_quantile
from bbjspec.metrics.significance import sign_flip

MIN_PROMPTS = 20  # fewer decide nothing: with a handful of prompts, ties alone make a zero-width interval
SIGNIFICANT = 0.05
ROUNDING = 1e-12  # differences of sample shares carry rounding errors; 0.3 - 0.2 must reach an effect of 0.1


@dataclass(frozen=True)
class Decision:
    """What the gate decided. `low` and `high` are the 95 % interval of `mean` (infinite for one prompt alone)."""

    decision: str  # PASS, FAIL or INCONCLUSIVE
    reason: str
    mean: float
    low: float
    high: float
    p: float


def gate(differences: Sequence[Number], min_effect: float) -> Decision:
    """Decide on the per-prompt differences (tuned minus base) of a rate in [0, 1].

    PASS: the 95 % interval lies above 0 and the mean reaches `min_effect`. FAIL: the interval lies below `min_effect`.
    INCONCLUSIVE: neither, or fewer than 20 prompts. When all differences are equal the interval has no width and says
    nothing, so the exact sign-flip test stands in for its lower bound. Raises ValueError for no differences or a
    negative `min_effect`.
    """
    if not math.isfinite(min_effect) or min_effect < 0:
        raise ValueError(f"min_effect must be 0 or more, not {min_effect!r}")
    d = exact(differences)
    if not d:
        raise ValueError("the gate needs at least one difference")
    p, n = sign_flip(d), len(d)
    mean, low, high = paired_interval(d) if n > 1 else (float(d[0]), -math.inf, math.inf)
    flat = high - low < ROUNDING
    if flat:
        low = high = mean
    above_zero = p < SIGNIFICANT and mean > 0 if flat else low > 0
    reaches = mean >= min_effect - ROUNDING
    interval = f"{mean:+.3f} [{low:+.3f}, {high:+.3f}]"
    if n < MIN_PROMPTS:
        decision, reason = "INCONCLUSIVE", f"{n} prompts are too few to decide: at least {MIN_PROMPTS} are needed"
    elif above_zero and reaches:
        by = f"all {n} differences are equal, exact p = {p:.2g}" if flat else "the interval lies above 0"
        decision, reason = "PASS", f"{interval}: {by} and the mean reaches {min_effect:g}"
    elif high < min_effect - ROUNDING:
        decision, reason = "FAIL", f"{interval}: the interval lies below the effect asked for, {min_effect:g}"
    elif above_zero:
        decision = "INCONCLUSIVE"
        reason = f"{interval}: above 0, but the mean does not reach {min_effect:g} and the interval does not exclude it"
    else:
        decision, reason = "INCONCLUSIVE", f"{interval}: the interval excludes neither 0 nor {min_effect:g}"
    return Decision(decision, reason, mean, low, high, p)


@dataclass(frozen=True)
class NonInferiority:
    """Whether something got worse by the margin or more; the figures are those of `Decision`."""

    decision: str  # not forgotten, forgotten or not settled
    reason: str
    mean: float
    low: float
    high: float


def non_inferior(differences: Sequence[Number], margin: float) -> NonInferiority:
    """Decide on the per-prompt differences (tuned minus base) of a rate whether less than `margin` was lost.

    Not forgotten: the 95 % interval lies above -margin. Forgotten: it lies below. Not settled: neither, or fewer than
    20 prompts. Such a comparison of an interval with a margin is that of Schuirmann 1987, Journal of Pharmacokinetics
    and Biopharmaceutics 15. Differences that are all equal make an interval of no width, which is taken as it is: it is
    equality that is shown here, not an effect. Raises ValueError for no differences or a margin that is not above 0.
    """
    if not math.isfinite(margin) or margin <= 0:
        raise ValueError(f"margin must be above 0, not {margin!r}")
    d = exact(differences)
    if not d:
        raise ValueError("non-inferiority needs at least one difference")
    mean, low, high = paired_interval(d) if len(d) > 1 else (float(d[0]), -math.inf, math.inf)
    interval = f"{mean:+.3f} [{low:+.3f}, {high:+.3f}]"
    if len(d) < MIN_PROMPTS:
        reason = f"{len(d)} prompts are too few to decide: at least {MIN_PROMPTS} are needed"
        return NonInferiority("not settled", reason, mean, low, high)
    if low > -margin + ROUNDING:
        decision, reason = "not forgotten", f"{interval}: the interval lies above {-margin:g}"
    elif high < -margin - ROUNDING:
        decision, reason = "forgotten", f"{interval}: the interval lies below {-margin:g}"
    else:
        decision, reason = "not settled", f"{interval}: the interval does not exclude {-margin:g}"
    return NonInferiority(decision, reason, mean, low, high)


def pass_power(effect: float, sd: float, n: int, min_effect: float, confidence: float = 0.95) -> float:
    """The probability of PASS when the true mean difference is `effect` and differences have standard deviation `sd`.

    PASS means that the observed mean reaches max(min_effect, t(n-1) * sd / sqrt(n)); the mean of n prompts is taken as
    normal around `effect` with standard error sd / sqrt(n), and `sd` as known. Raises ValueError for fewer than two
    prompts or a negative `sd`.
    """
    if n < 2 or sd < 0 or not all(map(math.isfinite, (effect, sd, min_effect))):
        raise ValueError(f"power needs n >= 2 and a finite sd >= 0, got n={n!r}, sd={sd!r}")
    if n < MIN_PROMPTS:
        return 0.0
    error = sd / math.sqrt(n)
    bar = max(min_effect, t_quantile(n - 1, confidence) * error)
    if error == 0:
        return 1.0 if effect > 0 and effect >= bar - ROUNDING else 0.0
    return NormalDist().cdf((effect - bar) / error)


def effect_for_power(power: float, sd: float, n: int, min_effect: float, confidence: float = 0.95) -> float | None:
    """The true effect at which PASS has probability `power`, by the same method; None below 20 prompts (never PASS)."""
    if not 0 < power < 1:
        raise ValueError(f"power must lie between 0 and 1, not {power!r}")
    if n < 2 or sd < 0:
        raise ValueError(f"power needs n >= 2 and sd >= 0, got n={n!r}, sd={sd!r}")
    if n < MIN_PROMPTS:
        return None
    error = sd / math.sqrt(n)
    return max(min_effect, t_quantile(n - 1, confidence) * error) + NormalDist().inv_cdf(power) * error
