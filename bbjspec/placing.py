"""Where released GGUFs go: `<export.dir>/<experiment>/`, or links under `build/export/<experiment>/` without a dir.

Of each released type `<type>.gguf` and `Modelfile.<type>`, which names the file beside it; export.json, with sizes and
SHA-256, comes last. What is withheld is not placed, and what an earlier release placed and this one does not is taken
away: by the export.json in that very folder, never by name alone.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bbjspec.digest import sha256_file
from bbjspec.errors import BadInput, StageFailed
from bbjspec.spec.export import TYPES
from bbjspec.store import is_whole, read_json

LINKED = "build/export"


def place_of(name: str, export: Mapping[str, Any] | None) -> str:
    """The folder as a card names it; empty for a spec that exports nothing."""
    return f"{(export['dir'] or LINKED).rstrip('/')}/{name}" if export else ""


def place_ggufs(root: Path, name: str, export: Mapping[str, Any], log: logging.Logger) -> None:
    """Place what the release lets through; `export` is what `ExperimentPlan.placed` gives.

    Weights that are not in build/ (a fresh clone, where only the card is made anew) are left as they are. Raises
    BadInput for a dir that leads into adapters/, OSError where there is no room.
    """
    target = root / Path(place_of(name, export)).expanduser()
    committed = (root / "adapters").resolve()
    if committed in (target.resolve(), *target.resolve().parents):
        raise BadInput(f"export.dir: {export['dir']} leads into adapters/, which never holds full weights")
    release, gguf = (root / "build" / kind / export[kind] for kind in ("release", "gguf"))
    document = read_json(release / "export.json")
    if not isinstance(document, dict):
        raise StageFailed(f"release {release.name}: export.json is not readable; remove build/release and run again")
    released = {kind: entry for kind, entry in document["types"].items() if entry["released"]}
    if released and not is_whole(gguf):
        log.info("GGUFs are not placed: %s is not here; remove lock.json to make them again", gguf.name)
        return
    _take_away(target, released)
    if not released:
        return
    target.mkdir(parents=True, exist_ok=True)
    for kind, entry in released.items():
        _put(gguf / "gguf" / f"{kind}.gguf", target / f"{kind}.gguf", entry["sha256"])
        shutil.copyfile(release / "release" / f"Modelfile.{kind}", target / f"Modelfile.{kind}")
    shutil.copyfile(release / "export.json", target / "export.json")
    log.info("placed %s in %s", ", ".join(f"{kind}.gguf" for kind in released), place_of(name, export))


def _take_away(target: Path, released: Mapping[str, Any]) -> None:
    """Remove what the export.json there calls released and this release does not: it goes first, as it is then untrue.
    A file of another size is somebody's own, and stays."""
    before = read_json(target / "export.json")
    types = before.get("types") if isinstance(before, dict) else None
    (target / "export.json").unlink(missing_ok=True)
    for kind, entry in types.items() if isinstance(types, dict) else ():
        file = target / f"{kind}.gguf"
        if kind not in TYPES or kind in released or not isinstance(entry, dict) or not entry.get("released"):
            continue
        (target / f"Modelfile.{kind}").unlink(missing_ok=True)
        if file.is_file() and file.stat().st_size == entry.get("size"):
            file.unlink()


def _put(source: Path, target: Path, sha256: str) -> None:
    """A link to the same bytes where the file system can, else a copy. Nothing is done for what is there already."""
    if target.exists() and (target.samefile(source) or _same(target, source, sha256)):
        return
    scratch = target.with_name(f".{target.name}.tmp")
    scratch.unlink(missing_ok=True)
    try:
        try:
            os.link(source, scratch)
        except OSError:
            shutil.copyfile(source, scratch)
        scratch.replace(target)
    finally:
        scratch.unlink(missing_ok=True)


def _same(target: Path, source: Path, sha256: str) -> bool:
    return target.stat().st_size == source.stat().st_size and sha256_file(target) == sha256
