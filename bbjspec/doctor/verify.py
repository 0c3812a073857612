"""`bbjspec doctor --verify`: every file that is vouched for, by its bytes.

Whole stages in build/ are held against their manifests, what is published against its lock files, GGUFs that were
placed against the export.json of their release. A plan looks at sizes alone in build/, since hashing weights takes
minutes: a file that changed under the same size is found only here.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bbjspec.digest import sha256_file
from bbjspec.errors import BadInput, EnvironmentLacks, Finding
from bbjspec.placing import place_of
from bbjspec.progress import Progress
from bbjspec.published import is_plain_name, lock_files, verify_file
from bbjspec.store import MANIFEST, read_json

_LOG = logging.getLogger("bbjspec.verify")
Look = Callable[[], Finding | None]


@dataclass
class Verified:
    """What was looked at, in files, and what is not as it was made."""

    files: dict[str, int] = field(default_factory=lambda: {"build": 0, "published": 0, "placed": 0})
    pointers: list[str] = field(default_factory=list)  # Git LFS pointers of the right files, without their bytes
    findings: list[Finding] = field(default_factory=list)

    def document(self) -> dict[str, Any]:
        """All of it as data."""
        return {"files": self.files, "pointers": self.pointers, "findings": [asdict(found) for found in self.findings]}

    def summary(self) -> str:
        """One line on what was looked at."""
        places = {"build": "in build/", "published": "published", "placed": "GGUFs placed"}
        said = ", ".join(f"{count:,} {places[place]}" for place, count in self.files.items())
        wrong = f"{len(self.findings)} not as they were made" if self.findings else "all as they were made"
        bare = f"; {len(self.pointers)} are Git LFS pointers alone: git lfs pull" if self.pointers else ""
        return f"{sum(self.files.values()):,} files ({said}): {wrong}{bare}"


def run(root: Path, *, as_json: bool) -> None:
    """Verify and print. Raises BadInput with what is not as it was made."""
    found = verify(root)
    print(json.dumps(found.document(), indent=2, ensure_ascii=False) if as_json else found.summary())
    if found.findings:
        raise BadInput(found.findings)


def verify(root: Path) -> Verified:
    """Hash everything. A stage without a manifest is not finished, which is no error."""
    found = Verified()
    looks = [*_built(root, found), *_published(root, found), *_placed(root, found)]
    with Progress("verifying", len(looks), "files", _LOG) as progress:
        for place, shown, look in looks:
            found.files[place] += 1
            try:
                wrong = look()
            except OSError as error:
                wrong = Finding(shown, 0, 0, "", f"cannot be read: {error.strerror or error}")
            if wrong:
                found.findings.append(wrong)
            progress.advance(note=shown.rpartition("/")[2])
    found.findings.sort()
    return found


def _built(root: Path, found: Verified) -> Iterator[tuple[str, str, Look]]:
    """Each file of each manifest in build/."""
    for manifest in sorted((root / "build").glob(f"*/*/{MANIFEST}")):
        stage = manifest.parent.relative_to(root).as_posix()
        remedy = f"remove {stage}; the next run makes it again where it is still needed"
        files = _entries(manifest)
        if files is None:
            shown = f"{stage}/{MANIFEST}"
            found.findings.append(Finding(shown, 0, 0, "", f"not a manifest; {remedy}"))
            continue
        for name, sha256 in sorted(files.items()):
            shown = f"{stage}/{name}"
            yield "build", shown, _look(manifest.parent / name, shown, sha256, f"not what {MANIFEST} says; {remedy}")


def _entries(manifest: Path) -> dict[str, str] | None:
    """SHA-256 by name; None for a file that is no manifest."""
    document = read_json(manifest)
    try:
        files = {name: str(entry["sha256"]) for name, entry in document["files"].items()}
    except (KeyError, TypeError, AttributeError):
        return None
    return files if all(is_plain_name(name) for name in files) else None


def _look(path: Path, shown: str, sha256: str, wrong: str) -> Look:
    def look() -> Finding | None:
        if not path.is_file():
            return Finding(shown, 0, 0, "", f"missing, {wrong}")
        return None if sha256_file(path) == sha256 else Finding(shown, 0, 0, "", wrong)

    return look


def _published(root: Path, found: Verified) -> Iterator[tuple[str, str, Look]]:
    """Each file of each lock."""
    for lock in lock_files(root):
        folder = lock.parent.relative_to(root).as_posix()
        document = read_json(lock)
        files = document.get("files") if isinstance(document, dict) else None
        if not isinstance(files, dict) or not all(is_plain_name(name) for name in files):
            shown = f"{folder}/{lock.name}"
            found.findings.append(Finding(shown, 0, 0, "", "not a lock file; restore it with git checkout"))
            continue
        for name, sha256 in sorted(files.items()):
            yield "published", f"{folder}/{name}", _vouched(lock.parent / name, f"{folder}/{name}", sha256, found)


def _vouched(path: Path, shown: str, sha256: Any, found: Verified) -> Look:
    def look() -> Finding | None:
        try:
            verify_file(path, shown, str(sha256), content=True)
        except BadInput as error:
            return error.findings[0]
        except EnvironmentLacks:
            found.pointers.append(shown)
        return None

    return look


def _placed(root: Path, found: Verified) -> Iterator[tuple[str, str, Look]]:
    """Each GGUF that a published release placed, where it is there: it may have been moved on."""
    for lock in sorted((root / "adapters").glob("*/lock.json")):
        document, release = read_json(lock), read_json(lock.parent / "export.json")
        export = document.get("export") if isinstance(document, dict) else None
        types = release.get("types") if isinstance(release, dict) else None
        if not isinstance(export, dict) or not isinstance(types, dict):
            continue
        try:
            folder = place_of(lock.parent.name, export)
            released = {f"{name}.gguf": str(entry["sha256"]) for name, entry in types.items() if entry["released"]}
        except (KeyError, TypeError, AttributeError):
            continue  # what is wrong with a published file is told above
        remedy = f"not what export.json says; remove it and {lock.relative_to(root).as_posix()}, and run"
        for name, sha256 in sorted(released.items()):
            path = root / Path(folder).expanduser() / name
            if is_plain_name(name) and os.path.lexists(path):
                shown = f"{folder}/{name}"
                yield "placed", shown, _look(path, shown, sha256, remedy)
