"""Lines of JSONL files, plain or gzipped, as bytes in bounded memory; and files written whole or not at all."""

from __future__ import annotations

import errno
import gzip
import os
import zlib
from collections.abc import Iterator
from pathlib import Path

MAX_LINE = 8_000_000  # bytes; a longer line is no training example


def read_lines(path: Path) -> Iterator[tuple[int, bytes | None]]:
    """Each line with its number, from 1; None for one of more than MAX_LINE bytes. Raises OSError with a reason."""
    try:
        with gzip.open(path, "rb") if path.name.endswith(".gz") else path.open("rb") as stream:
            number = 0
            while data := stream.readline(MAX_LINE + 1):
                number += 1
                if len(data) <= MAX_LINE:
                    yield number, data
                    continue
                while data and not data.endswith(b"\n"):
                    data = stream.readline(MAX_LINE)
                yield number, None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise OSError(errno.EINVAL, "not a whole gzip file") from error


def write_whole(path: Path, data: bytes) -> None:
    """Write beside the file, sync, then rename into place; a name in .gz is compressed, the same way every time.

    Raises OSError; nothing is left behind then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with scratch.open("wb") as stream:
            stream.write(gzip.compress(data, mtime=0) if path.name.endswith(".gz") else data)
            stream.flush()
            os.fsync(stream.fileno())
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)
