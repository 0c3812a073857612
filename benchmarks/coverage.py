"""Coverage of the intervals and power of the gate, by simulation, against what bbjspec says of them.

    python benchmarks/coverage.py [--runs 20000] [--seed 1]

The model of difficulty: a prompt's chance p of a strict pass is Beta(mean * C, (1 - mean) * C) with C = 2 (uniform at a
mean of .5, and ever more prompts near 0 or 1 towards the ends); base and tuned share difficulty by a Gaussian copula
with correlation .6; each sample passes with p, on its own. A run draws the prompts anew, so an interval is to cover the
mean over all prompts that could have been asked. Prints Markdown tables: docs/statistics.md has them.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
from scipy import special  # noqa: E402

from bbjspec.metrics import clustered_interval, effect_for_power, gate, paired_interval, pass_power, wilson  # noqa: E402

CONCENTRATION = 2.0
CORRELATION = 0.6
SAMPLES = 10
MIN_EFFECT = 0.10
BASE = 0.30  # the base's mean in the tables of power
CLAIMED = (0.935, 0.965)
AT_ONCE = 4000  # runs in memory


def t_quantile(degrees: int) -> float:
    """Student's t of a 95 % interval."""
    return float(special.stdtrit(degrees, 0.975))


def difficulty(uniform: Any, mean: float, concentration: float) -> Any:
    """Beta-distributed chances of a pass from uniform numbers."""
    if math.isinf(concentration):
        return np.full_like(uniform, mean)
    return special.betaincinv(mean * concentration, (1 - mean) * concentration, uniform)


def shares(rng: Any, runs: int, n: int, mean: float, concentration: float = CONCENTRATION) -> Any:
    """Pass rates of one model: runs × prompts."""
    return rng.binomial(SAMPLES, difficulty(rng.random((runs, n)), mean, concentration)) / SAMPLES


def pairs(rng: Any, runs: int, n: int, base: float, tuned: float) -> tuple[Any, Any]:
    """Pass rates of base and tuned on the same prompts: runs × prompts each."""
    common = rng.standard_normal((runs, n))
    own = [rng.standard_normal((runs, n)) for _ in range(2)]
    root, rest = math.sqrt(CORRELATION), math.sqrt(1 - CORRELATION)
    uniform = [special.ndtr(root * common + rest * one) for one in own]
    chances = [difficulty(u, mean, CONCENTRATION) for u, mean in zip(uniform, (base, tuned), strict=True)]
    a, b = (rng.binomial(SAMPLES, p) / SAMPLES for p in chances)
    return a, b


def bounds(values: Any) -> tuple[Any, Any, Any]:
    """(mean, low, high) of each run, as paired_interval and, with as many samples everywhere, clustered_interval."""
    n = values.shape[1]
    mean, half = values.mean(axis=1), t_quantile(n - 1) * values.std(axis=1, ddof=1) / math.sqrt(n)
    return mean, mean - half, mean + half


def check_formulas(rng: Any) -> None:
    """The vectorised formulas are bbjspec's own. Raises AssertionError."""
    for values in shares(rng, 20, 50, 0.3):
        mean, low, high = (float(x[0]) for x in bounds(values[None]))
        rows = [[1] * round(v * SAMPLES) + [0] * round((1 - v) * SAMPLES) for v in values]
        assert np.allclose((mean, low, high), clustered_interval(rows), atol=1e-12)
        assert np.allclose((mean, low, high), paired_interval([float(v) for v in values]), atol=1e-12)
        exact = gate([round(float(v) - 0.2, 1) for v in values], MIN_EFFECT)
        assert (exact.decision == "PASS") == bool(passes(np.round(values - 0.2, 1)[None])[0])


def passes(change: Any) -> Any:
    """Whether each run's gate says PASS."""
    mean, low, _ = bounds(change)
    return (low > 0) & (mean >= MIN_EFFECT - 1e-12)


