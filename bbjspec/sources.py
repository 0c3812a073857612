"""Source files as stages see them: which files a pattern means, and the SHA-256 of the part that counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from bbjspec.digest import FileHashes, canonical, sha256_bytes, sha256_file
from bbjspec.errors import BadInput, Finding
from bbjspec.stage import Source


def find_files(root: Path, patterns: Sequence[str], shown: str, path: str) -> tuple[str, ...]:
    """The files that the patterns mean, as POSIX paths relative to the root, each once, in order.

    Raises BadInput (`shown` is the spec's name, `path` the field) for a pattern without a file or outside the project.
    """
    found: set[str] = set()
    for pattern in patterns:
        if Path(pattern).is_absolute() or ".." in Path(pattern).parts:
            raise BadInput([Finding(shown, 0, 0, path, f"{pattern}: a path inside the project is meant")])
        try:
            if not any(sign in pattern for sign in "*?["):
                names = [pattern] if (root / pattern).is_file() else []
            else:
                names = [p.relative_to(root).as_posix() for p in root.glob(pattern) if p.is_file()]
        except (OSError, ValueError, NotImplementedError, RecursionError) as error:  # too long a name, `**x`, …
            said = (error.strerror if isinstance(error, OSError) else None) or "no pattern of file names"
            raise BadInput([Finding(shown, 0, 0, path, f"{pattern}: {said}")]) from error
        if not names:
            raise BadInput([Finding(shown, 0, 0, path, f"{pattern}: no such file")])
        found.update(Path(name).as_posix() for name in names)
    return tuple(sorted(found))


@lru_cache(maxsize=256)
def _view(paths: tuple[Path, ...], view: str, contents: tuple[str, ...]) -> str:
    from bbjspec.suite import load_prompts, view_bytes

    return sha256_bytes(view_bytes(load_prompts(paths), view))


def source_digest(paths: Sequence[Path], view: str, hashes: FileHashes | None = None) -> str:
    """SHA-256 of what `view` shows of the files: `bytes` is all of each, the others are views of a suite of prompts.

    Raises OSError when a file cannot be read, BadInput when a prompt file is broken.
    """
    contents = tuple((hashes or sha256_file)(path) for path in paths)
    if view == "bytes":
        return contents[0] if len(contents) == 1 else sha256_bytes(canonical(contents))
    return _view(tuple(paths), view, contents)


def make_source(root: Path, files: Sequence[str], view: str, hashes: FileHashes) -> Source:
    """A `Source` of files that exist. Raises BadInput for one that is broken or cannot be read."""
    try:
        return Source(tuple(files), source_digest([root / name for name in files], view, hashes), view)
    except BadInput as error:
        prefix = f"{root.as_posix()}/"
        raise BadInput(replace(f, file=f.file.removeprefix(prefix)) for f in error.findings) from error
    except OSError as error:
        name = Path(error.filename).name if error.filename else ", ".join(files)
        raise BadInput([Finding(name, 0, 0, "", f"cannot be read: {error.strerror}")]) from error
