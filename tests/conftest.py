"""What every test may rely on."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.harness import snakemake, write_project

# Stages run as child processes too, which a patched socket does not reach.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that reaches for the network fails, at once and by name."""
    real = socket.socket.connect

    def connect(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise AssertionError(f"a test reached for the network: {address}")
        real(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect)


# The small project, run once by real Snakemake with the smallest base; each test gets a copy of its own.


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
