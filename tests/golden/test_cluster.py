"""A hundred experiments on the SLURM profile: the resources of each job, as a dry run shows them.

`python -m tests.golden.test_cluster` writes what it shows now to cluster.txt.
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

from bbjspec.plan import Plan, read_plan
from tests.harness import REPOSITORY, run, write_project

GOLDEN = Path(__file__).with_name("cluster.txt")
SHOWN = ("gpu", "gpu_model", "mem_mb", "runtime", "cpus_per_task", "nodes", "slurm_extra")


def write_hundred(root: Path) -> None:
    """v1 and 99 experiments that differ in what they learn and in what they ask for."""
    write_project(root)
    spec = root / "experiments/v1.yaml"
    # One row at a time, so that up to eight GPUs share the batch.
    spec.write_text(spec.read_text().replace("device_train_batch_size: 8", "device_train_batch_size: 1"))
    for at in range(1, 100):
        gpu = (0, 1, 2, 4, 8)[at % 5]
        model = {0: "", 1: ""}.get(gpu, f", gpu_model: {('a100', 'h100', 'nvidia_a100.80gb')[at % 3]}")
        asked = f"gpu: {gpu}{model}, mem_mb: {8192 * (1 + at % 7)}, runtime: {60 * (1 + at % 11)}"
        (root / f"experiments/e{at:02}.yaml").write_text(
            f"extends: v1\ntraining: {{learning_rate: {at}e-5}}\nresources: {{{asked}, cpus_per_task: {1 + at % 16}}}\n"
        )


def shown(root: Path) -> tuple[Plan, dict[str, str]]:
    """The plan, and each job's resources, `name=value`, by the job's digest."""
    done = run(root, "snakemake", "--workflow-profile", "profiles/slurm", "--dry-run")
    assert done.returncode == 0, done.stdout + done.stderr
    found = {}
    for job in re.split(r"\n(?=rule )", done.stdout + done.stderr)[1:]:
        digest = re.search(r"wildcards: digest=(\w+)", job)
        resources = dict(re.findall(r"(\w+)=([^\s,]+)", job.partition("resources: ")[2].partition("\n")[0]))
        if digest:
            found[digest[1]] = " ".join(f"{name}={resources[name]}" for name in SHOWN if name in resources)
    return read_plan(root), found


def text(root: Path) -> str:
    """A line for each job of an experiment, of what is shared once: at the first experiment that has it."""
    plan, found = shown(root)
    assert not plan.bad and len(plan.experiments) == 100
    lines, said = [], set()
    for name, experiment in plan.experiments.items():
        for role, stage in experiment.roles.items():
            if stage.digest not in said:
                said.add(stage.digest)
                lines.append(f"{name} {role}: {found[stage.digest] or 'on this machine'}\n")
    return "".join(lines)


def test_each_of_a_hundred_asks_for_what_its_spec_says(tmp_path: Path) -> None:
    write_hundred(tmp_path / "project")
    now = text(tmp_path / "project")
    assert now == GOLDEN.read_text(), "python -m tests.golden.test_cluster, if it is meant"
    # The file itself is no more than the specs say.
    trainings = re.findall(r"^(\w+) train: (.*)$", now, re.MULTILINE)
    assert len(trainings) == 100
    for name, line in trainings:
        spec = (tmp_path / f"project/experiments/{name}.yaml").read_text()
        own = dict(re.findall(r"(gpu_model|gpu|mem_mb|runtime|cpus_per_task): ([^,}\s]+)", spec))
        own = {"mem_mb": "65536", "runtime": "1440", "cpus_per_task": "8"} | {k: v for k, v in own.items() if v != "0"}
        asked = dict(pair.split("=", 1) for pair in line.split())
        assert asked == own | {"nodes": "1", "slurm_extra": "--signal=TERM@120"}, name


def test_a_rule_is_local_or_asks_for_something() -> None:
    """A job that asks for nothing gets what a partition gives, which may be a minute."""
    text = (REPOSITORY / "Snakefile").read_text()
    local = set(re.findall(r"_stage_\w+", text.partition("localrules:")[2].partition("\n\n")[0]))
    rules = "".join(file.read_text() for file in (REPOSITORY / "rules").glob("*.smk"))
    for rule in re.split(r"\n(?=rule )", "\n" + rules)[1:]:
        name = rule.split()[1].rstrip(":")
        asks = re.findall(r'\*\*WORKFLOW\.resources\("(\w+)"\)', rule)
        assert asks == ([] if name in local else [name.removeprefix("_stage_")]), name


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        write_hundred(Path(scratch) / "project")
        GOLDEN.write_text(text(Path(scratch) / "project"))
    sys.exit()
