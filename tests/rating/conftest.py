"""A published project whose suite has realistic prompts: made-up answers, judged and placed by the real code."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from bbjspec.plan import read_plan
from tests.answers import evaluate, publish, seal
from tests.harness import write_project
from tests.rating.browsing import CHROMIUM, OPTIONS, View

CARD = "# @EXPERIMENT@\n\n@PARENT@\n\n### Rated by people\n\n<!-- @RATINGS@ -->\n<!-- @RATINGS_END@ -->\n### Next\n"
ITEMS = [f"t/real/{number:02}" for number in range(1, 21)]


def realistic(item: str, **changes: Any) -> dict[str, Any]:
    """One prompt for people to rate."""
    number = int(item.rpartition("/")[2])
    return {
        "id": item,
        "tier": "realistic",
        "category": "reports",
        "difficulty": "basic",
        "generation": "all",
        "input": f"Our report {number} lacks its total. Print {number} at its end.",
        "reference": f"```bbj\nprint {number}\n```",
        "notes": f"Is {number} printed?",
        **changes,
    }


def answer(generations: Path, answers: Mapping[str, str | tuple[str, str]]) -> None:
    """Replace first answers in a stage's generations: {prompt: text, or (text, how it ended)}."""
    rows = [json.loads(line) for line in generations.read_text().splitlines()]
    for row in rows:
        if row["sample_idx"] == 0 and row["task_id"] in answers:
            said = answers[row["task_id"]]
            row["completion"], row["finish_reason"] = (said, "stop") if isinstance(said, str) else said
    generations.write_text("".join(json.dumps(row) + "\n" for row in rows))
    seal(generations.parent)


def publish_answers(
    root: Path, name: str = "v1", base: Mapping[str, Any] | None = None, tuned: Mapping[str, Any] | None = None
) -> None:
    """Evaluate and place an experiment whose answers to realistic prompts are these, by default all different."""
    experiment = read_plan(root).experiments[name]
    evaluate(root, experiment, {}, dict.fromkeys(ITEMS, 2))
    for role, own, said in (("base_generate", base, "base"), ("generate", tuned, name)):
        texts = {item: f"Answer {number} of nobody: {len(said)}" for number, item in enumerate(ITEMS)} | dict(own or {})
        answer(root / experiment.roles[role].directory / "generations.jsonl", texts)
    publish(root, experiment, read_plan(root), card=CARD)


@pytest.fixture(scope="session")
def rated_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project, published and not rated yet. Not to be changed: take `project`."""
    root = tmp_path_factory.mktemp("rating") / "project"
    write_project(root)
    with (root / "eval/prompts/print.jsonl").open("a") as prompts:
        for item in ITEMS:
            prompts.write(json.dumps(realistic(item)) + "\n")
    publish_answers(root)
    return root


@pytest.fixture
def project(rated_once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, to be rated; the working directory is there."""
    root = tmp_path / "project"
    shutil.copytree(rated_once, root)
    monkeypatch.chdir(root)
    return root


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium. Who has none skips; `.ci/run` has it."""
    if CHROMIUM is None:
        pytest.skip("no chromium or google-chrome on PATH")
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        yield browser
        browser.close()


@pytest.fixture
def look(browser: Any) -> Iterator[Callable[..., View]]:
    """Opens a page; at the end there must have been nothing on its console, unless the test took it from there."""
    views: list[View] = []

    def open_view(address: str, **options: Any) -> View:
        views.append(View(browser, address, **options))
        return views[-1]

    yield open_view
    for view in views:
        view.context.close()
        assert view.complaints == []
