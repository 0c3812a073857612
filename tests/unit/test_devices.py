"""Devices: GPUs are claimed by one process alone, too small a device is refused with what to change, OOM is told."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from bbjspec.architecture import architecture
from bbjspec.errors import EnvironmentLacks
from bbjspec.memory import training_memory
from bbjspec.stages import claims, devices
from bbjspec.stages.devices import Memory

LOG = logging.getLogger("test")
CLAIM = """
import logging, os, sys
from bbjspec.stages import claims
logging.basicConfig(stream=sys.stdout, level="INFO", format="%(message)s")
claims.POLL_S = 0.05
claims.claim(int(sys.argv[1]), logging.getLogger())
print(os.environ["CUDA_VISIBLE_DEVICES"], flush=True)
sys.stdin.readline()
"""


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No GPU of this machine, no lock of another test; what a claim sets is unset."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # so that monkeypatch puts back what was there
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    monkeypatch.setattr(claims, "_held", {})
    yield
    for lock in claims._held.values():
        os.close(lock)


def show(monkeypatch: pytest.MonkeyPatch, visible: str | None, smi: str | None = None, failing: bool = False) -> None:
    """CUDA_VISIBLE_DEVICES, and an nvidia-smi of one's own on an otherwise empty PATH."""
    monkeypatch.setenv("PATH", os.environ["TMPDIR"])
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    if smi is not None:
        tool = Path(os.environ["TMPDIR"]) / "nvidia-smi"
        lines = "\n".join(f"print({line!r})" for line in smi.splitlines())
        tool.write_text(f"#!{sys.executable}\n{lines}\nraise SystemExit({int(failing)})\n")
        tool.chmod(0o755)


def claimer(count: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CLAIM, str(count)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(claims.__file__).parents[2])},
    )


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline().strip()


def test_no_gpu_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    show(monkeypatch, "a,b")
    claims.claim(0, LOG)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "" and claims.claimed() == 0


def test_two_processes_never_have_the_same_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    show(monkeypatch, "a, b,c")
    first, second = claimer(1), claimer(2)
    had = [line(first), line(second)]
    third = claimer(2)
    try:
        assert sorted(",".join(had).split(",")) == ["a", "b", "c"]
        assert line(third) == "waiting for GPUs: 0 of 3 are free, and resources.gpu is 2"
        first.kill()  # as hard as it comes: what it held is free
        second.communicate("\n", timeout=60)
        assert len(set(line(third).split(","))) == 2
    finally:
        for process in (first, second, third):
            process.kill()
            process.communicate(timeout=60)


def test_a_second_claim_of_one_process_has_what_it_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    show(monkeypatch, "a,b,c")
    claims.claim(2, LOG)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "a,b" and claims.claimed() == 2
    claims.claim(1, LOG)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "a"


def test_a_worker_has_its_parents(monkeypatch: pytest.MonkeyPatch) -> None:
    show(monkeypatch, "a,b")
    monkeypatch.setenv("LOCAL_RANK", "1")
    claims.claim(2, LOG)
    claims.claim(0, LOG)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "a,b" and not claims._held


LISTED = """\
GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-aaaa-1)
GPU 1: NVIDIA H100 80GB HBM3 (UUID: GPU-bbbb-2)
  MIG 3g.40gb     Device  0: (UUID: MIG-cccc)
  MIG 3g.40gb     Device  1: (UUID: MIG-dddd)
GPU 2: NVIDIA H100 80GB HBM3 (UUID: GPU-eeee-3)
"""


def test_gpus_are_those_that_nvidia_smi_lists_and_of_a_cut_one_its_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    show(monkeypatch, None, LISTED)
    claims.claim(4, LOG)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "GPU-aaaa-1,MIG-cccc,MIG-dddd,GPU-eeee-3"


def test_a_number_and_a_uuid_are_one_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    show(monkeypatch, "0", LISTED)
    claims.claim(1, LOG)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0" and set(claims._held) == {"GPU-aaaa-1"}


@pytest.mark.parametrize(
    ("visible", "count", "said"),
    [
        ("a", 2, "but 1 GPU is visible here (CUDA_VISIBLE_DEVICES='a'); write gpu: 1, or run where 2 GPUs are"),
        ("", 1, "but 0 GPUs are visible here (CUDA_VISIBLE_DEVICES=''); write gpu: 0, or run where 1 GPU is"),
        (
            "a,-1,b",
            2,
            "but 1 GPU is visible here (CUDA_VISIBLE_DEVICES='a,-1,b'); write gpu: 1, or run where 2 GPUs are",
        ),
        ("a,a", 2, "but 1 GPU is visible here (CUDA_VISIBLE_DEVICES='a,a'); write gpu: 1, or run where 2 GPUs are"),
    ],
)
def test_fewer_than_asked(monkeypatch: pytest.MonkeyPatch, visible: str, count: int, said: str) -> None:
    show(monkeypatch, visible)
    with pytest.raises(EnvironmentLacks) as error:
        claims.claim(count, LOG)
    assert str(error.value) == f"resources.gpu is {count}, {said}"


