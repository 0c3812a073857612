"""Real disks of any size, and real read-only ones: what chmod does to root, whom it does not stop."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(place: Path, kilobytes: int) -> Iterator[None]:
    """An empty disk of that size at `place`; `resize` gives it more. Skips the test where none can be mounted."""
    place.mkdir(parents=True, exist_ok=True)
    _mount("-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(place))
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def resize(place: Path, kilobytes: int) -> None:
    """Room on a small disk, or less of it; what lies there stays."""
    subprocess.run(["mount", "-o", f"remount,size={kilobytes}k", str(place)], check=True)


@contextmanager
def read_only(place: Path) -> Iterator[None]:
    """What is at `place`, but nobody can write there. Skips the test where it cannot be mounted so."""
    _mount("--bind", str(place), str(place))
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", str(place)], check=True)
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def _mount(*words: str) -> None:
    try:
        done = subprocess.run(["mount", *words], capture_output=True, text=True)
    except OSError as error:
        pytest.skip(f"nothing can be mounted here: {error}")
    if done.returncode:
        pytest.skip(f"nothing can be mounted here: {done.stderr.strip()}")
