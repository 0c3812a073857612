"""The small project, run once by real Snakemake with the smallest base; each test gets a copy of its own."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.harness import snakemake, write_project


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small project, run to its card. Not to be changed: take `small`."""
    root = tmp_path_factory.mktemp("finished") / "project"
    write_project(root)
    done = snakemake(root)
    assert done.returncode == 0, done.stdout + done.stderr
    return root


@pytest.fixture
def small(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished small project, to be edited."""
    root = tmp_path / "project"
    shutil.copytree(finished, root, ignore=shutil.ignore_patterns(".snakemake"))
    return root


@pytest.fixture
def replace_in() -> Callable[[Path, str, str], None]:
    """Replace a text that must be there."""

    def replace(file: Path, old: str, new: str) -> None:
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))

    return replace
