"""Canonical JSON, SHA-256, and file hashes with a memo.

A digest is the first 16 hex digits of the SHA-256 of canonical JSON: keys sorted, no blanks, ASCII only, floats in
Python's shortest round-trip form, so that `1e-4` and `0.0001` are one number. NaN and infinities are refused.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

DIGEST_LENGTH = 16  # hex digits, 64 bits: at a million stages a collision has a chance of 3e-8


def canonical(value: Any) -> bytes:
    """Canonical JSON of `value`. Raises ValueError for NaN and infinities, TypeError for what JSON does not know."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()


def digest(value: Any) -> str:
    """The digest of any JSON value: 16 hex digits."""
    return hashlib.sha256(canonical(value)).hexdigest()[:DIGEST_LENGTH]


def sha256_bytes(data: bytes) -> str:
    """SHA-256 of bytes, 64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, 64 hex digits, in constant memory. Raises OSError when it cannot be read."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


class FileHashes:
    """SHA-256 of files, remembered by (size, mtime_ns, ctime_ns, inode): a large corpus is hashed once, not each time.

    The change time is what nobody can set: an edit in place that puts size and modification time back is still seen.
    The memo only saves time: without it every hash is computed again. `save` writes it; reading a hash never does.
    """

    def __init__(self, memo: Path | None = None) -> None:
        self._memo_path = memo
        self._changed = False
        self._known: dict[str, list[Any]] = {}
        if memo is not None:
            try:
                loaded = json.loads(memo.read_bytes())
            except (OSError, ValueError, RecursionError):
                loaded = None
            if isinstance(loaded, dict):
                self._known = loaded

    def __call__(self, path: Path) -> str:
        """SHA-256 of the file's bytes. Raises OSError when it cannot be read."""
        key = str(path)
        stat = os.stat(key)  # noqa: PTH116  a plan asks for twenty thousand files; this is twice as fast as Path.stat
        stamp = [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]
        known = self._known.get(key)
        if isinstance(known, list) and len(known) == 5 and known[:4] == stamp:
            return str(known[4])
        value = sha256_file(path)
        self._known[key] = [*stamp, value]
        self._changed = True
        return value

    def forget(self, paths: Iterable[str]) -> None:
        """Drop what is remembered of these files."""
        for path in paths:
            self._changed |= self._known.pop(path, None) is not None

    def save(self) -> None:
        """Write the memo if anything was hashed. Failing to write is no error: the memo is a convenience."""
        if self._memo_path is None or not self._changed:
            return
        try:
            self._memo_path.parent.mkdir(parents=True, exist_ok=True)
            for left in self._memo_path.parent.glob(f"{self._memo_path.name}.*.tmp"):
                left.unlink(missing_ok=True)  # a killed writer's; who writes just now does without
            scratch = self._memo_path.with_name(f"{self._memo_path.name}.{os.getpid()}.tmp")
            scratch.write_bytes(canonical(self._known))
            scratch.replace(self._memo_path)
        except OSError:
            return
        self._changed = False
