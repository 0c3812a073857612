"""Stages score and compare on made-up answers: rows, extraction told apart, baselines, the tests reported."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from bbjspec.errors import StageFailed
from bbjspec.metrics import gate, holm, mcnemar_exact
from bbjspec.stage import StageRun
from bbjspec.stages import cardtext, compare, score
from bbjspec.stages.sensitivity import candidates
from bbjspec.stages.verdicts import Sample
from bbjspec.suite import load_prompts
from tests.answers import SAMPLING, write_generations
from tests.harness import write_project

IDS = [f"t/print/{i}" for i in range(100, 124)]


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    write_project(tmp_path / "project")
    return tmp_path / "project/eval/prompts/print.jsonl"


def stage(kind: str, directory: Path, config: Mapping[str, Any], prompts: Path | None, **inputs: Path) -> StageRun:
    directory.mkdir(exist_ok=True)
    sources = {"prompts": [prompts]} if prompts else {}
    return StageRun(kind, "0" * 16, directory.parent, directory, config, inputs, sources)


def scored(out: Path, prompts: Path, passes: Mapping[str, int], n: int = 2, **how: Any) -> Path:
    """A score stage over answers as `write_generations` makes them."""
    answers = out.with_name(f"{out.name}-answers")
    answers.mkdir()
    write_generations(answers / "generations.jsonl", prompts, passes, {**SAMPLING, "n": n}, **how)
    return judged(out, prompts, answers, n)


def judged(out: Path, prompts: Path, answers: Path, n: int = 2) -> Path:
    config = {"compiler": {"name": "builtin", "version": None}, "k": [1, 2][:n], "n": n}
    score.run(stage("score", out, config, prompts, generate=answers))
    return out


def compared(out: Path, n: int = 2, **inputs: Path) -> dict[str, Any]:
    leaks = out.with_name("leaks")
    leaks.mkdir(exist_ok=True)
    (leaks / "contamination.json").write_text('{"leaked": []}')
    config = {"gate": {"min_effect": 0.1}, "k": [1, 2][:n]}
    compare.run(stage("compare", out, config, None, contamination=leaks, **inputs))
    document: dict[str, Any] = json.loads((out / "comparison.json").read_text())
    return document


def test_the_order_of_rows_never_matters(prompts: Path, tmp_path: Path) -> None:
    first = scored(tmp_path / "one", prompts, dict.fromkeys(IDS[:7], 1) | dict.fromkeys(IDS[9:14], 2))
    lines = (tmp_path / "one-answers/generations.jsonl").read_text().splitlines()
    shuffled = tmp_path / "two-answers"
    shuffled.mkdir()
    for seed in range(3):
        random.Random(seed).shuffle(lines)
        (shuffled / "generations.jsonl").write_text("\n".join(lines) + "\n\n")
        second = judged(tmp_path / "two", prompts, shuffled)
        for name in ("scores.jsonl", "results.json"):
            assert (second / name).read_bytes() == (first / name).read_bytes()


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda rows: rows[1:], r"missing: t/print/100 sample 0; remove the generate stage's directory"),
        (lambda rows: [*rows, rows[3]], r"doubled: t/print/101 sample 1 \(line 49\); remove the generate"),
        (lambda rows: [*rows, rows[0] | {"sample_idx": 2}], r"not of this suite: t/print/100 sample 2 \(line 49\)"),
        (lambda rows: [*rows[1:], rows[0] | {"task_id": "t/x"}], r"not of this suite: t/x sample 0"),
        (lambda rows: [*rows[1:], rows[0] | {"backend": "other"}], r"rows of 2 different models, sampling blocks"),
        (lambda rows: [*rows[1:], rows[0] | {"completion": None}], r":48: completion: str is meant, not None"),
    ],
)
def test_rows_that_are_missing_doubled_or_mixed_are_errors(
    prompts: Path, tmp_path: Path, edit: Callable[[list[Any]], list[Any]], message: str
) -> None:
    path = tmp_path / "answers/generations.jsonl"
    path.parent.mkdir()
    write_generations(path, prompts, {})
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(row) + "\n" for row in edit(rows)))
    with pytest.raises(StageFailed, match=message):
        judged(tmp_path / "out", prompts, path.parent)
    assert not (tmp_path / "out/results.json").exists()


@pytest.mark.parametrize(
    ("answer", "first", "last", "longest", "lenient"),
    [
        ("```bbj\na\n```\n```bbj\nb\nc\n```\n```bbj\nd\n```", "a\n", "d\n", "b\nc\n", {"b\nc\n", "a\n", "d\n"}),
        ("```python\nx\n```", None, None, None, {"x\n"}),
        ("```python\nx\ny\n```\n```bbj\na\n```", "a\n", "a\n", "a\n", {"a\n", "x\ny\n"}),
        ("no fence", "no fence", "no fence", "no fence", {"no fence"}),
        ("```bbj\n\n```", None, None, None, set()),
        ("", None, None, None, set()),
    ],
)
def test_ways_of_taking_a_program_out(
    prompts: Path, answer: str, first: str | None, last: str | None, longest: str | None, lenient: set[str]
) -> None:
    found = candidates(Sample(load_prompts([prompts])[0], 0, answer, "stop"))
    assert set(found.pop("lenient")) == lenient
    assert found == {
        way: [code] if code else [] for way, code in (("first", first), ("last", last), ("longest", longest))
    }


def test_formatting_is_told_from_language(prompts: Path, tmp_path: Path) -> None:
    """The base writes the same programs under another language's tag: the whole raw gain is formatting."""
    tagged = "```python\nn = {number}\nprint {number}\n```"
    base = scored(tmp_path / "base", prompts, dict.fromkeys(IDS, 2), good=tagged)
    tuned = scored(tmp_path / "tuned", prompts, dict.fromkeys(IDS[:18], 2))
    ways = json.loads((base / "results.json").read_text())["sensitivity"]
    assert [ways[way]["value"] for way in ("first", "last", "longest", "lenient")] == [0, 0, 0, 1]
    told = compared(tmp_path / "compare", base=base, tuned=tuned)["formatting"]
    assert (told["raw"]["diff"], told["strict"]["diff"]) == (0.75, 0.75)
    assert (told["lenient"]["a"]["value"], told["lenient"]["diff"]) == (1.0, -0.25)
    assert told["formatting"]["diff"] == told["raw"]["diff"] - told["lenient"]["diff"] == 1.0
    assert cardtext.gain_sentence(told).startswith(
        "Formatting or language? Raw compile@1 changed by +0.75 [0.56, 0.94]"
    )
    assert "So +1.00 [1.00, 1.00] of the change is formatting" in cardtext.gain_sentence(told)
    same = compared(tmp_path / "same", base=tuned, tuned=tuned)["formatting"]
    assert same["formatting"]["diff"] == same["raw"]["diff"] == 0


