"""The estimators and tests of bbjspec.metrics: EVALUATION.md's vectors, brute force, and properties."""

from __future__ import annotations

import inspect
import itertools
import math
import random
from dataclasses import FrozenInstanceError
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bbjspec import bbj
from bbjspec.metrics import (
    clustered_interval,
    effect_for_power,
    gate,
    holm,
    mcnemar_exact,
    non_inferior,
    paired_interval,
    pass_at_k,
    pass_power,
    sign_flip,
    wilson,
)


def six(*values: float) -> object:
    return pytest.approx(values if len(values) > 1 else values[0], abs=5e-7)


@pytest.mark.parametrize(
    ("n", "c", "k", "expected"),
    [
        (10, 3, 5, 0.916667),
        (10, 3, 1, 0.300000),
        (10, 1, 5, 0.500000),
        (10, 2, 5, 0.777778),
        (10, 6, 5, 1.0),
        (10, 0, 5, 0.0),
        (5, 1, 1, 0.200000),
        (5, 2, 5, 1.0),
    ],
)
def test_pass_at_k_vectors(n: int, c: int, k: int, expected: float) -> None:
    assert pass_at_k(n, c, k) == six(expected)


def test_pass_at_k_means() -> None:
    counts = [0, 1, 3, 10]
    assert sum(pass_at_k(10, c, 1) for c in counts) / 4 == six(0.35)
    assert sum(pass_at_k(10, c, 5) for c in counts) / 4 == six(0.604167)


@pytest.mark.parametrize("bad", [(3, 0, 5), (5, 6, 1), (5, -1, 1), (5, 1, 0), (0, 0, 1), (5, True, 1), (5.0, 1, 1)])
def test_pass_at_k_refuses(bad: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match=r"needs|impossible|whole"):
        pass_at_k(*bad)


def test_pass_at_k_is_what_brute_force_counts() -> None:
    for n in range(1, 9):
        for c, k in itertools.product(range(n + 1), range(1, n + 1)):
            samples = [i < c for i in range(n)]
            draws = list(itertools.combinations(samples, k))
            assert pass_at_k(n, c, k) == pytest.approx(sum(map(any, draws)) / len(draws), abs=1e-12)


@given(st.integers(1, 60), st.data())
def test_pass_at_k_is_monotone(n: int, data: st.DataObject) -> None:
    c, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    value = pass_at_k(n, c, k)
    assert 0 <= value <= 1
    assert c == n or pass_at_k(n, c + 1, k) >= value
    assert k == n or pass_at_k(n, c, k + 1) >= value


@pytest.mark.parametrize(
    ("s", "n", "expected"),
    [(35, 50, (0.562496, 0.808964)), (0, 50, (0, 0.071348)), (50, 50, (0.928652, 1)), (20, 30, (0.487801, 0.807695))],
)
def test_wilson_vectors(s: int, n: int, expected: tuple[float, float]) -> None:
    assert wilson(s, n) == six(*expected)


@given(st.integers(1, 500), st.data())
def test_wilson_is_symmetric_and_holds_the_proportion(n: int, data: st.DataObject) -> None:
    s = data.draw(st.integers(0, n))
    low, high = wilson(s, n)
    assert 0 <= low <= s / n <= high <= 1
    assert wilson(n - s, n) == pytest.approx((1 - high, 1 - low), abs=1e-12)


@pytest.mark.parametrize("bad", [(1, 0), (6, 5), (-1, 5)])
def test_wilson_refuses(bad: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="impossible"):
        wilson(*bad)


@pytest.mark.parametrize(
    ("b", "c", "p"), [(3, 15, 0.007538), (0, 5, 0.0625), (0, 6, 0.03125), (5, 5, 1.0), (0, 0, 1.0)]
)
def test_mcnemar_vectors(b: int, c: int, p: float) -> None:
    assert mcnemar_exact(b, c) == six(p)
    assert mcnemar_exact(c, b) == mcnemar_exact(b, c)


def test_paired_vector() -> None:
    differences = [-1] * 3 + [1] * 15 + [0] * 32
    mean, low, high = paired_interval(differences)
    assert (mean, low, high) == six(0.24, 0.082131, 0.397869)
    t49 = 2.009575
    assert (high - low) / 2 / t49 == six(0.078558)


def test_the_public_names_and_their_arguments() -> None:
    expected = {
        pass_at_k: "(n, c, k)",
        wilson: "(successes, n, confidence=0.95)",
        mcnemar_exact: "(b, c)",
        paired_interval: "(differences, confidence=0.95)",
        clustered_interval: "(rows, confidence=0.95)",
        sign_flip: "(differences)",
        holm: "(pvalues)",
        gate: "(differences, min_effect)",
    }
    for function, arguments in expected.items():
        parameters = inspect.signature(function).parameters.values()
        plain = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in parameters]
        assert str(inspect.Signature(plain)) == arguments, function.__name__
    found = bbj.extract("```bbj\nprint 1\n```")
    assert (found.code, found.outcome, found.n_blocks) == ("print 1\n", "ok", 1)


