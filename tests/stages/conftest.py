"""The smallest models and a training on them, made once and not to be changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from bbjspec.stage import StageRun
from tests.stages import tiny


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.build(tmp_path_factory.mktemp("built"))


@pytest.fixture(scope="session")
def undisturbed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> StageRun:
    return tiny.trained(built, tmp_path_factory.mktemp("undisturbed"))
