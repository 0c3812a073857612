"""Traps of Snakemake and of Make that were met, and what keeps each shut. Stages are a pretence where they can be."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from bbjspec.spec.names import is_name
from bbjspec.yamlio import parse
from tests.harness import (
    REPOSITORY,
    SPEC,
    compile_makefile,
    environment,
    make,
    run,
    snakemake,
    would_run,
    write_project,
)

Replace = Callable[[Path, str, str], None]
# Called as Python would be: -m bbjspec run build/<kind>/<digest>/stage.json
PRETENCE = """#!/bin/bash
directory=$(dirname "$4")
[ -f "$4" ] || exit 4
echo "begins $directory" >> order.log
sleep "${PRETENCE_SECONDS:-0.1}"
echo "ends $directory" >> order.log
: > "$directory/done"
"""


@pytest.fixture
def pretended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of two experiments; what the engines start for a stage writes two lines and the marker."""
    root, site = tmp_path / "project", tmp_path / "site"
    write_project(root)
    (root / "experiments/v2.yaml").write_text(SPEC.replace("1e-3", "2e-3"))
    site.mkdir()
    (site / "python").write_text(PRETENCE)
    (site / "python").chmod(0o755)
    (site / "sitecustomize.py").write_text(f"import sys\nsys.executable = {str(site / 'python')!r}\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")]))
    return root


def order(root: Path) -> list[tuple[str, str, str]]:
    """What the pretence wrote: begins or ends, kind, digest."""
    return re.findall(r"(\w+) build/(\w+)/(\w+)", (root / "order.log").read_text())


def most_at_once(root: Path, *kinds: str) -> int:
    now = most = 0
    for what, kind, _ in order(root):
        if kind in kinds:
            now += 1 if what == "begins" else -1
            most = max(most, now)
    return most


def by_make(root: Path) -> subprocess.CompletedProcess[str]:
    compile_makefile(root)
    return make(root, "-j8")


ENGINES: list[tuple[str, Callable[[Path], subprocess.CompletedProcess[str]]]] = [
    ("snakemake with --resources", lambda root: run(root, "snakemake", "--cores", "8", "--resources", "gpu=1")),
    ("snakemake without", lambda root: run(root, "snakemake", "--cores", "8")),
    ("make", by_make),
]


@pytest.mark.parametrize("engine", [engine for _, engine in ENGINES], ids=[name for name, _ in ENGINES])
def test_gpu_jobs_run_one_at_a_time(pretended: Path, engine: Callable[[Path], object]) -> None:
    engine(pretended)
    begun = Counter(kind for what, kind, _ in order(pretended) if what == "begins")
    assert begun == {
        **dict.fromkeys(["tokenizer", "audit", "split", "contamination", "base"], 1),
        **dict.fromkeys(["train", "compare", "card", "publish"], 2),
        "generate": 3,
        "score": 3,
    }
    assert most_at_once(pretended, "train", "generate") == 1
    assert most_at_once(pretended, *begun) > 1, "the others need not wait"


@pytest.mark.parametrize("given", [1, 2])
def test_a_training_on_two_gpus_runs_alone(pretended: Path, replace_in: Replace, given: int) -> None:
    """Snakemake cuts what a job asks for down to what there is, so that one slot does for any number of GPUs."""
    for spec in pretended.glob("experiments/*.yaml"):
        replace_in(spec, "resources: {gpu: 0}", "resources: {gpu: 2}")
        replace_in(spec, "per_device_train_batch_size: 8", "per_device_train_batch_size: 4")
    done = run(pretended, "snakemake", "--cores", "16", "--resources", f"gpu={given}")
    begun = Counter(kind for what, kind, _ in order(pretended) if what == "begins")
    assert (begun["train"], begun["generate"], begun["publish"]) == (2, 3, 2), done.stdout + done.stderr
    assert most_at_once(pretended, "train") == 1


def test_resources_on_the_command_line_replace_the_whole_key() -> None:
    """So the profile may name none but the one that the command line repeats."""
    profile = parse((REPOSITORY / "profiles/default/config.yaml").read_text(), "config.yaml")
    assert profile["resources"] == {"gpu": 1}
    assert (profile["rerun-triggers"], profile["nolock"]) == (["mtime"], True)