def test_clustered_vector() -> None:
    rows = [[int(c) for c in row] for row in ["11111", "00000", "10101", "00100", "11101", "01000"]]
    mean, low, high = clustered_interval(rows)
    assert (mean, low, high) == six(0.466667, 0.053948, 0.879385)
    t5 = 2.570581835636314
    assert (high - low) / 2 / t5 == six(0.160555)


def test_clustered_of_single_samples_is_the_paired_interval() -> None:
    values = [0.1, 0.5, 0.25, 1.0]
    assert clustered_interval([[v] for v in values]) == pytest.approx(paired_interval(values))


def test_holm_vector() -> None:
    assert holm([0.0075378, 0.03, 0.04]) == six(0.022613, 0.06, 0.06)
    assert holm([0.04, 0.0075378, 0.03]) == six(0.06, 0.022613, 0.06)
    assert holm([]) == []


@pytest.mark.parametrize("bad", [-0.1, 1.1, math.nan])
def test_holm_refuses(bad: float) -> None:
    with pytest.raises(ValueError, match="p value"):
        holm([0.5, bad])


@given(st.lists(st.floats(0, 1), max_size=12), st.randoms())
def test_holm_follows_its_p_values(values: list[float], rng: random.Random) -> None:
    adjusted = holm(values)
    assert all(a >= p for a, p in zip(adjusted, values, strict=True))
    order = list(range(len(values)))
    rng.shuffle(order)
    assert holm([values[i] for i in order]) == [adjusted[i] for i in order]


def brute_sign_flip(differences: list[Fraction]) -> float:
    observed = abs(sum(differences))
    signs = itertools.product((1, -1), repeat=len(differences))
    hits = sum(abs(sum(s * d for s, d in zip(sign, differences, strict=True))) >= observed for sign in signs)
    return hits / 2 ** len(differences)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(-10, 10), min_size=1, max_size=8))
def test_sign_flip_is_what_brute_force_counts(tenths: list[int]) -> None:
    differences = [Fraction(t, 10) for t in tenths]
    expected = brute_sign_flip(differences)
    assert sign_flip(differences) == pytest.approx(expected, abs=1e-12)
    assert sign_flip([t / 10 for t in tenths]) == pytest.approx(expected, abs=1e-12)  # floats tie as fractions do
    assert sign_flip([-d for d in differences]) == sign_flip(differences)


def test_sign_flip_of_greedy_differences_is_mcnemar() -> None:
    assert sign_flip([-1] * 3 + [1] * 15 + [0] * 32) == mcnemar_exact(3, 15)


def test_sign_flip_is_exact_at_two_hundred_prompts() -> None:
    assert sign_flip([0.1] * 200) == pytest.approx(2 / 2**200, rel=1e-12)
    tenths = [random.Random(1).randint(-5, 6) for _ in range(200)]
    ways = {0: 1}
    for t in tenths:
        after: dict[int, int] = {}
        for total, count in ways.items():
            for moved in (total + t, total - t):
                after[moved] = after.get(moved, 0) + count
        ways = after
    expected = Fraction(sum(c for s, c in ways.items() if abs(s) >= abs(sum(tenths))), 2**200)
    assert sign_flip([t / 10 for t in tenths]) == float(expected)


def test_sign_flip_without_a_common_grid() -> None:
    few = [random.Random(2).gauss(0.1, 0.3) for _ in range(10)]
    assert sign_flip(few) == pytest.approx(brute_sign_flip([Fraction(x) for x in few]))
    fewer_steps = [round(x, 4) for x in (random.Random(3).gauss(0.05, 0.3) for _ in range(60))]
    jittered = [x + 1e-9 * math.sqrt(2 + i) for i, x in enumerate(fewer_steps)]
    assert sign_flip(jittered) == pytest.approx(sign_flip(fewer_steps), rel=1e-3)


def test_sign_flip_of_nothing_but_ties() -> None:
    assert sign_flip([0, 0, 0]) == 1.0
    assert sign_flip([0.5, -0.5]) == 1.0
    with pytest.raises(ValueError, match="at least one"):
        sign_flip([])


@settings(deadline=None, max_examples=50)
@given(st.lists(st.sampled_from([i / 10 for i in range(-10, 11)]), min_size=2, max_size=40), st.randoms())
def test_order_never_matters(values: list[float], rng: random.Random) -> None:
    shuffled = list(values)
    rng.shuffle(shuffled)
    assert paired_interval(shuffled) == paired_interval(values)
    assert sign_flip(shuffled) == sign_flip(values)
    assert gate(shuffled, 0.1) == gate(values, 0.1)
    rows = [values[i::2] for i in range(2)]
    assert clustered_interval([list(reversed(row)) for row in reversed(rows)]) == clustered_interval(rows)


@pytest.mark.parametrize("bad", [[], [0.1], [0.1, math.nan], [0.1, math.inf], [0.1, "0.2"], [0.1, None]])
def test_bad_differences_are_refused(bad: list[float]) -> None:
    with pytest.raises(ValueError, match=r"difference|finite"):
        paired_interval(bad)


