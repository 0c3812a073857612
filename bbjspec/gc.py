"""What lies in build/ that no spec needs: listed with its size, and deleted only on demand.

Never touched: what a current spec's plan names, a stage whose lock is held and all that it builds on, anything that a
link in build/ leads to, and whatever bbjspec did not put there. What is published stays published: the repository has
it. A project with a bad spec is not looked at, since nobody knows what that spec needs.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bbjspec.digest import FileHashes
from bbjspec.errors import BadInput, EnvironmentLacks
from bbjspec.owner import elsewhere
from bbjspec.placing import LINKED
from bbjspec.plan import MEMO, read_plan
from bbjspec.stage import KINDS
from bbjspec.store import LOCK, MANIFEST, STAGE, read_json

_DIGEST = re.compile(r"[0-9a-f]{16}")
_SCRATCH = re.compile(r"\..+\.\d+\.tmp|hashes\.json\.\d+\.tmp")  # what a killed writer leaves behind
_SCRATCH_AGE = 3600  # seconds; a younger one may still be written
UNNEEDED, LEFTOVER, HELD = "no spec needs it", "left behind by a killed run", "in use: kept"


@dataclass(frozen=True)
class Garbage:
    """One thing in build/ that may go. `path` is relative to the project's root, `size` in bytes."""

    path: str
    size: int
    why: str


def find(root: Path) -> list[Garbage]:
    """All that may go, by path. Raises BadInput while a spec is bad: what it needs is not known."""
    plan = read_plan(root)
    if findings := [finding for found in plan.bad_specs.values() for finding in found]:
        raise BadInput(findings)
    keep = set(plan.stages) | {experiment.publish_digest for experiment in plan.experiments.values()}
    keep |= _in_use(root)
    found: list[Garbage] = []
    for folder in _folders(root / "build"):
        if folder.name == "invalid":  # the marker of bad specs, and there are none
            found.append(_garbage(root, folder, LEFTOVER))
            continue
        for entry in sorted(folder.iterdir()):
            if not _DIGEST.fullmatch(entry.name):
                continue
            if entry.name not in keep:
                found.append(_garbage(root, entry, UNNEEDED))
            elif entry.is_dir() and not entry.is_symlink() and not held(entry):
                found += [_garbage(root, path, LEFTOVER) for path in _leftovers(entry)]
    found += [_garbage(root, path, LEFTOVER) for path in _scratch(root / "build")]
    linked = root / LINKED  # links: while one is there, the weights that it leads to take their room
    there = sorted(linked.iterdir()) if linked.is_dir() and not linked.is_symlink() else []
    return found + [_garbage(root, path, UNNEEDED) for path in there if path.name not in plan.experiments]


def forgotten(root: Path) -> list[str]:
    """Entries of the memo of hashes whose files are gone."""
    known = read_json(root / MEMO)
    return sorted(path for path in known if not os.path.lexists(path)) if isinstance(known, dict) else []


def delete(root: Path, garbage: Garbage) -> str:
    """Delete one thing. Returns "" or why it is still there."""
    path = root / garbage.path
    try:
        if path.is_symlink() or not path.is_dir():
            path.unlink(missing_ok=True)  # a link goes, what it leads to stays
            return ""
        with _Lock(path) as free:
            if not free:
                return HELD
            (path / MANIFEST).unlink(missing_ok=True)  # first, so that half a stage never counts as whole
            shutil.rmtree(path)
    except OSError as error:
        return f"cannot be deleted: {error.strerror}"
    return ""


def collect(root: Path, *, delete: bool) -> Iterator[str]:
    """The lines that `bbjspec gc` prints. Raises EnvironmentLacks at the end if something could not be deleted."""
    found, entries = find(root), forgotten(root)
    gone, size, failed = 0, 0, 0
    for garbage in found:
        problem = _delete(root, garbage) if delete else ""
        yield f"{garbage.path}  {_size(garbage.size)}  {problem or garbage.why}"
        failed += _failed(problem)
        gone, size = gone + (not problem), size + (0 if problem else garbage.size)
    if entries:
        yield f"{MEMO}  {len(entries)} entries of files that are gone"
        if delete:
            _forget(root, entries)
    things = f"{gone} {'thing' if gone == 1 else 'things'}, {_size(size)}"
    if not found and not entries:
        yield "nothing to delete"
    else:
        yield f"deleted: {things}" if delete else f"{things}; bbjspec gc --delete deletes them"
    _tell(failed, len(found))


