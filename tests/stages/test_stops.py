"""What ends a training before its time, and how the same command goes on: memory, signals, a parent that is gone."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from bbjspec import store
from bbjspec.errors import EnvironmentLacks
from bbjspec.stage import StageRun
from bbjspec.stages import checkpoints, devices, launch, models, train
from bbjspec.stages.trainer import Trainer
from tests.harness import environment, run
from tests.stages import tiny
from tests.stages.test_training import same

NO_MEMORY = (
    r"out of memory at step 3: 1125899\.9 GB more were asked for, with [\d.]+ [GM]B of [\d.]+ GB \(this machine\) in "
    r"use by this process( and [\d.]+ GB by others)?; the estimate was [\d.]+ MB \(.+\); write .*training\..+, which "
    r"needs about [\d.]+ MB"
)


def out_of_memory_at_step_3(trainer: type[Any]) -> None:
    """Let the trainer ask for a petabyte, and torch refuse it."""
    real = trainer.training_step

    def step(self: Any, *arguments: Any, **named: Any) -> Any:
        if self.state.global_step == 2:
            torch.empty(2**50, dtype=torch.uint8)
        return real(self, *arguments, **named)

    trainer.training_step = step


# -- memory ------------------------------------------------------------------------------------------------------------


def test_out_of_memory_says_the_numbers_and_loses_no_checkpoint(
    built: Path, tmp_path: Path, undisturbed: StageRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Trainer, "training_step", Trainer.training_step)  # to be undone
    out_of_memory_at_step_3(Trainer)
    stage = tiny.training(built, tmp_path)
    handler = signal.getsignal(signal.SIGTERM)
    with pytest.raises(EnvironmentLacks) as lacks:
        train.run(stage)
    assert re.fullmatch(NO_MEMORY, str(lacks.value)), str(lacks.value)
    assert signal.getsignal(signal.SIGTERM) == handler
    monkeypatch.undo()
    train.run(stage)
    same(undisturbed, stage)
    assert json.loads((stage.directory / "training_config.json").read_text())["resumed_at"] == [2]


def test_out_of_memory_in_one_of_two_processes_is_what_is_told(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "__name__", "tests.stages.worker_without_memory")
    run = tiny.RUN | {"per_device_train_batch_size": 2}
    with pytest.raises(EnvironmentLacks) as lacks:
        tiny.trained(built, tmp_path, resources={"processes": 2, "training": run})
    assert re.fullmatch(NO_MEMORY, str(lacks.value)), str(lacks.value)


def test_what_does_not_fit_is_told_before_anything_is_loaded(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*_: Any) -> None:
        raise AssertionError("loaded")

    monkeypatch.setattr(models, "load_base", load)
    monkeypatch.setattr(devices, "memory", lambda _: devices.Memory(16e6, 12e6))
    with pytest.raises(EnvironmentLacks) as lacks:
        tiny.trained(built, tmp_path, max_length=256)
    assert re.fullmatch(
        r"pico-qwen2 does not fit: it needs about [\d.]+ MB \(weights .+\), and 12\.0 MB of memory are free here; "
        r"write training\..+, which needs about [\d.]+ MB",
        str(lacks.value),
    ), str(lacks.value)
    assert not list((tmp_path / "train/work").glob("checkpoint-*"))


# -- no GPU ------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(
    shutil.which("nvidia-smi") is not None or Path("/proc/driver/nvidia").exists(), reason="this machine has a driver"
)
@pytest.mark.parametrize("count", [1, 2])
def test_without_a_driver_it_ends_before_torch_is_loaded(
    built: Path, tmp_path: Path, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)  # a training here has set it
    path = tiny.planned(built, tmp_path, resources={"gpu": count})
    code = "import sys; from bbjspec import cli; sys.argv[0] = 'bbjspec'\ntry:\n    cli.entry()\nfinally:\n"
    code += "    print([name for name in ('torch', 'transformers', 'trl') if name in sys.modules])"
    done = run(tmp_path, sys.executable, "-c", code, "run", str(path))
    (line,) = [line for line in done.stderr.splitlines() if "starts" not in line]
    assert line == (
        f"train {path.parent.name[:8]}: resources.gpu is {count}, but no NVIDIA driver answers here (nvidia-smi: not "
        "found); run where nvidia-smi lists a GPU, or write gpu: 0"
    )
    assert (done.returncode, done.stdout) == (3, "[]\n")


# -- two processes, and who else dies ----------------------------------------------------------------------------------


@contextlib.contextmanager
def running(root: Path, path: Path) -> Iterator[subprocess.Popen[str]]:
    """`bbjspec run` of the stage, in a session of its own."""
    words = [sys.executable, "-m", "bbjspec", "run", str(path)]
    process = subprocess.Popen(
        words,
        cwd=root,
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # the tests may run in the background
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def until(met: Callable[[], bool], process: subprocess.Popen[str] | None = None, seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < deadline, "not met in time"
        assert process is None or process.poll() is None, process.communicate()[1] if process else ""
        time.sleep(0.01)


def newest(work: Path) -> int:
    found = checkpoints.newest(work) if work.is_dir() else None
    return checkpoints.step(found) if found else 0


def alive(pid: int) -> bool:
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def descendants(pid: int) -> list[int]:
    parents = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents[int(entry.parent.name)] = int(entry.read_text().rpartition(")")[2].split()[1])
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found[1:]


def test_two_processes_end_with_their_parent_and_save_when_a_cluster_asks(built: Path, tmp_path: Path) -> None:
    two = {"processes": 2, "training": tiny.RUN | {"per_device_train_batch_size": 2}}
    whole: dict[str, Any] = {"lora": {"lora_dropout": 0.0}, "max_steps": 40, "save_steps": 2, "eval_steps": 2}
    path = tiny.planned(built, tmp_path, resources=two, **whole)
    work = path.parent / "work"

    with running(tmp_path, path) as process:
        until(lambda: newest(work) >= 2, process)
        orphans = descendants(process.pid)
        assert len(orphans) >= 3, "a launcher and two processes"
        process.kill()
        process.wait()
    killed = newest(work)
    stops = [killed]
    for number in (signal.SIGINT, signal.SIGTERM):
        with running(tmp_path, path) as process:
            until(lambda: not any(map(alive, orphans)), process, seconds=30)
            assert newest(work) <= stops[-1] + 2 < 36
            until(lambda: newest(work) > stops[-1] + 4, process)
            everyone = [process.pid, *descendants(process.pid)]
            for pid in everyone:
                os.kill(pid, number)
            said = process.communicate(timeout=300)[1]
        (line,) = [line for line in said.splitlines() if "asked to stop" in line]
        stopped = newest(work)
        stops.append(stopped)
        assert process.returncode == 143 and line.endswith(
            f": training was asked to stop: step {stopped} of 40 is saved; run the same command again to "
            "go on from there"
        )
        assert "Traceback" not in said and not any(map(alive, everyone)) and stopped < 40

    # What is left to do is done as well by one process: nothing of how many there were is in what they leave.
    assert tiny.planned(built, tmp_path, **whole) == path
    store.run(path, console=False)
    record = json.loads((path.parent / "training_config.json").read_text())
    assert len(record["resumed_at"]) == 3 and record["resumed_at"][1:] == stops[1:]
    alone = tiny.trained(built, tmp_path / "alone", **whole)
    log = json.loads((path.parent / "training_log.json").read_text())["log"]
    for mine, other in zip(log, tiny.log(alone)["log"], strict=True):
        assert mine["tokens"] == other["tokens"] and mine["loss"] == pytest.approx(other["loss"], abs=2e-3)
    one, other = (load_file(at / "adapter/adapter_model.safetensors") for at in (path.parent, alone.directory))
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, other[name], atol=5e-3, rtol=0.05)