def test_a_target_after_resources_is_swallowed(pretended: Path) -> None:
    """Snakemake takes it for a resource; hence the order in every example, and a sentence in docs/engines.md."""
    swallowed = run(pretended, "snakemake", "-n", "--cores", "2", "--resources", "gpu=1", "v1")
    right = run(pretended, "snakemake", "-n", "--cores", "2", "v1", "--resources", "gpu=1")
    assert swallowed.returncode != 0 and right.returncode == 0
    for file in [REPOSITORY / "README.md", *REPOSITORY.glob("docs/**/*.md")]:
        for line in re.findall(r"^ {4,}.*--resources gpu=1(.*)$", file.read_text(), re.MULTILINE):
            assert not re.match(r" +\w", line), f"{file.name}: {line}"


def test_kill_9_leaves_no_lock(pretended: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRETENCE_SECONDS", "1")
    command = ["snakemake", "--cores", "2", "--resources", "gpu=1"]
    engine = subprocess.Popen(
        command, cwd=pretended, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 60
    while not (pretended / "order.log").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(engine.pid, signal.SIGKILL)
    engine.wait(30)
    monkeypatch.setenv("PRETENCE_SECONDS", "0")
    done = snakemake(pretended)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Lock" not in done.stderr and "Incomplete" not in done.stderr


@pytest.mark.parametrize("name", ["card", "train", "stage_card", "publish", "makefile", "v1.2-b_3", "clean", "7"])
def test_an_experiment_may_be_called(pretended: Path, name: str) -> None:
    assert is_name(name)
    (pretended / "experiments/v1.yaml").rename(pretended / f"experiments/{name}.yaml")
    assert would_run(pretended, name) == would_run(pretended, "v2")
    compile_makefile(pretended)
    (pretended / name).mkdir()
    said = make(pretended, "-n", name)
    assert said.returncode == 0 and len(said.stdout.splitlines()) == 13


@pytest.mark.parametrize(
    "name", ["all", "Card", "_stage_card", ".phony", "a b", "a%", "a:b", "a$b", "-k", "a=b", "v1."]
)
def test_an_experiment_may_not_be_called(name: str) -> None:
    assert not is_name(name)


def test_internal_rules_cannot_be_names() -> None:
    rules = re.findall(r"^rule (\w+):", "".join(p.read_text() for p in REPOSITORY.glob("rules/*.smk")), re.MULTILINE)
    assert len(rules) > 10 and not [rule for rule in rules if is_name(rule)]


def test_an_edited_rule_runs_nothing(small: Path, replace_in: Replace) -> None:
    for file in (small / "rules").glob("*.smk"):
        file.write_text(
            re.sub(r"^( +)(WORKFLOW\.shell\(.*)$", r'\1"true; " + \2', file.read_text(), flags=re.MULTILINE)
        )
    assert "true; " in (small / "rules/train.smk").read_text()
    assert would_run(small) == {}
    replace_in(small / "templates/MODEL_CARD.md.j2", "## Limits", "## Less")
    assert would_run(small) == {"card": 1, "publish": 1}


def one_line(done: subprocess.CompletedProcess[str], line: str) -> None:
    said = [text for text in done.stderr.splitlines() if "rror" in text or "bbjspec" in text]
    assert done.returncode == 1 and len(said) == 1 and line in said[0], done.stderr
    assert "Traceback" not in done.stderr and "File " not in done.stderr


def test_a_broken_project_is_told_in_one_line(pretended: Path) -> None:
    (pretended / "experiments").rename(pretended / "elsewhere")
    one_line(snakemake(pretended), "bbjspec: no folder experiments/ here; run at the top of the project")
    (pretended / "elsewhere").rename(pretended / "experiments")
    (pretended / "build").write_text("not a folder")
    one_line(snakemake(pretended), "bbjspec: [Errno 20] Not a directory")
    compiled = run(pretended, "bbjspec", "compile", "--to", "make")
    assert compiled.returncode == 3 and compiled.stderr.startswith("bbjspec: compile: Not a directory: ")


def test_a_start_that_fails_is_told_in_one_line(pretended: Path) -> None:
    compile_makefile(pretended)
    (stage,) = pretended.glob("build/tokenizer/*/stage.json")
    stage.unlink()
    stage.mkdir()
    one_line(snakemake(pretended), "bbjspec: [Errno 21] Is a directory")


def test_the_linter_finds_one_thing_alone() -> None:
    """It wants a conda environment or container for each rule; ours run in the environment that made the plan."""
    done = run(REPOSITORY, "snakemake", "--lint")
    lints = re.findall(r"^    \* (.*)$", done.stdout + done.stderr, re.MULTILINE)
    assert set(lints) == {"Specify a conda environment or container for each rule.:"}


def test_the_rules_are_formatted() -> None:
    done = run(REPOSITORY, "snakefmt", "--check", "Snakefile", "rules")
    assert done.returncode == 0, done.stderr
