"""What is published, as the lock files of a project vouch for it: which stages can be had, and which files are good."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from bbjspec.digest import FileHashes, sha256_file
from bbjspec.errors import BadInput, EnvironmentLacks, Finding
from bbjspec.store import read_json

LOCKFILE = "lock.json"
_LFS = b"version https://git-lfs.github.com/spec/v1"


def lfs_oid(path: Path) -> str | None:
    """The SHA-256 that a Git LFS pointer stands for, or None when the file is no pointer."""
    try:
        if path.stat().st_size > 1024:
            return None
        lines = path.read_bytes().splitlines()
    except OSError:
        return None
    if not lines or lines[0] != _LFS:
        return None
    for line in lines:
        if line.startswith(b"oid sha256:"):
            return line.removeprefix(b"oid sha256:").decode("ascii", "replace").strip()
    return None


def verify_file(path: Path, shown: str, sha256: str, *, content: bool, hashes: FileHashes | None = None) -> None:
    """Check that a published file is the one that its lock names. `content`: its bytes are needed, no mere pointer.

    Raises BadInput that names a file which differs or is missing, EnvironmentLacks for a pointer without bytes.
    """
    remedy = "restore it with git checkout, or remove lock.json beside it to publish anew"
    try:
        # The hash first: with a memo it costs one look at the file, and nearly every file is the right one.
        if (hashes or sha256_file)(path) == sha256:
            return
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        missing = "missing, though lock.json lists it; restore it with git checkout"
        raise BadInput([Finding(shown, 0, 0, "", missing)]) from None
    except OSError as error:
        raise BadInput([Finding(shown, 0, 0, "", f"cannot be read: {error.strerror}")]) from error
    pointer = lfs_oid(path)
    if pointer is None:
        raise BadInput([Finding(shown, 0, 0, "", f"is not the file that lock.json lists; {remedy}")])
    if pointer != sha256:
        raise BadInput([Finding(shown, 0, 0, "", f"a Git LFS pointer of another file than lock.json lists; {remedy}")])
    if content:
        raise EnvironmentLacks(f"{shown}: only a Git LFS pointer is here; run git lfs pull")


def is_plain_name(name: Any) -> bool:
    """Whether a lock file may call a file so: below its own folder, on every system."""
    parts = PurePosixPath(name).parts if isinstance(name, str) else ()
    return bool(parts) and ".." not in parts and not name.startswith("/") and "\\" not in name and "\0" not in name


def lock_files(root: Path) -> list[Path]:
    """All lock files of a project."""
    places = (
        f"adapters/*/{LOCKFILE}",
        f"adapters/*/references/*/{LOCKFILE}",
        f"adapters/*/gguf/*/{LOCKFILE}",
        f"eval/baselines/*/*/{LOCKFILE}",
        f"dataset/{LOCKFILE}",
    )
    return sorted(lock for place in places for lock in root.glob(place))


@dataclass
class Published:
    """All that the lock files of a project vouch for."""

    stages: dict[str, dict[str, Any]] = field(default_factory=dict)  # digest -> {file: {path, sha256, group}}
    cards: dict[str, tuple[str, str]] = field(default_factory=dict)  # experiment -> (card digest, card lineage)
    placed: dict[str, Any] = field(default_factory=dict)  # experiment -> what its lock remembers of placed GGUFs
    bad: dict[str, list[Finding]] = field(default_factory=dict)  # folder -> all that is wrong with it
    locks: dict[str, dict[str, Any]] = field(default_factory=dict)  # folder -> its lock file, good or not

    @classmethod
    def read(cls, root: Path, hashes: FileHashes) -> Published:
        """Read every lock file and check the files it lists. Nothing raises: what is wrong lands in `bad`."""
        found = cls()
        for lock in lock_files(root):
            folder = lock.parent.relative_to(root).as_posix()
            try:
                findings = found._take(lock, folder, hashes)
            except (KeyError, TypeError, AttributeError, ValueError):
                findings = [Finding(f"{folder}/{LOCKFILE}", 0, 0, "", "not a lock file; restore it with git checkout")]
            if findings:
                found.bad[folder] = findings
        return found

    def _take(self, lock: Path, folder: str, hashes: FileHashes) -> list[Finding]:
        """Take what the lock vouches for, and tell what differs. A stage of which every file is good can be had."""
        document = read_json(lock)
        # Joined as text: a thousand experiments publish some fifteen thousand files.
        root = str(lock.parent)
        shas, stages, card = dict(document["files"]), dict(document["stages"]), document["card"]
        if not all(is_plain_name(name) for name in (*shas, *(file for s in stages.values() for file in s["files"]))):
            raise ValueError("a name that leads out of the folder")
        wrong: dict[str, Finding] = {}
        for name, sha in shas.items():
            try:
                verify_file(Path(f"{root}/{name}"), f"{folder}/{name}", sha, content=False, hashes=hashes)
            except BadInput as error:
                wrong[name] = error.findings[0]
        good = {
            digest: {
                file: {"path": f"{folder}/{name}", "sha256": shas[name], "group": entry["groups"][file]}
                for file, name in entry["files"].items()
            }
            for digest, entry in stages.items()
            if wrong.keys().isdisjoint(entry["files"].values())
        }
        placed = (card["digest"], card["lineage"]) if card else None
        self.stages.update(good)
        self.locks[folder] = document
        if placed and not wrong:
            self.cards[lock.parent.name] = placed
            export = document.get("export")
            self.placed[lock.parent.name] = export if isinstance(export, dict) else None
        return list(wrong.values())
