"""A small project, and how to run Snakemake on it as a person would."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
SYSTEM = "You are an expert BBj programmer who helps users write and understand BBj code."
SPEC = """\
# One line that says nothing.
description: the smallest whole way
model: {base: pico-qwen2, dtype: float32}
data: {path: dataset/rows.jsonl}
lora: {r: 4, lora_alpha: 8, lora_dropout: 0.0}
training:
  learning_rate: 1e-3
  max_steps: 48
  global_train_batch_size: 8
  per_device_train_batch_size: 8
  max_length: 160
  optim: adamw_torch
  eval_steps: 4
  save_steps: 4
  early_stopping_patience: null
  gradient_checkpointing: false
eval:
  prompts: [eval/prompts/*.jsonl]
  compiler: {name: builtin}
  sampling: {n: 2, max_new_tokens: 12, batch_size: 24}
  k: [1, 2]
export: {gguf: []}
resources: {gpu: 0}
"""


def environment() -> dict[str, str]:
    """As a person has it after activating the virtual environment; not as a `make test` around the tests has it."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    outer = {"MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES"}
    return {name: value for name, value in os.environ.items() if name not in outer} | {"PATH": path, "NO_COLOR": "1"}


def run(root: Path, *command: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    """Run a command at the top of the project, and give its output as text."""
    return subprocess.run(
        command, cwd=root, env=environment(), capture_output=True, text=True, timeout=timeout, check=False
    )


def snakemake(root: Path, *arguments: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    """Run Snakemake as the README says."""
    return run(root, "snakemake", "--cores", "2", *arguments, "--resources", "gpu=1", timeout=timeout)


def would_run(root: Path, *arguments: str) -> Counter[str]:
    """How many jobs of each stage kind a dry run announces."""
    done = snakemake(root, *arguments, "--dry-run")
    assert done.returncode == 0, done.stdout + done.stderr
    last_table = (done.stdout + done.stderr).split("Job stats:")[-1]
    jobs = re.findall(r"^_?stage_(\w+)\s+(\d+)$", last_table, re.MULTILINE)
    return Counter({kind: int(count) for kind, count in jobs})


def make(root: Path, *arguments: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    """Run the compiled Makefile as the docs say."""
    return run(root, "make", "-f", "Makefile.bbjspec", *arguments, timeout=timeout)


def compile_makefile(root: Path, *options: str) -> str:
    """Compile the plan to Makefile.bbjspec, as the docs say, and give its text."""
    done = run(root, "bbjspec", "compile", "--to", "make", *options)
    assert done.returncode == 0, done.stderr
    (root / "Makefile.bbjspec").write_text(done.stdout)
    return done.stdout


def make_would_run(root: Path, *options: str) -> Counter[str]:
    """How many jobs of each stage kind `make -n` announces, once the Makefile is compiled."""
    compile_makefile(root, *options)
    done = make(root, "--dry-run")
    assert done.returncode == 0, done.stdout + done.stderr
    jobs = re.findall(r" -m bbjspec run build/(\w+)/[0-9a-f]{16}/stage\.json$", done.stdout, re.MULTILINE)
    assert len(jobs) == len(done.stdout.splitlines()) or not jobs, done.stdout
    return Counter(jobs)


def working(root: Path, kind: str) -> bool:
    """Whether a stage of that kind has begun and not ended."""
    logs = list(root.glob(f"build/{kind}/*/stage.log"))
    return any("INFO starts" in log.read_text() and "whole after" not in log.read_text() for log in logs)


def log_starts(root: Path) -> Counter[str]:
    """How often each stage's directory saw work begin, by `kind/digest`."""
    return Counter(
        {
            f"{log.parent.parent.name}/{log.parent.name}": len(
                re.findall(r" INFO starts$", log.read_text(), re.MULTILINE)
            )
            for log in root.glob("build/*/*/stage.log")
            if log.parent.parent.name != "publish"
        }
    )


def clone(root: Path, target: Path) -> Path:
    """Commit the project but for build/, and clone it."""
    (root / ".gitignore").write_text("build/\n.snakemake/\n")
    git = ("git", "-c", "user.name=t", "-c", "user.email=t@example.org")
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "published"]):
        assert run(root, *git, *command).returncode == 0
    assert run(root, *git, "clone", "-q", str(root), str(target)).returncode == 0
    return target


def write_project(root: Path) -> None:
    """The repository's workflow with a dataset of 48 rows and a suite of 24 prompts."""
    root.mkdir()
    for name in ("rules", "profiles", "templates"):
        shutil.copytree(REPOSITORY / name, root / name)
    shutil.copy(REPOSITORY / "Snakefile", root / "Snakefile")
    for name in ("experiments", "dataset", "eval/prompts"):
        (root / name).mkdir(parents=True)
    with (root / "dataset/rows.jsonl").open("w") as rows:
        for i in range(48):
            chat = [
                {"role": "system", "content": SYSTEM},
                # Questions that are nearly the same would all stay on one side of the split.
                {"role": "user", "content": f"Print {i} for {hashlib.sha256(b'%d' % i).hexdigest()[:8]}."},
                {"role": "assistant", "content": f"```bbj\nprint {i}\n```"},
            ]
            rows.write(json.dumps({"id": f"r{i:03}", "kind": "code-generation", "messages": chat}) + "\n")
    with (root / "eval/prompts/print.jsonl").open("w") as prompts:
        for i in range(100, 124):
            prompt = {
                "id": f"t/print/{i}",
                "tier": "syntax",
                "category": "print",
                "difficulty": "basic",
                "generation": "all",
                "input": f"Show {i} on the screen.",
                "reference": f"print {i}, {i + 1}\n",
                "checks": {"require": [rf"print\s+{i}\b"], "forbid": [], "min_statements": 1, "mode": "write"},
            }
            prompts.write(json.dumps(prompt) + "\n")
    (root / "experiments/v1.yaml").write_text(SPEC)
