"""`adapters/README.md`: real scores of made-up answers, side by side, and what they say about going on."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from bbjspec import leaderboard
from bbjspec.cli import app
from bbjspec.committing import to_commit
from bbjspec.errors import BadInput
from bbjspec.plan import Plan, read_plan
from tests.answers import evaluate, publish, seal
from tests.harness import SPEC, write_project
from tests.whole import make_whole

IDS = [f"t/print/{i}" for i in range(100, 124)]
RUNS: dict[str, tuple[str, Mapping[str, int], str]] = {
    "v1": ("", dict.fromkeys(IDS[:6], 2), "2026-01-01"),
    "v2": ("training: {max_steps: 64}", dict.fromkeys(IDS[:16], 2), "2026-01-02"),
    "v10": ("training: {max_steps: 80}\nlora: {r: 8}", dict.fromkeys(IDS[:15], 2), "2026-01-03"),
}


def place(root: Path, name: str, passes: Mapping[str, int], date: str | None) -> Plan:
    """Publish an experiment with real scores of made-up answers, trained on that day."""
    plan = read_plan(root)
    assert not plan.bad
    experiment = plan.experiments[name]
    evaluate(root, experiment, {}, passes)
    train = make_whole(root, experiment.roles["train"])
    (train / "training_log.json").write_text(json.dumps({"best": {"eval_loss": 0.25}}))
    (train / "training_config.json").write_text(json.dumps({"date": date} if date else {}))
    seal(train)
    publish(root, experiment, plan)
    return plan


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    write_project(root)
    parent = "v1"
    for name, (change, passes, date) in RUNS.items():
        if name != "v1":
            (root / f"experiments/{name}.yaml").write_text(f"extends: {parent}\n{change}\n")
        place(root, name, passes, date)
        parent = name
    return root


def test_best_first_with_parent_and_change(project: Path) -> None:
    board = leaderboard.read(project)
    (group,) = board["groups"]
    assert [row["name"] for row in group["rows"]] == ["v2", "v10", "v1"] and not board["broken"]
    v2, v10, v1 = group["rows"]
    comparison = json.loads((project / "adapters/v2/comparison.json").read_text())
    assert (v2["score"], v2["ci"]) == (comparison["b"]["value"], comparison["b"]["ci"])
    assert v2["since_parent"]["verdict"] == "better" and v10["since_parent"]["verdict"] == "not told apart"
    assert v1["parent"] is None and v1["changes"] == []
    written = (project / leaderboard.BOARD).read_text()
    line = next(line for line in written.splitlines() if "[v2](v2/MODEL_CARD.md)" in line)
    low, high = v2["ci"]
    since = v2["since_parent"]
    assert [cell.strip() for cell in line.strip("|").split("|")] == [
        "[v2](v2/MODEL_CARD.md)",
        "PASS (provisional)",
        "0.67",
        f"[{low:.2f}, {high:.2f}]",
        "24",
        f"+0.67 [{low:.2f}, {high:.2f}]",
        "",
        "not measured",
        "0.2500",
        "v1",
        f"better, +0.42 [{since['ci'][0]:.2f}, {since['ci'][1]:.2f}]",
        "training.max_steps `48` → `64`",
        "2026-01-02",
    ]
    assert "lora.r `4` → `8`, training.max_steps `64` → `80`" in written
    assert "No evidence about BBj" in written and "When to stop" not in written, "the embedded models prove nothing"


def row(name: str, score: float, half: float, day: int, verdict: str | None) -> dict[str, Any]:
    since = {"verdict": verdict, "diff": 0.0, "ci": [0.0, 0.0]} if verdict else None
    return {
        "name": name,
        "score": score,
        "ci": [score - half, score + half],
        "trained": f"2026-01-{day:02}",
        "since_parent": since,
        "parent": "v0",
        "compiler": {"name": "bbjcpl", "version": "25"},
    }


def test_advice_about_what_is_enough() -> None:
    enough = leaderboard._enough
    assert enough(row("v3", 0.62, 0.1, 1, None)) == ("Strict compile@1 above 0.70: not yet, v3 has 0.62 [0.52, 0.72].")
    assert enough(row("v3", 0.75, 0.1, 1, None)) == (
        "Strict compile@1 above 0.70: by its mean, not beyond doubt: v3 has 0.75 [0.65, 0.85]."
    )
    assert enough(row("v3", 0.85, 0.1, 1, None)) == (
        "Strict compile@1 above 0.70: reached, v3 has 0.85 [0.75, 0.95]. "
        "Let people rate answers (`bbjspec rate v3`), and stop."
    )
    builtin = row("v3", 0.85, 0.1, 1, None) | {"compiler": {"name": "builtin", "version": "2"}}
    assert enough(builtin).endswith(" By the builtin checker: let bbjcpl confirm it.")


def test_advice_about_going_on() -> None:
    said = leaderboard._going_on
    start = "Improvement beyond its noise in the last 2 runs: "
    same, better = (row("v2", 0.5, 0.1, 2, what) for what in ("not told apart", "better"))
    worse = row("v10", 0.4, 0.1, 2, "worse")
    assert said([same]) == f"{start}cannot be said, 1 of the 2 needed are compared with a parent here."
    assert said([worse, same]) == (
        f"{start}none, v2 is not told apart from v0, v10 is worse than v0. Another run of this kind will hardly help: "
        "better data may, or it is time to stop."
    )
    assert said([worse, better]) == f"{start}yes, v2 is better than v0, v10 is worse than v0."
    later = row("v3", 0.5, 0.1, 9, "not told apart")
    assert "v10 is worse than v0, v3 is not told apart" in said([later, better, worse]), "the last two alone, by date"


def test_other_judges_and_prompts_are_other_tables(project: Path) -> None:
    spec = SPEC.replace("max_new_tokens: 12", "max_new_tokens: 13")
    (project / "experiments/v3.yaml").write_text(spec)
    place(project, "v3", {}, None)
    groups = leaderboard.read(project)["groups"]
    assert sorted([row["name"] for row in group["rows"]] for group in groups) == [["v2", "v10", "v1"], ["v3"]]
    assert (project / leaderboard.BOARD).read_text().count("| experiment | verdict |") == 2


def test_a_file_that_is_not_the_locks_is_said_and_harms_no_other(project: Path) -> None:
    (project / "adapters/v2/comparison.json").write_text("{}")
    (project / "adapters/v10/lock.json").write_text("[]")
    assert leaderboard.write(project)
    written = (project / leaderboard.BOARD).read_text()
    assert "- v2: comparison.json is not the file that lock.json lists; git checkout or git lfs pull restores it" in (
        written
    )
    assert "- v10: its files cannot be read; git checkout" in written and "| [v1](v1/MODEL_CARD.md) |" in written


def test_the_command(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    run = CliRunner().invoke
    assert run(app, ["leaderboard"]).stdout == (project / leaderboard.BOARD).read_text()
    assert json.loads(run(app, ["leaderboard", "--json"]).stdout) == leaderboard.read(project)
    assert run(app, ["leaderboard", "--write"]).stdout == "adapters/README.md: as it was\n"
    (project / leaderboard.BOARD).unlink()
    assert run(app, ["leaderboard", "--write"]).stdout == "adapters/README.md\n"
    (project / leaderboard.TEMPLATE).unlink()
    with pytest.raises(BadInput, match=r"templates/LEADERBOARD.md.j2: missing; the leaderboard is made from it"):
        run(app, ["leaderboard"], catch_exceptions=False)


def test_many_write_at_once(project: Path) -> None:
    made = (project / leaderboard.BOARD).read_text()
    (project / leaderboard.BOARD).write_text("old")
    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(lambda _: leaderboard.write(project), range(16))) == 1
    assert (project / leaderboard.BOARD).read_text() == made
    assert not list((project / "adapters").glob(".*"))


def test_hostile_words_do_nothing(project: Path) -> None:
    lock = json.loads((project / "adapters/v2/lock.json").read_text())
    lock["changes"] = [{"field": "data.path", "a": "a|b", "b": "![x](http://x)</td><script>", "result": True}]
    (project / "adapters/v2/lock.json").write_text(json.dumps(lock))
    (line,) = [line for line in leaderboard.text(project, leaderboard.read(project)).splitlines() if "[v2]" in line]
    assert "data.path `a\\|b` → `![x](http://x)</td><script>` |" in line


def git(root: Path, *words: str) -> None:
    who = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    subprocess.run(["git", *who, *words], cwd=root, check=True, capture_output=True)


def test_what_to_commit(project: Path) -> None:
    paths = ["experiments/v1.yaml", "adapters/v1", "adapters/v1/gguf/f16", "adapters/README.md", "eval/baselines/b"]
    assert to_commit(project, "adapters/v1", paths) == [], "no git, no advice"
    git(project, "init", "-q")
    (project / "adapters/v1/adapter_model.safetensors").write_text("weights")
    said = "to commit: git add experiments/v1.yaml adapters/v1 adapters/README.md eval/baselines/b"
    lfs = "before that, once: install Git LFS (https://git-lfs.com), then git lfs install; without it git itself takes "
    lfs += "the weights, whole"
    git(project, "config", "filter.lfs.clean", "git-lfs clean -- %f")
    assert to_commit(project, "adapters/v1", paths) == [said]
    git(project, "config", "filter.lfs.clean", "")
    assert to_commit(project, "adapters/v1", paths) == [said, lfs]
    (project / ".gitignore").write_text("eval/baselines/\n")
    assert to_commit(project, "adapters/v1", paths)[:2] == [
        "to commit: git add experiments/v1.yaml adapters/v1 adapters/README.md",
        "not to commit, by .gitignore: eval/baselines/b",
    ]
    (project / ".gitignore").write_text("adapters/v1/\n")
    assert to_commit(project, "adapters/v1", paths) == ["nothing to commit: .gitignore leaves out adapters/v1"]


def test_what_is_not_committed_is_not_on_the_committed_board(project: Path) -> None:
    git(project, "init", "-q")
    (project / ".gitignore").write_text("adapters/v2/\n")
    assert leaderboard.write(project)
    written = (project / leaderboard.BOARD).read_text()
    assert "[v2]" not in written and "[v10]" in written
    assert "[v2]" in leaderboard.text(project, leaderboard.read(project)), "the command shows what is here"


def test_exactly_what_is_committed_is_there(project: Path) -> None:
    git(project, "init", "-q")
    plan = read_plan(project)
    publish(project, plan.experiments["v1"], plan)
    log = next((project / plan.experiments["v1"].publish_directory).glob("stage.log"), None)
    assert log is None or "to commit: git add experiments/v1.yaml adapters/v1" in log.read_text()
    for name in RUNS:
        folder = project / "adapters" / name
        lock = json.loads((folder / "lock.json").read_text())
        there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
        assert there == {*lock["files"], "lock.json"}
        for path in folder.rglob("*.json"):
            assert str(project) not in path.read_text(), "no path of this machine"
