"""Runs a compiler that cannot be trusted to end, to be brief or to clean up behind itself."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

_MOST_OUTPUT = 32 * 1024 * 1024
_CHUNK = 65536
_JAVA_OPTIONS = ("JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "JDK_JAVA_OPTIONS")
"""Variables at which a Java machine writes a line of its own to stderr, or behaves otherwise."""


@dataclass(frozen=True, slots=True)
class Finished:
    """How a run ended. `trouble` is empty, or says in a few words why its output is worth nothing."""

    output: str
    trouble: str


def run_command(command: Sequence[str], folder: Path, timeout: float) -> Finished:
    """Runs `command` in `folder`, for at most `timeout` seconds, in a process group that does not outlive the call.

    Both pipes are drained; `output` is stdout and stderr, one behind the other. Nothing is raised.
    """
    environment = {name: value for name, value in os.environ.items() if name not in _JAVA_OPTIONS}
    try:
        process = subprocess.Popen(
            list(command),
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        return Finished("", f"it cannot be started: {error.strerror or error}")
    assert process.stdout is not None and process.stderr is not None
    drains = [_Drain(pipe, process) for pipe in (process.stdout, process.stderr)]
    trouble = ""
    try:
        process.wait(timeout)
    except subprocess.TimeoutExpired:
        trouble = f"it ran past {timeout:g} s"
    finally:
        _kill_group(process)
        process.wait()
    for drain in drains:
        drain.thread.join(5)
    if any(drain.flooded for drain in drains):
        trouble = f"it wrote more than {_MOST_OUTPUT} bytes"
    elif not trouble and process.returncode != 0:
        trouble = f"its exit status is {process.returncode}, not 0"
    return Finished("\n".join(drain.text() for drain in drains), trouble)


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kills what is left of the group, which may outlive its leader."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


class _Drain:
    """Reads a pipe to its end in a thread; kills the process group when too much comes."""

    def __init__(self, pipe: IO[bytes], process: subprocess.Popen[bytes]) -> None:
        self.chunks: list[bytes] = []
        self.flooded = False
        self.thread = threading.Thread(target=self._read, args=(pipe, process), daemon=True)
        self.thread.start()

    def _read(self, pipe: IO[bytes], process: subprocess.Popen[bytes]) -> None:
        size = 0
        with pipe:
            while chunk := os.read(pipe.fileno(), _CHUNK):
                size += len(chunk)
                if size > _MOST_OUTPUT:
                    self.flooded = True
                    _kill_group(process)
                    return
                self.chunks.append(chunk)

    def text(self) -> str:
        """What came, as UTF-8 or Latin-1."""
        data = b"".join(self.chunks)
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError:
            return data.decode("latin-1")
