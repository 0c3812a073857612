"""What is published: `adapters/<experiment>/`, `eval/baselines/<base>/<digest>/` and the sides of the reference
experiment in `dataset/`, each folder vouched for by its `lock.json`. GGUFs are placed beside it (`placing.py`).

The repository is the cache of record: on a fresh clone the plan takes a published stage for done when its digest is the
one that it needs, and `run` copies its files back into `build/` when a later stage wants them.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bbjspec import leaderboard
from bbjspec.committing import to_commit
from bbjspec.digest import sha256_file
from bbjspec.errors import StageFailed
from bbjspec.markdown import prose
from bbjspec.parent import changed_since, compare_with_parent
from bbjspec.placing import place_ggufs, place_of
from bbjspec.published import LOCKFILE, is_plain_name
from bbjspec.rating import section
from bbjspec.stage import KINDS, Stage
from bbjspec.store import MANIFEST, is_whole, locked, read_json, stage_document, sweep, write_json

PARENT = "parent_comparison.json"


def recipes(stages: Iterable[Stage]) -> dict[str, dict[str, Any]]:
    """What each of the stages, and each that they build on, was made from, by digest: `bbjspec plan` says why by it."""
    found: dict[str, dict[str, Any]] = {}
    waiting = list(stages)
    while waiting:
        stage = waiting.pop()
        if stage.digest not in found:
            document = stage_document(stage)
            found[stage.digest] = {key: document[key] for key in ("kind", "version", "config", "inputs", "sources")}
            waiting += stage.inputs.values()
    return found


def folder_document(folder: str, stages: Sequence[Stage], card: Stage | None) -> dict[str, Any]:
    """What to place into one folder: the stages whose files belong there, and the card where there is one."""
    return {
        "folder": folder,
        "card": {"digest": card.digest, "lineage": card.lineage} if card else None,
        "stages": [
            {
                "digest": s.digest,
                "kind": s.kind,
                "version": s.version,
                "lineage": s.lineage,
                **({"volatile": True} if s.volatile else {}),
            }
            for s in stages
        ],
        "recipes": recipes(stages),
    }


def run(root: Path, document: Mapping[str, Any], log: logging.Logger) -> None:
    """Place an experiment's results. Its lock file goes first and comes back last: without it nothing is published.

    So whatever is killed in between is done again. One process at a time: experiments share folders.
    """
    with locked(root / "build" / "publish", log):
        _run(root, document, log)


def _run(root: Path, document: Mapping[str, Any], log: logging.Logger) -> None:
    name, export = document["experiment"], document.get("export")
    tokens = {
        "@EXPERIMENT@": name,
        "@EXPORT_DIR@": place_of(name, export),
        "@DESCRIPTION@": prose(document["description"]),
    }
    if export:
        place_ggufs(root, name, export, log)
    placed = {folder["folder"] for folder in document["folders"]}
    last: dict[str, Any] = {}
    for folder in sorted(document["folders"], key=lambda folder: bool(folder["card"])):
        said, comparison = _with_parent(root, document, folder)
        # The parent's paragraph comes first: a description may hold any text, its token too.
        parent = {"@PARENT@\n\n": f"{said}\n\n" if said else "", "@PARENT@": said}
        vouched = _place(root, root / folder["folder"], folder, parent | tokens, comparison)
        if folder["card"]:
            last = vouched | _remembered(document)
            section.place(root, name, last)
        else:
            write_json(root / folder["folder"] / LOCKFILE, vouched)
        log.info("placed %s", folder["folder"])
    for lock in sorted(
        lock for kind in ("references", "gguf") for lock in root.glob(f"adapters/{name}/{kind}/*/{LOCKFILE}")
    ):
        if lock.parent.relative_to(root).as_posix() not in placed:
            _remove(lock)
            log.info("removed %s/%s: the spec no longer names it", lock.parent.parent.name, lock.parent.name)
    leaderboard.write(root, {name: last})
    write_json(root / "adapters" / name / LOCKFILE, last)
    for line in to_commit(
        root, f"adapters/{name}", [f"experiments/{name}.yaml", *_committed(root, placed), leaderboard.BOARD]
    ):
        log.info("%s", line)


def _committed(root: Path, placed: Iterable[str]) -> list[str]:
    """The placed folders, and of one that holds more than was placed there (`dataset/`) the placed files."""
    found: list[str] = []
    for folder in sorted(placed):
        own = [*(read_json(root / folder / LOCKFILE) or {}).get("files", ()), LOCKFILE]
        found += [folder] if "/" in folder else [f"{folder}/{name}" for name in sorted(own)]
    return found


def _remembered(document: Mapping[str, Any]) -> dict[str, Any]:
    """What an experiment's lock says of it besides its files: where GGUFs went, its parent, what changed since then."""
    parent, export = document.get("parent"), document.get("export")
    of_parent = {"parent": parent, "changes": document.get("changes")} if parent else {}
    return of_parent | ({"export": export} if export else {})


