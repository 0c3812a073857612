"""The device that a stage computes on, GPUs or this machine: checked, measured, told when it is too small, recorded.

Errors here are the user's to solve by another spec or another machine, so each says the numbers and what to write.
Sizes are bytes; messages say GB, decimal, as cards are sold.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bbjspec.errors import EnvironmentLacks
from bbjspec.memory import Advice, Estimate, Estimator, advice
from bbjspec.stages import claims

GB = 1e9

_NO_MEMORY = (
    "CUDA out of memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "DefaultCPUAllocator: can't allocate memory",
    "DefaultCPUAllocator: not enough memory",
)


def check_torch(count: int) -> None:
    """Raise EnvironmentLacks, driver and torch's CUDA told apart, unless torch sees `count` GPUs."""
    import torch

    if count == 0:
        return
    built = torch.version.cuda
    if built is None:
        raise EnvironmentLacks(
            f"resources.gpu is {count}, but torch {torch.__version__} is built without CUDA; install a build of torch "
            "for this machine's driver, or write gpu: 0"
        )
    seen = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if seen >= count:
        return
    supported, driver = claims.driver_cuda(), claims.driver_version() or "unknown"
    if supported is None:
        why = "no driver answers (libcuda.so.1); install NVIDIA's driver, or write gpu: 0"
    elif supported < int(built.split(".")[0]) * 1000:
        most = f"{supported // 1000}.{supported % 1000 // 10}"
        why = f"driver {driver} supports CUDA {most} at most; update the driver, or install torch built for CUDA {most}"
    else:
        shown = os.environ.get(claims.VISIBLE, "")
        why = f"driver {driver} would do; does nvidia-smi -L list what {claims.VISIBLE}={shown!r} says?"
    raise EnvironmentLacks(
        f"resources.gpu is {count}, but torch sees {seen}: torch {torch.__version__} is built for CUDA {built}, {why}"
    )


@dataclass(frozen=True)
class Memory:
    """Bytes of a device, and its name for messages. `card` is None for this machine's own memory."""

    total: float
    free: float
    card: str | None = None

    @property
    def usable(self) -> float:
        """What an estimate is held against: all of a card, since it was claimed; of a machine, what is free."""
        return self.total if self.card else self.free


def memory(count: int, *, now: bool = False) -> Memory:
    """Of the smallest GPU claimed (a worker's own, in a distributed run), or of this machine where `count` is 0.

    What is free of a GPU is measured only with `now`: asking makes a CUDA context on it, some 0.5 GB. The machine's is
    MemAvailable, and the limit of its control group where that is lower. Raises EnvironmentLacks where torch sees fewer
    GPUs than were claimed: a cluster's CUDA_VISIBLE_DEVICES may name what no driver has.
    """
    if count:
        import torch

        check_torch(count)
        own = os.environ.get(claims.WORKER)
        asked = [int(own)] if own else range(torch.cuda.device_count())
        card, at = min(
            ((torch.cuda.get_device_properties(at), at) for at in asked), key=lambda one: one[0].total_memory
        )
        free = torch.cuda.mem_get_info(at)[0] if now else card.total_memory
        return Memory(float(card.total_memory), float(free), str(card.name))
    free, total = _machine()
    for limit, used in _limits():
        free, total = min(free, max(0.0, limit - used)), min(total, limit)
    return Memory(total, free)


def _machine() -> tuple[float, float]:
    """Available and total bytes of memory."""
    try:
        pairs = re.findall(r"^(\w+):\s+(\d+) kB$", Path("/proc/meminfo").read_text(), re.MULTILINE)
    except OSError:  # not Linux: all that there is
        everything = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
        return everything, everything
    said = {name: int(number) * 1024.0 for name, number in pairs}
    return said.get("MemAvailable", said["MemFree"]), said["MemTotal"]


def _limits(
    groups: Path = Path("/proc/self/cgroup"), mount: Path = Path("/sys/fs/cgroup")
) -> Iterator[tuple[float, float]]:
    """(limit, used) in bytes of each memory control group, version 1 or 2, around this process.

    Pages of files that can be dropped are not counted as used, as MemAvailable does not.
    """
    names = {
        "": ("memory.max", "memory.current", "inactive_file", mount),
        "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file", mount / "memory"),
    }
    try:
        lines = groups.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers in names:
            limit, usage, droppable, top = names[controllers]
            inner = top / path.lstrip("/")
            for directory in (inner, *inner.parents):
                with contextlib.suppress(OSError, ValueError):  # no limit ("max"), or not shown in this container
                    most, used = (int((directory / name).read_text()) for name in (limit, usage))
                    stat = (directory / "memory.stat").read_text()
                    match = re.search(rf"^{droppable} (\d+)$", stat, re.MULTILINE)
                    yield float(most), float(used - int(match[1] if match else 0))
                if directory == top:
                    break