def test_every_baseline_must_be_beaten(prompts: Path, tmp_path: Path) -> None:
    sides = {
        name: scored(tmp_path / name, prompts, dict.fromkeys(IDS[:passes], 2))
        for name, passes in {"weak": 2, "near": 11, "best": 20, "tuned": 14}.items()
    }
    one = compared(tmp_path / "c", base=sides["weak"], tuned=sides["tuned"])
    assert one["decision"] == "PASS (provisional)" and list(one["baselines"]) == ["base"]
    for few, decision in (("weak", "PASS (provisional)"), ("near", "INCONCLUSIVE"), ("best", "FAIL")):
        both = compared(tmp_path / few[:2], base=sides["weak"], few_shot=sides[few], tuned=sides["tuned"])
        assert both["decision"] == decision
        own = both["baselines"]["few_shot"]["decision"]
        assert both["reason"].startswith("PASS against the base, zero-shot (") and (
            f"; {own} against the base, few-shot (" in both["reason"]
        )
        assert both["a"]["role"] == "base" and both["diff"] == one["diff"], "the headline stays the zero-shot base's"
    worse = compared(tmp_path / "w", base=sides["best"], few_shot=sides["weak"], tuned=sides["tuned"])
    assert worse["decision"] == "FAIL"
    end = "24 prompts × 2 samples; judged by the builtin checker (approximate), not by bbjcpl."
    for document, begin in (
        (one, "Better than its base at BBj: strict compile@1 0.58 against 0.08, +0.50 ["),
        (compared(tmp_path / "p", base=sides["weak"], few_shot=sides["weak"], tuned=sides["tuned"]),
         "Better than every baseline at BBj: strict compile@1 0.58 against 0.08 (base, zero-shot), +0.50 ["),
        (compared(tmp_path / "i", base=sides["weak"], few_shot=sides["near"], tuned=sides["tuned"]),
         "Not known to be better than a baseline (base, few-shot) at BBj: strict compile@1 0.58 against 0.46, +0.12 ["),
        (worse, "Worse than a baseline (base, zero-shot) at BBj: strict compile@1 0.58 against 0.83, -0.25 ["),
    ):  # fmt: skip
        sentence = cardtext.verdict_sentence(document)
        assert sentence.startswith(begin) and sentence.endswith(end)


def test_unlike_baselines_are_refused(prompts: Path, tmp_path: Path) -> None:
    base = scored(tmp_path / "base", prompts, {})
    tuned = scored(tmp_path / "tuned", prompts, {}, n=1)
    with pytest.raises(StageFailed, match="sampling differs: base n 2, tuned n 1; score both alike"):
        compared(tmp_path / "c", base=base, tuned=tuned)
    (tuned / "results.json").write_text("{")
    with pytest.raises(StageFailed, match=r"results\.json of tuned is not readable; remove that stage's directory"):
        compared(tmp_path / "c", base=base, tuned=tuned)


def test_greedy_is_mcnemar_and_categories_are_holms(prompts: Path, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in prompts.read_text().splitlines()]
    for index, row in enumerate(rows):
        row["category"] = ("a", "b", "c")[index % 3]
    prompts.write_text("".join(json.dumps(row) + "\n" for row in rows))
    base = scored(tmp_path / "base", prompts, dict.fromkeys(IDS[:3], 1), n=1)
    tuned = scored(tmp_path / "tuned", prompts, dict.fromkeys(IDS[2:20], 1), n=1)
    found = compared(tmp_path / "c", n=1, base=base, tuned=tuned)
    assert (found["test"], found["p"]) == ("McNemar", pytest.approx(mcnemar_exact(2, 17)))
    assert gate([-1] * 2 + [1] * 17 + [0] * 5, 0.1).p == pytest.approx(found["p"])
    groups = found["by_category"]
    assert [entry["p_holm"] for entry in groups.values()] == pytest.approx(holm([e["p"] for e in groups.values()]))
    assert all(entry["p_holm"] >= entry["p"] for entry in groups.values())
    assert [c["id"] for c in found["regressions"]] == IDS[:2]
    failure = found["regressions"][0]["failures"]
    assert failure["a"] is None
    assert (failure["b"]["line"], failure["b"]["source"], failure["b"]["outcome"]) == (1, "print (((", "compile_error")
