"""Pairing two results: what holds for any counts; and the benchmark's tables in the docs."""

from __future__ import annotations

import random
import re
import runpy
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bbjspec.metrics import pass_at_k
from bbjspec.pairing import Side, compare_two, first_failures, unlike

ROOT = Path(__file__).parents[2]
N = 10
ENVIRONMENT = {"backend": "transformers", "quantization": None, "dtype": "bfloat16", "batch_size": 8}


def side(name: str, counts: dict[str, int], **changes: Any) -> Side:
    """Results in which each prompt passed so often among ten."""
    prompts = {
        prompt: {"tier": "syntax", "category": prompt[0], "n": N, "strict": count, "raw": count}
        for prompt, count in counts.items()
    }
    results = {
        "model": {"base": "x"},
        "metrics": {f"compile@{k}": {"k": k} for k in (1, 5)} | {"compile@1_raw": {"k": 1}},
        "by_prompt": prompts,
        "suite_hash": "s",
        "compiler": {"name": "builtin", "version": "1"},
        "extractor_version": 1,
        "sampling": {"n": N, "temperature": 0.7},
        "env": ENVIRONMENT,
        **changes,
    }
    return Side(name, results)


COUNTS = st.lists(st.tuples(st.integers(0, N), st.integers(0, N)), min_size=2, max_size=40)


@settings(deadline=None, max_examples=60)
@given(COUNTS, st.randoms())
def test_order_never_matters_and_sides_are_mirrored(counts: list[tuple[int, int]], rng: random.Random) -> None:
    names = [f"{'abc'[i % 3]}{i:02}" for i in range(len(counts))]
    a, b = ({name: pair[which] for name, pair in zip(names, counts, strict=True)} for which in (0, 1))
    document = compare_two(side("a", a), side("b", b), ())
    rng.shuffle(names)
    assert compare_two(side("a", {n: a[n] for n in names}), side("b", {n: b[n] for n in sorted(names)}), ()) == document
    mirrored = compare_two(side("b", b), side("a", a), ())
    assert (mirrored["diff"], mirrored["p"]) == (-document["diff"], document["p"])
    assert mirrored["ci"] == [-bound for bound in reversed(document["ci"])]
    assert {c["id"] for c in mirrored["regressions"]} == {c["id"] for c in document["improvements"]}
    assert {"better": "worse", "worse": "better"}.get(document["verdict"], document["verdict"]) == mirrored["verdict"]
    wanted = sum((Fraction(y - x, N) for x, y in counts), Fraction(0)) / len(counts)
    assert document["diff"] == pytest.approx(float(wanted), abs=1e-9)
    five = sum(pass_at_k(N, y, 5) - pass_at_k(N, x, 5) for x, y in counts) / len(counts)
    assert document["metrics"]["compile@5"]["diff"] == pytest.approx(five, abs=1e-9)


def test_few_prompts_and_ties_tell_nothing_apart() -> None:
    few = {f"a{i}": 0 for i in range(19)}
    all_better = dict.fromkeys(few, 10)
    assert compare_two(side("a", few), side("b", all_better), ())["verdict"] == "not told apart"
    enough = {**few, "a19": 0}
    assert compare_two(side("a", enough), side("b", dict.fromkeys(enough, 10)), ())["verdict"] == "better"
    assert compare_two(side("a", enough), side("b", dict.fromkeys(enough, 10)), ["a3"])["verdict"] == "not told apart"
    assert compare_two(side("a", enough), side("b", enough), ())["verdict"] == "not told apart"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, None),
        ({"suite_hash": "t"}, "suite_hash differs: a s, b t; score both alike"),
        (
            {"compiler": {"name": "bbjcpl", "version": "26"}},
            "compiler differs: a name 'builtin', version '1', b name 'bbjcpl', version '26'; score both alike",
        ),
        ({"extractor_version": 2}, "extractor_version differs: a 1, b 2; score both alike"),
        (
            {"sampling": {"n": N, "temperature": 1.0}},
            "sampling differs: a temperature 0.7, b temperature 1.0; score both alike",
        ),
        ({"sampling": {"n": N, "temperature": 0.7, "few_shot": ["x"]}}, None),
        ({"env": ENVIRONMENT | {"dtype": "float32"}}, "dtype differs: a bfloat16, b float32; generate both alike"),
        ({"env": ENVIRONMENT | {"dtype": None}}, None),
        ({"by_prompt": {}}, "a and b have not the same samples of the same prompts; score both again"),
    ],
)  # fmt: skip
def test_what_may_be_compared(changes: dict[str, Any], why: str | None) -> None:
    assert unlike(side("a", {"a1": 1}), side("b", {"a1": 1}, **changes)) == why


