"""What to commit once results are placed: the very `git add` line, and what git would do with it that is not meant."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

WEIGHTS = "adapter_model.safetensors"
SECONDS = 10  # for one question to git
LFS = (
    "before that, once: install Git LFS (https://git-lfs.com), then git lfs install; "
    "without it git itself takes the weights, whole"
)


def to_commit(root: Path, results: str, paths: Sequence[str]) -> list[str]:
    """Lines that say how to commit these files and folders; none outside a git work tree, or without git.

    A folder inside another of them is not named again. What .gitignore leaves out is told, not added; when that is the
    folder of `results` there is nothing to commit. A warning where git would take the weights whole for want of LFS.
    """
    if git(root, "rev-parse", "--is-inside-work-tree") != "true":
        return []
    outer = [path for path in paths if not any(path.startswith(f"{other}/") for other in paths)]
    ignored = left_out(root, outer)
    if results in ignored:
        return [f"nothing to commit: .gitignore leaves out {results}"]
    wanted = [path for path in outer if path not in ignored]
    lines = [f"to commit: git add {shlex.join(wanted)}"] if wanted else []
    if ignored:
        lines.append(f"not to commit, by .gitignore: {shlex.join(sorted(ignored))}")
    weights = [f"{path}/{WEIGHTS}" for path in wanted if (root / path / WEIGHTS).is_file()]
    if weights and not git(root, "config", "filter.lfs.clean"):
        lines.append(LFS)
    return lines


def left_out(root: Path, paths: Sequence[str]) -> set[str]:
    """Those of the paths that .gitignore leaves out; none without git."""
    return set((git(root, "check-ignore", "--", *paths) or "").splitlines()) if paths else set()


def git(root: Path, *words: str) -> str | None:
    """What git says on standard output; None where it says no, takes too long, or is not there."""
    try:
        done = subprocess.run(
            ["git", *words], cwd=root, capture_output=True, text=True, timeout=SECONDS, check=False, errors="replace"
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
