"""Who is at work on a stage, told by a file: for the nodes of a cluster that no file lock of another node reaches.

`.owner` in the stage's directory names machine, process and job. Its owner touches it every `BEAT_S` seconds, and
removes it at the end. Where it stands, another process waits. It takes the file for stale, and the stage over, when

- the owner's machine is this one, by its name: the directory's file lock is ours, so the owner is dead;
- else nobody has touched it for `STALE_S` seconds, by this machine's own clock: no two machines' clocks are compared.

An owner that was cut off for longer than that, and comes back, finds another's name in the file and ends at once.
Creating a file that may not be there, and renaming one, are atomic on NFS too.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bbjspec.errors import Stopped

OWNER = ".owner"
BEAT_S, STALE_S = 20.0, 120.0
_POLL_S = 1.0
_FRESH_S = 300.0  # for those who only look: clocks of machines may differ by minutes


def who() -> str:
    """This process, in words: for those who wait for it."""
    job = os.environ.get("SLURM_JOB_ID")
    return f"process {os.getpid()} on {socket.gethostname()}" + (f", job {job}" if job else "")


@contextlib.contextmanager
def owned(directory: Path, log: logging.Logger) -> Iterator[None]:
    """Be the directory's owner inside; wait, saying so, for an owner elsewhere. We hold its file lock already."""
    file, token = directory / OWNER, uuid.uuid4().hex
    _take(file, token, log)
    over = threading.Event()
    beat = threading.Thread(target=_beat, args=(file, token, over, log), daemon=True)
    beat.start()
    try:
        yield
    finally:
        over.set()
        beat.join()
        _remove(file, token)


def elsewhere(directory: Path) -> str | None:
    """Who on another machine is at work on the stage, as far as can be told without waiting; None: nobody."""
    owner = _read(directory / OWNER)
    try:
        age = time.time() - (directory / OWNER).stat().st_mtime
    except OSError:
        return None
    if owner is None or owner.get("machine") == socket.gethostname() or abs(age) > _FRESH_S:
        return None
    return str(owner.get("who"))


def _take(file: Path, token: str, log: logging.Logger) -> None:
    said, seen, since = False, (0, 0), time.monotonic()
    while not _create(file, token):
        now = _sign(file)
        if now is None:  # it has just ended
            continue
        if now != seen:
            seen, since = now, time.monotonic()
        owner = _read(file) or {}
        name, theirs = owner.get("who", "another process"), str(owner.get("token"))
        if owner.get("machine") == socket.gethostname():
            _remove(file, theirs)
        elif time.monotonic() - since > STALE_S:
            log.info("taken over: no word from %s for %g s", name, STALE_S)
            _remove(file, theirs)
        else:
            if not said:
                log.info("waiting: %s is already at work on this", name)
                said = True
            time.sleep(_POLL_S)


def _create(file: Path, token: str) -> bool:
    """Write our name into the file, if there is none."""
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    except FileExistsError:
        return False
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            json.dump({"token": token, "machine": socket.gethostname(), "who": who()}, stream)
    except OSError:  # a full disk: a file that names nobody would be waited for
        file.unlink(missing_ok=True)
        raise
    return True


def _read(file: Path) -> dict[str, Any] | None:
    """What is in the file; None where there is none, or it is being written."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _sign(file: Path) -> tuple[int, int] | None:
    """What changes whenever the owner touches its file. Opening a file asks the server of a shared file system anew."""
    try:
        with file.open("rb") as stream:
            status = os.fstat(stream.fileno())
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino


def _remove(file: Path, token: str) -> None:
    """Remove the file, if it is that owner's still. It is moved first: what was moved is looked at, and put back."""
    moved = file.with_name(f"{OWNER}.{uuid.uuid4().int}.tmp")  # `store.sweep` and gc know it by that
    try:
        file.rename(moved)
    except OSError:
        return
    owner = _read(moved)
    if owner is not None and owner.get("token") != token:
        with contextlib.suppress(OSError):
            os.link(moved, file)
    moved.unlink(missing_ok=True)


def _beat(file: Path, token: str, over: threading.Event, log: logging.Logger) -> None:
    while not over.wait(BEAT_S):
        owner = _read(file)
        if owner is not None and owner.get("token") != token:
            log.error("%s has taken this over: there was no word from here for too long", owner.get("who"))
            os._exit(Stopped.exit_code)
        with contextlib.suppress(OSError):
            if owner is None:
                _create(file, token)
            else:
                os.utime(file)
