"""Every shell line of the documentation is run as it stands, in a small project whose stages are there already.

Answers are made up and judged by the real stages (tests/answers.py), so that nothing trains: Snakemake and Make read
the plan and find nothing to do. tests/workflow/test_newcomer.py runs the daily loop for real.
"""

from __future__ import annotations

import gzip
import json
import re
import shutil
from pathlib import Path

import pytest

from bbjspec.plan import read_plan
from bbjspec.rating.answers import read
from bbjspec.rating.session import RaterSession
from tests.answers import evaluate, publish
from tests.doclines import PAGES, REPOSITORY, blocks, commands
from tests.harness import run, write_project
from tests.rating.projects import ITEMS, realistic

IDS = [f"t/print/{i}" for i in range(100, 124)]
# The exit codes that a reader may see on a machine in order, where 0 is not the only one.
CODES = {"bbjspec compare": {0, 1, 5}, "bbjspec doctor": {0, 3}, "tail -f": {124}}
# Lines that are not run here: why, and what is run in their place to see that they would be understood.
NOT_HERE = {
    r"make (install|demo|test|lint|soak)": ("CI runs it, this test is part of it", "make --dry-run \\1"),
    r"\. \.venv/bin/activate": ("the test has its environment", ""),
    r"tensorboard (.*)": ("it serves until it is stopped", "tensorboard --inspect \\1"),
    r"pip install bbjspec\[wandb\]": ("it needs a network; test_docs.py knows the extra", ""),
    r"wandb sync .*": ("it needs an account and a network", "wandb sync --help"),
    r"ollama .*": ("it needs Ollama", ""),
    r"git lfs .*": ("it needs Git LFS", ""),
    r"git (pull|push|clone)( .*)?": ("it needs another repository", ""),
    r"(bbjspec rate \w+(?: --against \w+)?)": (
        "it serves until it is stopped",
        "timeout --preserve-status 3 \\1",
    ),
    r"python -m tests\.cluster\.slurm (.*) -n": ("it needs root and SLURM's daemons; tests/cluster uses it", "\\1 -n"),
    r"bbjspec check --suite --compiler bbjcpl": ("it needs BBj", "bbjspec check --help | grep -e --compiler"),
}


@pytest.fixture(scope="module")
def lived_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project in the middle of its life: demo, v1, v2 and v3 published, a dataset and its review, examples."""
    root = tmp_path_factory.mktemp("lived-in") / "project"
    write_project(root)
    specs = root / "experiments"
    (specs / "v1.yaml").rename(specs / "demo.yaml")
    for name, parent, r in (("v1", "demo", 32), ("v2", "demo", 8), ("v3", "v2", 2)):
        (specs / f"{name}.yaml").write_text(f"extends: {parent}\nlora: {{r: {r}}}\n")
    prompts = root / "eval/prompts/print.jsonl"  # a suite that stands the test of itself
    prompts.write_text(re.sub(r"print (\d+), \d+\\n", r"n = \1\\nprint n, \1\\nprint \1\\n", prompts.read_text()))
    with prompts.open("a") as file:
        file.writelines(json.dumps(realistic(item)) + "\n" for item in ITEMS)
    make_up(root)
    for name in ("dataset.jsonl", "sample.jsonl"):
        shutil.copy(root / "dataset/rows.jsonl", root / "dataset" / name)
    (root / "old.jsonl.gz").write_bytes(gzip.compress(b'{"prompt": "Print 1.", "completion": "print 1"}\n'))
    (root / "program.bbj").write_text("print 1\n")
    shutil.copy(root / "eval/prompts/print.jsonl", root / "my.jsonl")
    session = RaterSession(root, read(root, "v3"), "bo", print)
    vote = {"number": 1, "vote": "left", "note": "", "ms": 9000, "time": "2026-01-02T03:04:05Z"}
    came_back = {"schema_version": 1, "page": session.page, "rater": "bo", "votes": [vote]}
    (root / "ratings.json").write_text(json.dumps(came_back))
    for folder in ("examples", "docs"):
        (root / folder).mkdir()
    example = next(block for block in blocks((REPOSITORY / "docs/data.md").read_text()) if "## Code" in block)
    (root / "examples/counting.md").write_text("\n".join(example) + "\n")
    for line in ("init -q", "config user.name t", "config user.email t@example.org"):
        assert run(root, "git", *line.split()).returncode == 0
    return root


def make_up(root: Path) -> None:
    """Every experiment whole and published, each answering a little better than the one before."""
    plan = read_plan(root)
    assert not plan.bad
    for at, experiment in enumerate(sorted(plan.experiments.values(), key=lambda one: one.name)):
        if plan.experiment_state(experiment) == "to run":
            evaluate(root, experiment, {}, dict.fromkeys([*IDS[: 4 + 6 * at], *ITEMS[: 4 + 5 * at]], 2))
            publish(root, experiment)
            (root / experiment.roles["train"].directory / "stage.log").touch()


@pytest.mark.parametrize(
    "page", [page for page in PAGES if commands(page.read_text(encoding="utf-8"))], ids=lambda page: page.stem
)
def test_every_line_runs_as_it_stands(page: Path, lived_in: Path, tmp_path: Path) -> None:
    root = tmp_path / "project"
    shutil.copytree(lived_in, root)
    for line in dict.fromkeys(commands(page.read_text(encoding="utf-8"))):
        if new := re.match(r"bbjspec (?:new (\w+)|import .* --to (\S+))", line):
            (root / (f"experiments/{new[1]}.yaml" if new[1] else new[2])).unlink(missing_ok=True)
        if line.startswith(("snakemake", "make")):
            make_up(root)
        where, text = root, line.replace("tail -f", "timeout 1 tail -f")
        for pattern, (_, instead) in NOT_HERE.items():
            if re.fullmatch(pattern, line):
                where, text = REPOSITORY if instead.startswith("make") else root, re.sub(pattern, instead, line)
        ended = run(where, "bash", "-c", text)
        codes = next((codes for start, codes in CODES.items() if line.startswith(start)), {0})
        assert ended.returncode in codes, f"{page.name}: {line}\n{ended.stdout[-2000:]}{ended.stderr[-2000:]}"
        assert "Traceback" not in ended.stderr, line


def test_what_is_not_run_is_in_the_documentation() -> None:
    lines = [line for page in PAGES for line in commands(page.read_text(encoding="utf-8"))]
    for pattern in NOT_HERE:
        assert any(re.fullmatch(pattern, line) for line in lines), pattern
