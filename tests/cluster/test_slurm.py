"""The whole way through a real SLURM: to the card, past scancel, a drained node, kill -9 of Snakemake.

The machine has no GPU: the stages train on the CPU, and their jobs ask for the one that the node declares.
"""

from __future__ import annotations

import itertools
import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bbjspec import remote
from bbjspec.plan import read_plan
from bbjspec.stages import checkpoints
from bbjspec.store import is_whole
from tests.cluster.slurm import Slurm, lacks, slurm
from tests.harness import log_starts, write_project
from tests.reliability.kills import outputs, placed, trained

# Faster than a cluster would like it; and on the CPU one training at a time, by the GPU that its job asks for.
SNAKEMAKE = ("snakemake", "--workflow-profile", "profiles/slurm", "--seconds-between-status-checks", "1")
SNAKEMAKE += ("--slurm-init-seconds-before-status-checks", "1", "--latency-wait", "5")
GPU = ("--set-resources", "_stage_train:gpu=1", "_stage_generate:gpu=1")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Slurm]:
    if why := lacks():
        pytest.skip(why)
    with slurm() as running:
        yield running


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cluster") / "project"
    write_project(root)
    return root


def jobs(cluster: Slurm, kind: str) -> dict[int, str]:
    """The jobs of that kind, by number, and each one's state."""
    found = (line.split("|") for line in cluster.squeue("%i|%T|%k"))
    return {int(number): state for number, state, comment in found if comment.startswith(f"rule__stage_{kind}_")}


def until(test: Callable[[], object], engine: subprocess.Popen[str], seconds: float = 180) -> None:
    deadline = time.monotonic() + seconds
    while not test():
        assert engine.poll() is None and time.monotonic() < deadline, engine.communicate(timeout=5)
        time.sleep(0.05)


def node(cluster: Slurm, state: str) -> None:
    name = cluster.run("sinfo", "--noheader", "--format=%n").stdout.strip()
    done = cluster.run("scontrol", "update", f"NodeName={name}", f"State={state}", "Reason=a test")
    assert done.returncode == 0, done.stderr


def test_a_node_is_asked_what_it_has_by_the_line_that_the_plan_says(cluster: Slurm, project: Path) -> None:
    (line,) = (check.found for check in remote.checks(read_plan(project), {"v1"}) if check.name == "to ask one")
    done = cluster.run(*shlex.split(line), cwd=project, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search("^ok +experiments +1 experiment, to run: v1$", done.stdout, re.MULTILINE)
    assert re.search("^ok +file locks ", done.stdout, re.MULTILINE)


def test_to_the_card_past_scancel_and_a_drained_node(cluster: Slurm, project: Path, finished: Path) -> None:
    engine = cluster.popen(*SNAKEMAKE, *GPU, cwd=project)
    until(lambda: "RUNNING" in jobs(cluster, "train").values(), engine)
    node(cluster, "DRAIN")  # what runs there goes on
    ((first, _),) = jobs(cluster, "train").items()
    until(lambda: trained(project, 8), engine)
    cluster.run("scancel", str(first))
    until(lambda: jobs(cluster, "train")[first] == "CANCELLED", engine)
    (work,) = project.glob("build/train/*/work")
    saved = checkpoints.newest(work)
    until(lambda: len(jobs(cluster, "train")) == 2, engine)
    time.sleep(3)
    assert set(jobs(cluster, "train").values()) == {"CANCELLED", "PENDING"}
    assert saved and checkpoints.newest(work) == saved
    node(cluster, "RESUME")
    said, told = engine.communicate(timeout=400)
    assert engine.returncode == 0, said + told

    # What is made, and what is placed, is what one machine makes undisturbed.
    assert outputs(project) == outputs(finished)
    assert placed(project) == placed(finished)
    (log,) = project.glob("build/train/*/stage.log")
    resumed = re.findall(r" INFO resuming from step (\d+)", log.read_text())
    assert resumed == [str(checkpoints.step(saved))]
    assert "Traceback" not in log.read_text()
    assert set(log_starts(project).values()) == {1, 2}

    # Each job was what the spec asks for, and of those with the GPU one ran at a time.
    lines = (line for line in cluster.squeue("%k|%m|%l|%C|%D|%T") if line.startswith("rule__"))
    asked = {re.sub("_wildcards.*?[|]", "|", line) for line in lines if line.endswith("COMPLETED")}
    assert asked == {
        *(f"rule__stage_{kind}|16000M|4:00:00|1|1|COMPLETED" for kind in ("audit", "split", "contamination")),
        "rule__stage_score|16000M|4:00:00|8|1|COMPLETED",
        *(f"rule__stage_{kind}|64G|1-00:00:00|8|1|COMPLETED" for kind in ("train", "generate")),
    }
    spans = []
    for number in (*jobs(cluster, "train"), *jobs(cluster, "generate")):
        shown = cluster.run("scontrol", "show", "job", str(number)).stdout
        assert "gres:gpu:1" in shown or "gres/gpu=1" in shown, shown
        spans.append(re.findall(r"(?:Start|End)Time=(\S+)", shown))
    spans.sort()
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(spans)), spans


def test_kill_9_and_a_second_snakemake_make_no_duplicate(cluster: Slurm, project: Path) -> None:
    spec = project / "experiments/v1.yaml"
    spec.write_text(spec.read_text().replace("learning_rate: 1e-3", "learning_rate: 2e-3"))
    directory = project / read_plan(project).experiments["v1"].roles["train"].directory
    log, before = directory / "stage.log", jobs(cluster, "train")
    words = (*SNAKEMAKE, f"{directory.relative_to(project)}/done")  # no GPU asked for: both jobs run at once

    def mine() -> dict[int, str]:
        return {number: state for number, state in jobs(cluster, "train").items() if number not in before}

    first = cluster.popen(*words, cwd=project)
    until(lambda: (directory / "work").is_dir() and checkpoints.newest(directory / "work"), first)
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    ((job, state),) = mine().items()
    assert state == "RUNNING"
    cluster.run("scontrol", "suspend", str(job))  # or it might be over before the second one comes
    second = cluster.popen(*words, cwd=project)
    until(lambda: "INFO waiting" in log.read_text(), second)
    cluster.run("scontrol", "resume", str(job))
    said, told = second.communicate(timeout=400)
    assert second.returncode == 0, said + told
    assert list(mine().values()) == ["COMPLETED"] * 2
    assert is_whole(directory) and log_starts(project)[f"train/{directory.name}"] == 1
    text = log.read_text()
    assert re.search(rf" INFO waiting: process \d+ on \S+, job {job} is already at work on this\n", text)
    assert " INFO already whole" in text
