"""A published project without its work, for tests of what planning sees."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from bbjspec.plan import read_plan
from tests.harness import write_project
from tests.whole import publish_all


@pytest.fixture(scope="session")
def _published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("published") / "project"
    write_project(root)
    publish_all(read_plan(root))
    return root


@pytest.fixture
def project(_published: Path, tmp_path: Path) -> Path:
    """A copy of a project whose one experiment, v1, is whole in build/ and published."""
    root = tmp_path / "project"
    shutil.copytree(_published, root)
    return root


@pytest.fixture
def edit(project: Path) -> Callable[..., None]:
    """Replace a text that must be there, in v1's spec unless another file is named."""

    def replace(old: str, new: str, file: str = "experiments/v1.yaml") -> None:
        text = (project / file).read_text()
        assert old in text
        (project / file).write_text(text.replace(old, new))

    return replace
