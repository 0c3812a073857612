"""Two real processes at one stage, on machines that no file lock connects: only the owner's file is between them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bbjspec import gc, owner, store
from bbjspec.why import lock_holder
from tests.harness import environment

# A machine of that name, whose locks reach no other, with beats in tenths of a second. It works until a file is there,
# and writes down when it begins and ends.
NODE = """
import fcntl, logging, pathlib, socket, sys, time
name, beat, stale = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])
socket.gethostname = lambda: name
if name != "with-locks":
    fcntl.flock = lambda *_: None
from bbjspec import owner, store
owner.BEAT_S, owner.STALE_S, owner._POLL_S = beat, stale, 0.02
log = logging.getLogger()
logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
here = pathlib.Path.cwd()
with store.locked(here, log), owner.owned(here, log):
    with (here / "order").open("a") as order:
        print("begins", name, file=order)
    print("at work", flush=True)
    while not (here / f"end {name}").exists():
        time.sleep(0.02)
    with (here / "order").open("a") as order:
        print("ends", name, file=order)
"""


def node(directory: Path, name: str, beat: float = 0.05, stale: float = 1.0) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", NODE, name, str(beat), str(stale)],
        cwd=directory,
        env=environment() | {"SLURM_JOB_ID": "7"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def at_work(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None and process.stdout.readline() == "at work\n"


def end(directory: Path, name: str, process: subprocess.Popen[str]) -> str:
    """Let it end, and give what it said."""
    (directory / f"end {name}").touch()
    said = process.communicate(timeout=30)[1]
    assert process.returncode == 0, said
    return said


def order(directory: Path) -> list[str]:
    return (directory / "order").read_text().splitlines()


def test_the_second_waits_for_the_first_whatever_it_takes(tmp_path: Path) -> None:
    first = node(tmp_path, "node1")
    at_work(first)
    second = node(tmp_path, "node2", stale=0.5)
    time.sleep(1.5)  # three times as long as a silent owner would be waited for
    assert order(tmp_path) == ["begins node1"]
    assert json.loads((tmp_path / owner.OWNER).read_text())["who"] == f"process {first.pid} on node1, job 7"
    end(tmp_path, "node1", first)
    at_work(second)
    said = end(tmp_path, "node2", second)
    assert said == f"waiting: process {first.pid} on node1, job 7 is already at work on this\n"
    assert order(tmp_path) == ["begins node1", "ends node1", "begins node2", "ends node2"]
    assert not list(tmp_path.glob(f"{owner.OWNER}*"))


def test_the_stage_of_a_dead_node_is_taken_over(tmp_path: Path) -> None:
    first = node(tmp_path, "node1")
    at_work(first)
    first.kill()
    first.communicate()
    began = time.monotonic()
    second = node(tmp_path, "node2", stale=0.5)
    at_work(second)
    assert time.monotonic() - began > 0.5
    said = end(tmp_path, "node2", second)
    assert said.splitlines() == [
        f"waiting: process {first.pid} on node1, job 7 is already at work on this",
        f"taken over: no word from process {first.pid} on node1, job 7 for 0.5 s",
    ]


def test_of_two_that_take_over_one_waits_on(tmp_path: Path) -> None:
    (tmp_path / owner.OWNER).write_text('{"token": "0", "machine": "gone", "who": "process 1 on gone"}')
    names = ["node1", "node2", "node3"]
    nodes = {name: node(tmp_path, name, stale=0.3) for name in names}
    for name in names:
        (tmp_path / f"end {name}").touch()
    for process in nodes.values():
        said = process.communicate(timeout=30)[1]
        assert process.returncode == 0, said
    told = order(tmp_path)
    assert sorted(told[::2]) == [f"begins {name}" for name in names]
    assert [line.replace("begins", "ends") for line in told[::2]] == told[1::2]


def test_a_node_that_was_cut_off_ends_when_it_comes_back(tmp_path: Path) -> None:
    first = node(tmp_path, "node1")
    at_work(first)
    first.send_signal(signal.SIGSTOP)
    second = node(tmp_path, "node2", stale=0.5)
    at_work(second)
    first.send_signal(signal.SIGCONT)
    said = first.communicate(timeout=30)[1]
    assert first.returncode == 143
    assert (
        said == f"process {second.pid} on node2, job 7 has taken this over: there was no word from here for too long\n"
    )
    assert "node2" in (tmp_path / owner.OWNER).read_text()
    end(tmp_path, "node2", second)
    assert order(tmp_path) == ["begins node1", "begins node2", "ends node2"]


def test_on_one_machine_a_dead_owner_is_not_waited_for(tmp_path: Path) -> None:
    first = node(tmp_path, "with-locks")
    at_work(first)
    first.kill()
    first.communicate()
    assert (tmp_path / owner.OWNER).exists()
    second = node(tmp_path, "with-locks", stale=600)
    at_work(second)
    assert end(tmp_path, "with-locks", second) == ""


@pytest.mark.parametrize("left", ["", "[]", "\0" * 9], ids=["empty", "a list", "zeros"])
def test_a_file_that_names_nobody_is_waited_for_and_taken_over(tmp_path: Path, left: str) -> None:
    (tmp_path / owner.OWNER).write_text(left)
    one = node(tmp_path, "node1", stale=0.3)
    at_work(one)
    assert re.match(
        "waiting: another process .*\ntaken over: no word from another process", end(tmp_path, "node1", one)
    )


def test_a_stage_of_another_node_is_running_and_no_garbage(tmp_path: Path) -> None:
    directory = tmp_path / "build/train/0123456789abcdef"
    directory.mkdir(parents=True)
    (directory / "stage.log").write_text("2026-01-01 00:00:00 INFO starts\n")
    file = directory / owner.OWNER
    file.write_text('{"token": "0", "machine": "node1", "who": "process 7 on node1, job 9"}')
    for lock in (False, True):
        if lock:
            (directory / store.LOCK).touch()
        assert lock_holder(directory) == "process 7 on node1, job 9"
        assert gc.held(directory)
        assert not store.ended_silently(directory, 0)
    os.utime(file, (time.time() - 3600,) * 2)
    assert lock_holder(directory) is None and not gc.held(directory)
    assert store.ended_silently(directory, 0)