@pytest.mark.skipif(Path("/proc/driver/nvidia/gpus").exists(), reason="this machine has a driver")
def test_no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    for smi, why in ((None, "not found"), ("NVIDIA-SMI has failed.", "NVIDIA-SMI has failed."), ("", "lists no GPU")):
        show(monkeypatch, None, smi, failing=bool(smi))
        with pytest.raises(EnvironmentLacks) as error:
            claims.claim(1, LOG)
        assert str(error.value) == (
            f"resources.gpu is 1, but no NVIDIA driver answers here (nvidia-smi: {why}); run where nvidia-smi lists a "
            "GPU, or write gpu: 0"
        )
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


def test_a_lock_that_cannot_be_had_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    show(monkeypatch, "a")
    file = tmp_path / f"bbjspec-gpu-{os.getuid()}-a"
    file.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(EnvironmentLacks, match=f"^{file}: cannot lock a GPU with it .*; remove it, or set TMPDIR$"):
        claims.claim(1, LOG)


def fake_torch(monkeypatch: pytest.MonkeyPatch, built: str | None, seen: int) -> None:
    import torch

    monkeypatch.setattr(torch, "__version__", "2.13.0")
    monkeypatch.setattr(torch.version, "cuda", built)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: seen > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: seen)
    monkeypatch.setattr(claims, "driver_version", lambda: "535.104.05")


@pytest.mark.parametrize(
    ("built", "seen", "driver", "said"),
    [
        (None, 0, 12020, "torch 2.13.0 is built without CUDA; install a build of torch for this machine's driver, or "),
        ("13.0", 0, None, "torch sees 0: torch 2.13.0 is built for CUDA 13.0, no driver answers (libcuda.so.1); "),
        (
            "13.0",
            0,
            12020,
            "torch sees 0: torch 2.13.0 is built for CUDA 13.0, driver 535.104.05 supports CUDA 12.2 at most; "
            "update the driver, or install torch built for CUDA 12.2",
        ),
        ("12.8", 1, 12020, "torch sees 1: torch 2.13.0 is built for CUDA 12.8, driver 535.104.05 would do; does "),
    ],
)
def test_what_torch_does_not_see(
    monkeypatch: pytest.MonkeyPatch, built: str | None, seen: int, driver: int | None, said: str
) -> None:
    fake_torch(monkeypatch, built, seen)
    monkeypatch.setattr(claims, "driver_cuda", lambda: driver)
    with pytest.raises(EnvironmentLacks) as error:
        devices.check_torch(2)
    assert str(error.value).startswith(f"resources.gpu is 2, but {said}") and "\n" not in str(error.value)
    with pytest.raises(EnvironmentLacks, match=r"resources\.gpu is 2, but torch"):  # SLURM names a GPU without a driver
        devices.memory(2)


def test_what_torch_sees_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    devices.check_torch(0)
    fake_torch(monkeypatch, "13.0", 2)
    devices.check_torch(2)


def test_this_machines_memory() -> None:
    found = devices.memory(0)
    assert 1e8 < found.free <= found.total and found.card is None and found.usable == found.free


def test_control_groups_limit_it(tmp_path: Path) -> None:
    def group(place: Path, limit: str, used: int, files: tuple[str, str, str]) -> None:
        place.mkdir(parents=True, exist_ok=True)
        (place / files[0]).write_text(limit + "\n")
        (place / files[1]).write_text(f"{used}\n")
        (place / "memory.stat").write_text(f"anon 5\n{files[2]} 40\nx 1\n")

    new = ("memory.max", "memory.current", "inactive_file")
    old = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
    group(tmp_path / "job/step", "max", 50, new)
    group(tmp_path / "job", "1000", 240, new)
    group(tmp_path / "memory/job", "2000", 340, old)
    mine = tmp_path / "cgroup"
    mine.write_text("9:cpu:/other\n4:memory:/job/not-shown-here\n0::/job/step\n")
    assert list(devices._limits(mine, tmp_path)) == [(2000, 300), (1000, 200)]
    assert list(devices._limits(tmp_path / "none", tmp_path)) == []


QWEN = "Qwen/Qwen2.5-Coder-32B-Instruct"
ARCH = architecture(QWEN, Path())
assert ARCH
ESTIMATE = partial(training_memory, ARCH)
CONFIG: dict[str, Any] = {
    "model": {"dtype": "bfloat16", "load_in_4bit": False, "bnb_4bit_use_double_quant": True},
    "lora": {"r": 32, "target_modules": "all-linear", "lora_dropout": 0.05},
    "training": {"max_length": 2048, "optim": "paged_adamw_8bit"},
}
RUN = {"per_device_train_batch_size": 1, "gradient_checkpointing": True}
GB = 1e9