def require(
    estimator: Estimator, memory: Memory, config: Mapping[str, Any], run: Mapping[str, Any], base_name: str
) -> Estimate:
    """The estimate for `config` and `run`. Raises EnvironmentLacks when it is more than the device has to give.

    `estimator(config, run)` is `partial(training_memory, arch)`, for one: asked again for what would fit.
    """
    estimate = estimator(config, run)
    if estimate.total <= memory.usable:
        return estimate
    where = f"{memory.card} has {_gb(memory.total)}" if memory.card else f"{_gb(memory.free)} of memory are free here"
    raise EnvironmentLacks(
        f"{base_name} does not fit: it needs about {_gb(estimate.total)} ({_parts(estimate)}), and {where}; "
        + _what_to_change(advice(estimator, config, run, memory.usable), memory.usable)
    )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the error is a device's (or this machine's) memory running out."""
    torch = sys.modules.get("torch")
    if isinstance(error, MemoryError) or (torch and isinstance(error, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _NO_MEMORY)


def out_of_memory(
    error: BaseException,
    at: str,
    memory: Memory,
    estimator: Estimator | None,
    config: Mapping[str, Any],
    run: Mapping[str, Any],
) -> EnvironmentLacks:
    """What to raise for an error that `is_out_of_memory`, `at` "step 12" or "loading the base".

    `memory` is as measured now, and `estimator` as for `require`, None where the base's sizes are not known. An
    estimate that promised room was wrong, so what to change is what saves a tenth of it at least.
    """
    asked = _asked(str(error))
    wanted = f"{_gb(asked)} more were asked for" if asked else "more was asked for"
    own = _in_use(memory)
    others = max(0.0, memory.total - memory.free - own)
    used = f"{_gb(own)} of {_gb(memory.total)} ({memory.card or 'this machine'}) in use by this process"
    used += f" and {_gb(others)} by others" if others >= GB else ""
    said = f"out of memory at {at}: {wanted}, with {used}"
    if estimator is None:
        return EnvironmentLacks(f"{said}; take a device with more memory, or a smaller base")
    estimate = estimator(config, run)
    room = 0.9 * min(estimate.total, memory.usable)
    return EnvironmentLacks(
        f"{said}; the estimate was {_gb(estimate.total)} ({_parts(estimate)}); "
        + _what_to_change(advice(estimator, config, run, room), room)
    )


def _what_to_change(found: Advice | None, room: float) -> str:
    larger = "take a device with more memory, or a smaller base"
    if found is None:
        return f"no change of the spec lowers that: {larger}"
    changes = [f"{path}: {str(value).lower()}" for path, value in found.changes.items()]
    listed = " and ".join([", ".join(changes[:-1]), changes[-1]] if changes[1:] else changes)
    if found.estimate.total > room:
        return f"even {listed} would need about {_gb(found.estimate.total)}: {larger}"
    return f"write {listed}, which needs about {_gb(found.estimate.total)}"


def _parts(estimate: Estimate) -> str:
    parts = {
        "weights": estimate.weights,
        "adapter": estimate.adapter,
        "activations": estimate.activations,
        "logits": estimate.logits,
        "the rest": estimate.rest,
    }
    return ", ".join(f"{name} {_gb(size)}" for name, size in parts.items() if size >= estimate.total / 100)


def _gb(size: float) -> str:
    return f"{size / GB:.1f} GB" if size >= GB / 20 else f"{size / 1e6:.1f} MB"


def _asked(said: str) -> float | None:
    """Bytes that torch says it tried to allocate."""
    if match := re.search(r"[Tt]ried to allocate ([\d.]+) ([KMGT]i?)?B", said):
        return float(match[1]) * 1024.0 ** (" KMGT".index(match[2][0]) if match[2] else 0)
    match = re.search(r"you tried to allocate (\d+) bytes", said)
    return float(match[1]) if match else None


def _in_use(memory: Memory) -> float:
    """Bytes that this process holds: of the card by torch's allocator, else its resident set."""
    if memory.card:
        import torch

        return float(torch.cuda.memory_reserved(int(os.environ.get(claims.WORKER, 0))))
    try:
        return float(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0.0


def describe(count: int) -> dict[str, Any]:
    """What a record says of the device: driver, CUDA, cuDNN and cards, or the processor and torch's threads."""
    import torch

    if not count:
        return {"cpu": _processor(), "threads": torch.get_num_threads()}
    cards = [torch.cuda.get_device_properties(at) for at in range(torch.cuda.device_count())]
    return {
        "driver": claims.driver_version(),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "gpus": [{"name": card.name, "memory_gb": round(card.total_memory / GB, 1)} for card in cards],
    }


def _processor() -> str:
    import platform

    try:
        match = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(errors="replace"), re.MULTILINE)
    except OSError:
        match = None
    return match[1].strip() if match else platform.processor() or platform.machine()