@pytest.mark.parametrize("bad", [[], [[1, 0]], [[1], []], [[1], [math.nan]]])
def test_bad_clusters_are_refused(bad: list[list[float]]) -> None:
    with pytest.raises(ValueError, match=r"prompt|finite"):
        clustered_interval(bad)


@pytest.mark.parametrize("confidence", [0, 1, -1, 95])
def test_confidence_is_a_share(confidence: float) -> None:
    with pytest.raises(ValueError, match="confidence"):
        paired_interval([0.1, 0.2], confidence)


@pytest.mark.parametrize(
    ("differences", "decision"),
    [
        ([0.1] * 10 + [0.5] * 20, "PASS"),
        ([0.3 - 0.2] * 30, "PASS"),  # a hair under 0.1 in floats
        ([0.3] * 20, "PASS"),
        ([0.3] * 19, "INCONCLUSIVE"),
        ([1.0], "INCONCLUSIVE"),
        ([0.0] * 50, "FAIL"),
        ([0.05] * 50, "FAIL"),
        ([-0.4] * 25 + [-0.2] * 25, "FAIL"),
        ([0.0, 0.1] * 30, "FAIL"),  # above 0 for sure, but never worth 0.1
        ([1.0, -0.7] * 15, "INCONCLUSIVE"),
        ([0.15, 0.04] * 10, "INCONCLUSIVE"),  # above 0, mean just under 0.1
    ],
)
def test_gate(differences: list[float], decision: str) -> None:
    result = gate(differences, 0.1)
    assert result.decision == decision, result
    assert result.reason
    with pytest.raises(FrozenInstanceError):
        result.decision = "PASS"  # type: ignore[misc]


@pytest.mark.parametrize("min_effect", [-0.1, math.nan, math.inf])
def test_gate_refuses_a_senseless_margin(min_effect: float) -> None:
    with pytest.raises(ValueError, match="min_effect"):
        gate([0.1] * 30, min_effect)


def test_gate_without_margin_still_needs_evidence() -> None:
    assert gate([0.0] * 30, 0.0).decision == "INCONCLUSIVE"


def test_power_of_pass() -> None:
    # EVALUATION.md: 10 samples each detect .10 with 80 % at 50 prompts, which means sd = .25 or so; PASS at a true
    # effect equal to min_effect comes half the time; at 60 prompts .13 to .15 is needed for 80 %.
    assert pass_power(0.10, 0.25, 60, 0.10) == pytest.approx(0.5)
    for sd in (0.28, 0.4):
        needed = effect_for_power(0.8, sd, 60, 0.10)
        assert needed is not None
        assert 0.13 <= round(needed, 2) <= 0.15
        assert pass_power(needed, sd, 60, 0.10) == pytest.approx(0.8)
    assert pass_power(0.5, 0.1, 10, 0.1) == 0.0
    assert pass_power(0.1, 0.0, 30, 0.1) == 1.0
    assert pass_power(0.0, 0.0, 30, 0.0) == 0.0


def test_power_of_pass_is_what_simulation_finds() -> None:
    rng, n, sd, effect = random.Random(7), 60, 0.3, 0.13
    runs = [gate([round(rng.gauss(effect, sd), 1) for _ in range(n)], 0.1) for _ in range(300)]
    share = sum(run.decision == "PASS" for run in runs) / len(runs)
    assert share == pytest.approx(pass_power(effect, sd, n, 0.1), abs=0.08)


@pytest.mark.parametrize(
    ("differences", "decision", "reason"),
    [
        ([0.0] * 24, "not forgotten", "+0.000 [+0.000, +0.000]: the interval lies above -0.1"),
        ([-0.1] * 24, "not settled", "-0.100 [-0.100, -0.100]: the interval does not exclude -0.1"),
        ([-0.2] * 24, "forgotten", "-0.200 [-0.200, -0.200]: the interval lies below -0.1"),
        ([-0.3, -0.5] * 12, "forgotten", "-0.400 [-0.443, -0.357]: the interval lies below -0.1"),
        ([0.5, -0.5] * 12, "not settled", "+0.000 [-0.216, +0.216]: the interval does not exclude -0.1"),
        ([0.1, -0.1] * 12, "not forgotten", "+0.000 [-0.043, +0.043]: the interval lies above -0.1"),
        ([0.0] * 19, "not settled", "19 prompts are too few to decide: at least 20 are needed"),
        ([0.3], "not settled", "1 prompts are too few to decide: at least 20 are needed"),
    ],
)
def test_non_inferiority(differences: list[float], decision: str, reason: str) -> None:
    found = non_inferior(differences, 0.1)
    assert (found.decision, found.reason) == (decision, reason)
    assert non_inferior(differences[::-1], 0.1) == found


def test_non_inferiority_refuses_what_has_no_answer() -> None:
    for differences, margin in (([], 0.1), ([0.0], 0.0), ([0.0], -0.1), ([0.0], math.nan), ([math.inf], 0.1)):
        with pytest.raises(ValueError):
            non_inferior(differences, margin)