def _remove(lock: Path) -> None:
    """Take away what the lock lists, and the folder if nothing else is there."""
    document = read_json(lock)
    for name in (document.get("files") or {}) if isinstance(document, dict) else ():
        if is_plain_name(name):
            (lock.parent / name).unlink(missing_ok=True)
    lock.unlink()
    if not any(lock.parent.iterdir()):
        lock.parent.rmdir()


def _with_parent(
    root: Path, document: Mapping[str, Any], folder: Mapping[str, Any]
) -> tuple[str, dict[str, Any] | None]:
    """The card's paragraph on the parent and the comparison; nothing for a folder without a card or without parent."""
    parent = document.get("parent")
    if not parent or not folder["card"]:
        return "", None
    own = {stage["kind"]: root / "build" / stage["kind"] / stage["digest"] for stage in folder["stages"]}
    changed = changed_since(parent, document.get("changes"))
    said, comparison = compare_with_parent(root, parent, document["experiment"], own["score"], own["contamination"])
    return f"{changed}\n\n{said}", comparison


def _place(
    root: Path,
    target: Path,
    folder: Mapping[str, Any],
    tokens: Mapping[str, str],
    comparison: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Place a folder's files, without its lock file: returns what that is to say."""
    target.mkdir(parents=True, exist_ok=True)
    sweep(target)
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
        for file, name in _names(KINDS[stage["kind"]].publish, manifest["files"]):
            _copy(source / file, target / name, tokens if name.endswith(".md") else {})
            files[name] = sha256_file(target / name)
            placed[file] = name
        # A stage can be taken back from here only if everything that it made is here, byte for byte.
        needed = {file for file, entry in manifest["files"].items() if entry["group"] == "output"}
        faithful = all(files[name] == manifest["files"][file]["sha256"] for file, name in placed.items())
        if needed <= set(placed) and faithful and not stage.get("volatile"):
            groups = {file: manifest["files"][file]["group"] for file in placed}
            stages[stage["digest"]] = {**stage, "files": placed, "groups": groups}
    if comparison is not None:
        write_json(target / PARENT, comparison)
        files[PARENT] = sha256_file(target / PARENT)
    before = set(old.get("files") or {}) if isinstance(old, dict) else set()
    if folder["card"]:  # what a killed run took the lock of may lie there too
        before |= {PARENT, *KINDS["release"].publish.values(), *(path.name for path in target.glob("Modelfile.*"))} - {
            ""
        }
    for name in before - set(files):
        if is_plain_name(name):
            (target / name).unlink(missing_ok=True)
    vouched = {"card": folder["card"], "stages": stages, "files": files, "recipes": folder.get("recipes", {})}
    return {"schema_version": 1, **vouched}


def _names(publish: Mapping[str, str], made: Iterable[str]) -> Iterable[tuple[str, str]]:
    """(file, its name where it is published) of what a stage made. An adopted stage may lack a record."""
    for file in made:
        if file in publish:
            yield file, publish[file]
        else:
            yield from (
                (file, name + file.removeprefix(of))
                for of, name in publish.items()
                if of.endswith("/") and file.startswith(of)
            )


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
