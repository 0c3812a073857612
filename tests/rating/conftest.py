"""A project to rate, and a browser to rate it in."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness import write_project
from tests.rating.browsing import CHROMIUM, OPTIONS, View
from tests.rating.projects import ITEMS, publish_answers, realistic


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