def in_portions(runs: int) -> list[int]:
    """`runs` in portions that fit into memory."""
    return [AT_ONCE] * (runs // AT_ONCE) + ([runs % AT_ONCE] if runs % AT_ONCE else [])


def coverage(rng: Any, runs: int, n: int, mean: float, concentration: float) -> tuple[float, float]:
    """Shares of runs whose t interval covers the mean, and whose Wilson interval of prompts ever passed covers its."""
    hit = ever_hit = 0
    chance = 1 - failing(mean, concentration)
    table = [wilson(k, n) for k in range(n + 1)]
    covered = np.array([low <= chance <= high for low, high in table])
    for portion in in_portions(runs):
        values = shares(rng, portion, n, mean, concentration)
        _, low, high = bounds(values)
        hit += int(((low <= mean) & (mean <= high)).sum())
        ever_hit += int(covered[(values > 0).sum(axis=1)].sum())
    return hit / runs, ever_hit / runs


def failing(mean: float, concentration: float) -> float:
    """The chance that all samples of a prompt fail: E[(1 - p)^m], a ratio of Beta functions."""
    if math.isinf(concentration):
        return (1 - mean) ** SAMPLES
    a, b = mean * concentration, (1 - mean) * concentration
    return float(np.exp(special.betaln(a, b + SAMPLES) - special.betaln(a, b)))


def power(rng: Any, runs: int, n: int, effect: float) -> tuple[float, float, float, float]:
    """(simulated share of PASS, what pass_power says, the sd of differences, coverage of the paired interval)."""
    found = hit = 0
    spread = []
    for portion in in_portions(runs):
        a, b = pairs(rng, portion, n, BASE, BASE + effect)
        change = np.round(b - a, 1)
        found += int(passes(change).sum())
        _, low, high = bounds(change)
        hit += int(((low <= effect) & (effect <= high)).sum())
        spread.append(float(change.std()))
    sd = float(np.mean(spread))
    return found / runs, pass_power(effect, sd, n, MIN_EFFECT), sd, hit / runs


def main() -> int:
    """Print the tables; 1 when a claim does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    check_formulas(rng)
    bad: list[str] = []
    print(f"{options.runs:,} runs each, seed {options.seed}; 50 prompts × {SAMPLES} samples.\n")
    print(
        "| mean | t, clustered | claimed | prompts ever passed, Wilson | t where C = 0.5 | C = 8 |\n" + "|---" * 6 + "|"
    )
    for step in range(1, 20):
        mean = step / 20
        (hit, ever), flat, peaked = (coverage(rng, options.runs, 50, mean, c) for c in (CONCENTRATION, 0.5, 8.0))
        claim = 0.2 <= mean <= 0.8
        if claim and not CLAIMED[0] <= hit <= CLAIMED[1]:
            bad.append(f"coverage at a mean of {mean:.2f} is {hit:.1%}")
        cells = (f"{hit:.1%}", "yes" if claim else "no", f"{ever:.1%}", f"{flat[0]:.1%}", f"{peaked[0]:.1%}")
        print(f"| {mean:.2f} | {' | '.join(cells)} |")
    print(f"\nThe gate at min_effect {MIN_EFFECT:.2f}, the base's mean {BASE:.2f}.\n")
    print("| prompts | true effect | PASS, simulated | pass_power | sd | paired interval covers | 80 % needs |")
    print("|---" * 7 + "|")
    for n in (50, 60, 100, 200):
        for effect in (0.0, 0.05, 0.10, 0.15, 0.20):
            found, said, sd, hit = power(rng, options.runs, n, effect)
            needed = effect_for_power(0.8, sd, n, MIN_EFFECT)
            print(f"| {n} | {effect:.2f} | {found:.1%} | {said:.1%} | {sd:.3f} | {hit:.1%} | {needed:.3f} |")
            if abs(found - said) > 0.02:
                bad.append(f"power at {n} prompts and {effect:.2f} is {found:.1%}, pass_power says {said:.1%}")
            if not CLAIMED[0] <= hit <= CLAIMED[1]:
                bad.append(f"paired coverage at {n} prompts and {effect:.2f} is {hit:.1%}")
    print("\n" + ("\n".join(bad) if bad else "Every claim holds."))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
