"""`bbjspec compare`, and what a card says of the parent: real scores of made-up answers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bbjspec.cli import app, entry
from bbjspec.plan import Plan, read_plan
from tests.answers import evaluate, publish
from tests.harness import write_project

IDS = [f"t/print/{i}" for i in range(100, 124)]
NONE: dict[str, int] = {}
HALF = dict.fromkeys(IDS[:12], 2)
MOST = dict.fromkeys(IDS[:20], 2) | {IDS[20]: 1}
OTHER = dict.fromkeys(IDS[12:], 2)
V2 = "description: more steps\nextends: v1\ntraining: {max_steps: 64}\n"


@pytest.fixture
def small(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    write_project(root)
    (root / "experiments/v2.yaml").write_text(V2)
    return root


def made(root: Path, v1: Mapping[str, int] | None = None, v2: Mapping[str, int] | None = None) -> Plan:
    plan = read_plan(root)
    assert not plan.bad
    for name, passes in (("v1", v1), ("v2", v2)):
        if passes is not None:
            evaluate(root, plan.experiments[name], NONE, passes)
    return plan


def said(root: Path, *arguments: str, monkeypatch: pytest.MonkeyPatch) -> tuple[int, str]:
    monkeypatch.chdir(root)
    result = CliRunner().invoke(app, ["compare", *arguments])
    error = result.exception
    if error is not None and not isinstance(error, SystemExit):
        return getattr(error, "exit_code", -1), str(error)
    return result.exit_code, result.stdout


@pytest.mark.parametrize(
    ("v1", "v2", "code", "verdict"),
    [
        (HALF, MOST, 0, "better"),
        (MOST, HALF, 1, "worse"),
        (HALF, OTHER, 5, "not told apart"),
        (HALF, HALF, 5, "not told apart"),
    ],
)
def test_the_exit_code_is_the_answer(
    small: Path, monkeypatch: pytest.MonkeyPatch, v1: Mapping[str, int], v2: Mapping[str, int], code: int, verdict: str
) -> None:
    made(small, v1, v2)
    exit_code, text = said(small, "v1", "v2", "--json", monkeypatch=monkeypatch)
    document = json.loads(text)
    assert (exit_code, document["verdict"]) == (code, verdict)
    assert document["n_prompts"] == 24
    wanted = sum(v2.get(name, 0) - v1.get(name, 0) for name in IDS) / 48
    assert document["diff"] == document["metrics"]["compile@1"]["diff"] == pytest.approx(wanted)
    assert [c["id"] for c in document["improvements"]] == [n for n in IDS if v2.get(n, 0) > v1.get(n, 0)]
    assert [c["id"] for c in document["regressions"]] == [n for n in IDS if v2.get(n, 0) < v1.get(n, 0)]
    assert document["specs"]["changes"] == [{"field": "training.max_steps", "a": 48, "b": 64, "result": True}]


def test_the_text_has_table_change_and_errors(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(small, HALF, OTHER)
    code, text = said(small, "v1", "experiments/v2.yaml", monkeypatch=monkeypatch)
    assert code == 5
    assert "compile@2_raw" in text and "exact p" in text
    assert "v2 is not told apart from v1: strict compile@1 +0.000 [-" in text
    assert "changed: training.max_steps 48 → 64" in text
    assert "12 worse" in text and "12 better" in text
    assert "t/print/100  1.00 → 0.00\n      v2: sample 0, line 1: `print (((`" in text
    assert "provisional" in text


def test_results_are_taken_from_adapters_too(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = made(small, HALF, MOST)
    for name in ("v1", "v2"):
        publish(small, plan.experiments[name])
    shutil.rmtree(small / "build")
    code, text = said(small, "v1", "v2", "--json", monkeypatch=monkeypatch)
    assert (code, json.loads(text)["where"]) == (0, {"a": "adapters/v1", "b": "adapters/v2"})
    spec = small / "experiments/v1.yaml"
    spec.write_text(spec.read_text().replace("r: 4", "r: 8"))  # v2 inherits it: both are as published
    code, text = said(small, "v1", "v2", monkeypatch=monkeypatch)
    assert code == 0 and "adapters/v1, published before its spec changed" in text
    (small / "adapters/v1/eval_results.json").write_text("{}")
    code, text = said(small, "v1", "v2", monkeypatch=monkeypatch)
    assert (code, text) == (
        2,
        "adapters/v1/eval_results.json is not the file that lock.json lists; git checkout or git lfs pull restores it",
    )


def test_what_cannot_be_compared_is_told_in_one_line(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(small, HALF)
    assert said(small, "v1", "v2", monkeypatch=monkeypatch) == (
        2,
        "v2 has no results yet; run snakemake --cores 8 v2 --resources gpu=1",
    )
    assert said(small, "v1", "v7", monkeypatch=monkeypatch) == (2, "no such experiment: v7; there are v1, v2")
    spec = small / "experiments/v2.yaml"
    spec.write_text(V2 + "eval: {sampling: {max_new_tokens: 13}}\n")
    made(small, v2=MOST)
    assert said(small, "v1", "v2", monkeypatch=monkeypatch) == (
        2,
        "v1 and v2 cannot be compared: sampling differs: v1 max_new_tokens 12, v2 max_new_tokens 13; score both alike",
    )
    spec.write_text("extends: v1\nno: good\n")
    assert said(small, "v1", "v2", monkeypatch=monkeypatch) == (
        2,
        "v2 has no results, and its spec has errors; run bbjspec check v2",
    )


def test_no_traceback_reaches_a_user(
    small: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(small)
    monkeypatch.setattr("sys.argv", ["bbjspec", "compare", "v1", "v2"])
    with pytest.raises(SystemExit) as ended:
        entry()
    assert ended.value.code == 2
    assert capsys.readouterr().err == ("bbjspec: v1 has no results yet; run snakemake --cores 8 v1 --resources gpu=1\n")


def test_a_card_has_its_parent(small: Path) -> None:
    plan = made(small, HALF, MOST)
    assert publish(small, plan.experiments["v1"]) == "# v1\n\nthe smallest whole way\n\nend\n"
    card = publish(small, plan.experiments["v2"], plan)
    assert card.startswith(
        "# v2\n\nmore steps\n\nChanged since v1: training.max_steps `48` → `64`.\n\n"
        "Against its parent v1: **better**. Strict compile@1 0.85 against 0.50, "
    )
    assert "9 better, 0 worse. This decides nothing" in card
    comparison = json.loads((small / "adapters/v2/parent_comparison.json").read_text())
    assert (comparison["a"]["role"], comparison["b"]["role"]) == ("v1", "v2")
    lock = json.loads((small / "adapters/v2/lock.json").read_text())
    assert "parent_comparison.json" in lock["files"]
    assert not read_plan(small).bad


def test_a_parent_without_results_is_a_sentence_and_nothing_runs_for_it(small: Path) -> None:
    plan = made(small, v2=MOST)
    before = {role: stage.digest for role, stage in plan.experiments["v2"].roles.items()}
    card = publish(small, plan.experiments["v2"])
    assert "Its parent v1 had no published results when this card was placed; `bbjspec compare v1 v2`" in card
    assert not (small / "adapters/v2/parent_comparison.json").exists()
    assert set(plan.experiments["v2"].publish_document["inputs"]).isdisjoint(
        {plan.experiments["v1"].roles["score"].digest}
    )
    evaluate(small, plan.experiments["v1"], NONE, HALF)
    publish(small, plan.experiments["v1"])
    spec = small / "experiments/v1.yaml"
    spec.write_text(spec.read_text().replace("the smallest whole way", "other words"))
    after = read_plan(small).experiments["v2"]
    assert {role: stage.digest for role, stage in after.roles.items()} == before, "no digest knows of the parent"
    assert "Against its parent v1: **better**" in publish(small, after), "placed again, it is there"


def test_one_prompt_alone_says_nothing_and_is_told_all_the_same(small: Path) -> None:
    prompts = small / "eval/prompts/print.jsonl"
    prompts.write_text(prompts.read_text().splitlines(keepends=True)[0])
    plan = made(small, HALF, MOST)
    publish(small, plan.experiments["v1"])
    card = publish(small, plan.experiments["v2"])
    assert "Strict compile@1 1.00 against 1.00, +0.00 [-1.00, 1.00], exact p 1, on the same 1 prompts" in card


def test_a_parent_that_is_unlike_or_broken_is_a_sentence(small: Path) -> None:
    (small / "experiments/v2.yaml").write_text(V2 + "eval: {sampling: {max_new_tokens: 13}}\n")
    plan = made(small, HALF, MOST)
    publish(small, plan.experiments["v1"])
    assert "Not compared with its parent v1: `sampling differs: v1 max_new_tokens 12, v2" in publish(
        small, plan.experiments["v2"]
    )
    (small / "adapters/v1/scores.jsonl").unlink()
    assert "Not compared with its parent v1: `adapters/v1 is not whole" in publish(small, plan.experiments["v2"])
