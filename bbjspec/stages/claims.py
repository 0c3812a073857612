"""Which GPUs a stage has: claimed among those of this machine, so that no two stages load a model into one.

Everything here happens before torch is imported: CUDA looks at CUDA_VISIBLE_DEVICES once.
"""

from __future__ import annotations

import ctypes
import fcntl
import logging
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from bbjspec.errors import EnvironmentLacks

VISIBLE = "CUDA_VISIBLE_DEVICES"
WORKER = "LOCAL_RANK"  # set in each process of a distributed run
POLL_S = 1.0

_held: dict[str, int] = {}  # descriptors of this process' locks by lock name, open for as long as it lives


def claim(count: int, log: logging.Logger) -> None:
    """Take `count` GPUs for the life of this process and show them alone to CUDA; 0: none. Before torch is imported.

    Of the GPUs in CUDA_VISIBLE_DEVICES, else of all, those are taken whose lock (a file in the temporary directory, by
    user and GPU) nobody holds; where too few are free it waits. A worker of a distributed run has its parent's.
    Raises EnvironmentLacks when there are fewer than `count`, or no driver.
    """
    if WORKER in os.environ:
        return
    if count == 0:
        os.environ[VISIBLE] = ""
        return
    there = _visible(count)
    if len(there) < count:
        told = f" ({VISIBLE}={os.environ[VISIBLE]!r})" if VISIBLE in os.environ else ""
        raise EnvironmentLacks(
            f"resources.gpu is {count}, but {_are(len(there))} visible here{told}; write gpu: {len(there)}, or run "
            f"where {_are(count)}"
        )
    said = False
    while len(mine := _take(there, count)) < count:
        if not said:
            log.info("waiting for GPUs: %d of %d are free, and resources.gpu is %d", len(mine), len(there), count)
            said = True
        time.sleep(POLL_S)
    os.environ[VISIBLE] = ",".join(mine)


def _are(count: int) -> str:
    return "1 GPU is" if count == 1 else f"{count} GPUs are"


def locks() -> tuple[int, ...]:
    """Descriptors of the locks: a child process that inherits them holds the GPUs as long as it lives."""
    return tuple(_held.values())


def claimed() -> int:
    """How many GPUs `claim` has shown to CUDA, here or in the parent of this worker."""
    return len([name for name in os.environ.get(VISIBLE, "").split(",") if name])


def _visible(count: int) -> dict[str, str]:
    """The GPUs that CUDA would show: the name of each one's lock by its id. As CUDA does, a list ends where it has no
    device. Locks are named by UUID where nvidia-smi tells it, so that `0` and `GPU-...` are one."""
    found, lacks = _installed()
    if VISIBLE in os.environ:
        named = [name.strip() for name in os.environ[VISIBLE].split(",")]
        end = next((at for at, name in enumerate(named) if name in ("", "-1", "NoDevFiles")), len(named))
        by_number = {str(at): name for at, name in enumerate(found)}
        return {name: by_number.get(name, name) for name in named[:end]}
    if not found:
        raise EnvironmentLacks(
            f"resources.gpu is {count}, but no NVIDIA driver answers here (nvidia-smi: {lacks}); run where nvidia-smi "
            "lists a GPU, or write gpu: 0"
        )
    return {name: name for name in found}


def _installed() -> tuple[list[str], str]:
    """Ids of this machine's GPUs (of a GPU cut into MIG devices, those), and why nvidia-smi names none, if it does not.

    Ids are UUIDs: CUDA counts the fastest first, nvidia-smi as they are plugged in.
    """
    lines, lacks = nvidia_smi("-L")
    found: list[str] = []
    card = ""
    for line in lines:
        if match := re.search(r"\(UUID: ((?:GPU|MIG)-[^)]+)\)", line):
            if match[1].startswith("GPU"):
                card = match[1]
            elif found[-1:] == [card]:
                found.pop()
            found.append(match[1])
    if not found:  # a driver without its tools
        for file in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
            found += re.findall(r"^GPU UUID:\s*(GPU-[0-9a-f-]+)", file.read_text(errors="replace"), re.MULTILINE)
    return found, lacks


def nvidia_smi(*arguments: str, seconds: float = 60) -> tuple[list[str], str]:
    """The lines that nvidia-smi prints, or none and why."""
    try:
        done = subprocess.run(
            ["nvidia-smi", *arguments], capture_output=True, text=True, errors="replace", timeout=seconds
        )
    except FileNotFoundError:
        return [], "not found"
    except subprocess.TimeoutExpired:
        return [], f"no answer within {seconds:g} s"
    except OSError as error:
        return [], error.strerror or "cannot be run"
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    if done.returncode == 0:
        return lines, "lists no GPU"
    said = " ".join((done.stdout + done.stderr).split())
    return [], said[:200] or f"exit code {done.returncode}"


def _take(there: Mapping[str, str], count: int) -> list[str]:
    """Lock the first `count` free GPUs and give their ids; where fewer are free, lock none and give those."""
    mine: list[str] = []
    new: list[str] = []
    # One process at a time looks around, or two that want two each could hold one each for ever.
    looking = _open("all")
    try:
        fcntl.flock(looking, fcntl.LOCK_EX)
        for gpu, name in there.items():
            if len(mine) == count:
                break
            if name not in _held:
                lock = _open(name)
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    os.close(lock)
                    continue
                _held[name] = lock
                new.append(name)
            mine.append(gpu)
        if len(mine) < count:
            for name in new:
                os.close(_held.pop(name))
    finally:
        os.close(looking)
    return mine


def _open(name: str) -> int:
    """A descriptor of this user's lock file of that name."""
    file = Path(tempfile.gettempdir()) / f"bbjspec-gpu-{os.getuid()}-{re.sub(r'[^A-Za-z0-9.-]', '_', name)}"
    try:
        return os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise EnvironmentLacks(
            f"{file}: cannot lock a GPU with it ({error.strerror}); remove it, or set TMPDIR"
        ) from error


def driver_cuda() -> int | None:
    """The newest CUDA that the driver supports, 1000 x major + 10 x minor; None without a driver."""
    number = ctypes.c_int()
    try:
        failed = ctypes.CDLL("libcuda.so.1").cuDriverGetVersion(ctypes.byref(number))
    except (OSError, AttributeError):
        return None
    return None if failed else number.value or None


def driver_version() -> str | None:
    """The version of NVIDIA's driver."""
    try:
        said = Path("/proc/driver/nvidia/version").read_text(errors="replace")
    except OSError:
        lines, _ = nvidia_smi("--query-gpu=driver_version", "--format=csv,noheader")
        return lines[0].strip() if lines else None
    match = re.search(r"Module.*?\s(\d+\.\d+(?:\.\d+)?)\s", said)
    return match[1] if match else None