def collect_as_data(root: Path, *, delete: bool, tell: Callable[[dict[str, Any]], None]) -> None:
    """The same as data, given to `tell`; sizes in bytes. Raises as `collect` does, after telling."""
    found, entries = find(root), forgotten(root)
    problems = [_delete(root, garbage) if delete else "" for garbage in found]
    if delete and entries:
        _forget(root, entries)
    things = [
        {**asdict(garbage), "deleted": delete and not problem, "kept": problem or None}
        for garbage, problem in zip(found, problems, strict=True)
    ]
    tell({"garbage": things, "forgotten": len(entries), "deleted": delete})
    _tell(sum(map(_failed, problems)), len(found))


def _failed(problem: str) -> bool:
    return bool(problem) and problem != HELD


def _forget(root: Path, entries: list[str]) -> None:
    hashes = FileHashes(root / MEMO)
    hashes.forget(entries)
    hashes.save()


def _tell(failed: int, found: int) -> None:
    if failed:
        raise EnvironmentLacks(f"{failed} of {found} could not be deleted; see above, and delete them by hand")


_delete = delete  # what collects has an argument of that name


def _folders(build: Path) -> Iterator[Path]:
    """The folders of stages: of each kind that there is or was. A link is somebody's own arrangement: left alone."""
    for folder in sorted(build.iterdir()) if build.is_dir() else ():
        if folder.is_symlink() or not folder.is_dir():
            continue
        if folder.name in (*KINDS, "publish", "invalid") or next(folder.glob(f"*/{STAGE}"), None):
            yield folder


def _in_use(root: Path) -> set[str]:
    """Digests of stages at work, and of all that they build on: a run of an older plan may not lose its inputs."""
    waiting = [path.parent for path in (root / "build").glob(f"*/*/{LOCK}") if held(path.parent)]
    used: set[str] = set()
    while waiting:
        directory = waiting.pop()
        if directory.name not in used:
            used.add(directory.name)
            document = read_json(directory / STAGE)
            inputs = document.get("inputs") if isinstance(document, dict) else None
            waiting += [root / str(upstream) for upstream in (inputs or {}).values()]
    return used


def _leftovers(directory: Path) -> list[Path]:
    """In a stage that is needed: scratch files, and the work directory of one that is whole without it."""
    work = directory / "work"
    return [*([work] if work.is_dir() and (directory / MANIFEST).is_file() else []), *_scratch(directory)]


def _scratch(directory: Path) -> list[Path]:
    now = time.time()
    found = [path for path in directory.iterdir() if _SCRATCH.fullmatch(path.name)] if directory.is_dir() else []
    return sorted(path for path in found if now - path.lstat().st_mtime > _SCRATCH_AGE)


def held(directory: Path) -> bool:
    """Whether a process has the stage's lock."""
    with _Lock(directory, fcntl.LOCK_SH) as free:
        return not free


class _Lock:
    """The directory's lock, taken if it is free: says so on entry. Creates no lock file."""

    def __init__(self, directory: Path, how: int = fcntl.LOCK_EX) -> None:
        self._path, self._how = directory / LOCK, how
        self._descriptor: int | None = None

    def __enter__(self) -> bool:
        try:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_NOFOLLOW)
        except OSError:
            return not elsewhere(self._path.parent)  # never run, or not by us
        try:
            fcntl.flock(self._descriptor, self._how | fcntl.LOCK_NB)
        except OSError:
            return False
        return not elsewhere(self._path.parent)

    def __exit__(self, *_: object) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)


def _garbage(root: Path, path: Path, why: str) -> Garbage:
    return Garbage(path.relative_to(root).as_posix(), _bytes(path), why)


def _bytes(path: Path) -> int:
    """Bytes below a path; links count as themselves, and what cannot be read as nothing."""
    total = 0
    waiting = [path]
    while waiting:
        here = waiting.pop()
        try:
            status = here.lstat()
            total += status.st_size if not here.is_dir() or here.is_symlink() else 0
            if here.is_dir() and not here.is_symlink():
                waiting += here.iterdir()
        except OSError:
            continue
    return total


def _size(size: int) -> str:
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} bytes"