def test_another_environment_is_a_note_between_experiments() -> None:
    counts = {f"a{i}": 1 for i in range(20)}
    other = side("b", counts, env=ENVIRONMENT | {"quantization": "nf4", "batch_size": 4, "backend": None})
    assert compare_two(side("a", counts), other, ())["notes"] == ["batch_size differs: a 8, b 4"]
    with pytest.raises(ValueError, match="no syntax prompt is left that the training data does not give away"):
        compare_two(side("a", counts), other, counts)


def test_the_first_compiler_error_is_chosen(tmp_path: Path) -> None:
    def row(sample: int, outcome: str, *lines: int, task: str = "t") -> str:
        errors = ", ".join(f'{{"line": {n}, "source": "s{n}", "message": "m"}}' for n in lines)
        passed = "true" if outcome == "pass" else "false"
        return (
            f'{{"task_id": "{task}", "sample_idx": {sample}, "outcome": "{outcome}", "strict_pass": {passed}, '
            f'"compiler": {{"errors": [{errors}]}}}}'
        )

    path = tmp_path / "scores.jsonl"
    path.write_text(
        "\n".join([row(0, "pass"), row(1, "empty"), row(2, "compile_error", 7, 8), row(3, "compile_error", 1)])
        + "\n"
        + "\n".join([row(0, "pass", task="u"), row(0, "echo", task="v"), row(1, "empty", task="v")])
        + "\n"
    )
    assert first_failures(path) == {
        "t": {"sample": 2, "outcome": "compile_error", "line": 7, "source": "s7", "message": "m"},
        "v": {"sample": 0, "outcome": "echo", "line": None, "source": None, "message": None},
    }


def test_the_docs_tables_hold_what_is_claimed() -> None:
    page = (ROOT / "docs/statistics.md").read_text(encoding="utf-8")
    covered = re.findall(r"^\| (0\.\d\d) \| ([\d.]+)% \| (yes|no) \|", page, re.MULTILINE)
    assert [mean for mean, *_ in covered] == [f"{step / 20:.2f}" for step in range(1, 20)]
    assert all(93.5 <= float(share) <= 96.5 for _, share, claimed in covered if claimed == "yes")
    assert {mean for mean, _, claimed in covered if claimed == "yes"} == {f"{step / 20:.2f}" for step in range(4, 17)}
    power = re.findall(r"^\| (\d+) \| (0\.\d\d) \| ([\d.]+)% \| ([\d.]+)% \|", page, re.MULTILINE)
    assert len(power) == 20
    assert all(abs(float(simulated) - float(said)) <= 2 for *_, simulated, said in power)


def test_the_benchmark_simulates_what_bbjspec_computes() -> None:
    import numpy as np

    bench = runpy.run_path(str(ROOT / "benchmarks/coverage.py"))
    rng = np.random.default_rng(3)
    bench["check_formulas"](rng)
    hit, _ = bench["coverage"](rng, 2000, 50, 0.5, 2.0)
    assert 0.93 <= hit <= 0.97
    found, said, _, _ = bench["power"](rng, 2000, 60, 0.15)
    assert found == pytest.approx(said, abs=0.03)
