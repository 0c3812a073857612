"""What is published: `adapters/<experiment>/` and `eval/baselines/<base>/<digest>/`, each vouched for by `lock.json`.

The repository is the cache of record: on a fresh clone the plan takes a published stage for done when its digest is the
one that it needs, and `run` copies its files back into `build/` when a later stage wants them.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bbjspec.digest import FileHashes, sha256_file
from bbjspec.errors import BadInput, EnvironmentLacks, Finding, StageFailed
from bbjspec.stage import KINDS, Stage
from bbjspec.store import MANIFEST, is_whole, read_json, write_json

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
    if not path.is_file():
        raise BadInput([Finding(shown, 0, 0, "", "missing, though lock.json lists it; restore it with git checkout")])
    if lfs_oid(path) == sha256:
        if content:
            raise EnvironmentLacks(f"{shown}: only a Git LFS pointer is here; run git lfs pull")
        return
    if (hashes or sha256_file)(path) != sha256:
        remedy = "restore it with git checkout, or remove lock.json beside it to publish anew"
        raise BadInput([Finding(shown, 0, 0, "", f"is not the file that lock.json lists; {remedy}")])


@dataclass
class Published:
    """All that the lock files of a project vouch for."""

    stages: dict[str, dict[str, Any]] = field(default_factory=dict)  # digest -> {file: {path, sha256, group}}
    cards: dict[str, tuple[str, str]] = field(default_factory=dict)  # experiment -> (card digest, card lineage)
    bad: dict[str, list[Finding]] = field(default_factory=dict)  # folder -> what is wrong with it

    @classmethod
    def read(cls, root: Path, hashes: FileHashes) -> Published:
        """Read every lock file and check the files it lists. Nothing raises: what is wrong lands in `bad`."""
        found = cls()
        locks = sorted([*root.glob(f"adapters/*/{LOCKFILE}"), *root.glob(f"eval/baselines/*/*/{LOCKFILE}")])
        for lock in locks:
            folder = lock.parent.relative_to(root).as_posix()
            try:
                found._take(lock, folder, hashes)
            except BadInput as error:
                found.bad[folder] = list(error.findings)
        return found

    def _take(self, lock: Path, folder: str, hashes: FileHashes) -> None:
        document = read_json(lock)
        try:
            shas = dict(document["files"])
            for name, sha in shas.items():
                verify_file(lock.parent / name, f"{folder}/{name}", sha, content=False, hashes=hashes)
            for digest, entry in document["stages"].items():
                self.stages[digest] = {
                    file: {"path": f"{folder}/{name}", "sha256": shas[name], "group": entry["groups"][file]}
                    for file, name in entry["files"].items()
                }
            if document.get("card"):
                self.cards[lock.parent.name] = (document["card"]["digest"], document["card"]["lineage"])
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            shown = f"{folder}/{LOCKFILE}"
            raise BadInput([Finding(shown, 0, 0, "", "not a lock file; restore it with git checkout")]) from error


def folder_document(folder: str, stages: Sequence[Stage], card: Stage | None) -> dict[str, Any]:
    """What to place into one folder: the stages whose files belong there, and the card where there is one."""
    return {
        "folder": folder,
        "card": {"digest": card.digest, "lineage": card.lineage} if card else None,
        "stages": [{"digest": s.digest, "kind": s.kind, "version": s.version, "lineage": s.lineage} for s in stages],
    }


def run(root: Path, document: Mapping[str, Any], log: logging.Logger) -> None:
    """Place an experiment's results. The lock file goes first and comes back last: without it nothing is published."""
    tokens = {"@EXPERIMENT@": document["experiment"], "@DESCRIPTION@": document["description"]}
    for folder in document["folders"]:
        _place(root, root / folder["folder"], folder, tokens)
        log.info("placed %s", folder["folder"])


def _place(root: Path, target: Path, folder: Mapping[str, Any], tokens: Mapping[str, str]) -> None:
    target.mkdir(parents=True, exist_ok=True)
    lock = target / LOCKFILE
    old = read_json(lock)
    lock.unlink(missing_ok=True)
    files: dict[str, str] = {}
    stages: dict[str, Any] = {}
    for stage in folder["stages"]:
        source = root / "build" / stage["kind"] / stage["digest"]
        if not is_whole(source):
            raise StageFailed(f"{stage['kind']} {stage['digest']} is not whole; run again")
        manifest = read_json(source / MANIFEST)
        placed: dict[str, str] = {}
        for file, name in KINDS[stage["kind"]].publish.items():
            if file not in manifest["files"]:
                continue  # an adopted stage may lack a record
            _copy(source / file, target / name, tokens if name.endswith(".md") else {})
            files[name] = sha256_file(target / name)
            placed[file] = name
        # A stage can be taken back from here only if everything that it made is here, byte for byte.
        needed = {file for file, entry in manifest["files"].items() if entry["group"] == "output"}
        faithful = all(files[name] == manifest["files"][file]["sha256"] for file, name in placed.items())
        if needed <= set(placed) and faithful:
            groups = {file: manifest["files"][file]["group"] for file in placed}
            stages[stage["digest"]] = {**stage, "files": placed, "groups": groups}
    if isinstance(old, dict):
        for name in set(old.get("files", {})) - set(files):
            (target / name).unlink(missing_ok=True)
    write_json(lock, {"schema_version": 1, "card": folder["card"], "stages": stages, "files": files})


def _copy(source: Path, target: Path, tokens: Mapping[str, str]) -> None:
    scratch = target.with_name(f".{target.name}.tmp")
    if tokens:
        text = source.read_text(encoding="utf-8")
        for token, value in tokens.items():
            text = text.replace(token, value)
        scratch.write_text(text, encoding="utf-8")
    else:
        shutil.copyfile(source, scratch)
    scratch.replace(target)