def test_what_fits_is_let_through() -> None:
    assert devices.require(ESTIMATE, Memory(80 * GB, 1 * GB, "NVIDIA H100"), CONFIG, RUN, QWEN) == ESTIMATE(CONFIG, RUN)
    assert devices.require(ESTIMATE, Memory(80 * GB, 75 * GB), CONFIG, RUN, QWEN).total < 75 * GB


@pytest.mark.parametrize(
    ("memory", "said"),
    [
        (
            Memory(48 * GB, 47 * GB, "NVIDIA L40S"),
            "NVIDIA L40S has 48.0 GB; write model.load_in_4bit: true, which needs about 28.1 GB",
        ),
        (
            Memory(80 * GB, 47 * GB),
            "47.0 GB of memory are free here; write model.load_in_4bit: true, which needs about 28.1 GB",
        ),
        (
            Memory(24 * GB, 23 * GB, "NVIDIA L4"),
            "NVIDIA L4 has 24.0 GB; write model.load_in_4bit: true, training.max_length: 256 and lora.r: 16, which "
            "needs about 23.0 GB",
        ),
        (
            Memory(16 * GB, 15 * GB, "Tesla T4"),
            "Tesla T4 has 16.0 GB; even model.load_in_4bit: true, training.max_length: 256 and lora.r: 8 would need "
            "about 22.1 GB: take a device with more memory, or a smaller base",
        ),
    ],
)
def test_what_does_not_fit_is_refused_with_what_to_change(memory: Memory, said: str) -> None:
    with pytest.raises(EnvironmentLacks) as error:
        devices.require(ESTIMATE, memory, CONFIG, RUN, QWEN)
    parts = "weights 65.5 GB, adapter 3.2 GB, activations 2.4 GB, logits 1.2 GB, the rest 1.7 GB"
    assert str(error.value) == f"{QWEN} does not fit: it needs about 74.1 GB ({parts}), and {said}"


def test_memory_that_runs_out_on_this_machine_is_told() -> None:
    import torch

    with pytest.raises(RuntimeError) as real:
        torch.empty(2**55, dtype=torch.uint8)
    assert devices.is_out_of_memory(real.value) and not devices.is_out_of_memory(RuntimeError("a size mismatch"))
    assert devices.is_out_of_memory(MemoryError()) and devices.is_out_of_memory(torch.OutOfMemoryError("CUDA"))
    told = str(devices.out_of_memory(real.value, "step 12", Memory(90 * GB, 80 * GB), ESTIMATE, CONFIG, RUN))
    assert told.startswith("out of memory at step 12: 36028797.0 GB more were asked for, with ")
    assert "of 90.0 GB (this machine) in use by this process and " in told
    assert told.endswith(
        "; the estimate was 74.1 GB (weights 65.5 GB, adapter 3.2 GB, activations 2.4 GB, logits 1.2 GB, the rest "
        "1.7 GB); write model.load_in_4bit: true, which needs about 28.1 GB"
    )


def test_memory_that_runs_out_on_a_card_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 70 * GB)
    error = torch.OutOfMemoryError(
        "CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 79.11 GiB of which 1 GiB is free"
    )
    told = str(devices.out_of_memory(error, "step 3", Memory(85 * GB, 1 * GB, "NVIDIA H100"), None, CONFIG, RUN))
    assert told == (
        "out of memory at step 3: 2.7 GB more were asked for, with 70.0 GB of 85.0 GB (NVIDIA H100) in use by this "
        "process and 14.0 GB by others; take a device with more memory, or a smaller base"
    )


def test_records_of_the_device() -> None:
    said = devices.describe(0)
    assert set(said) == {"cpu", "threads"} and said["cpu"] and said["threads"] >= 1


def test_the_stage_claims_before_torch_is_imported() -> None:
    """What CUDA sees is settled when torch first looks: `prepare` imports nothing of it."""
    code = """
    import sys
    from pathlib import Path
    from bbjspec.stage import StageRun
    from bbjspec.stages import models
    stage = StageRun("train", "0" * 16, Path(), Path(), {}, {}, {}, {"gpu": 2})
    models.prepare(stage, at_most=1)
    import os
    print(os.environ["CUDA_VISIBLE_DEVICES"], models.gpus(stage), "torch" in sys.modules)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "a,b", "PYTHONPATH": str(Path(claims.__file__).parents[2])},
    )
    assert done.stdout.split() == ["a", "2", "False"], done.stderr
