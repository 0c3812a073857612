"""The newcomer's test: the README's daily loop, typed as it stands there, in a project whose demo is a small one."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.doclines import REPOSITORY, commands, section
from tests.harness import environment, snakemake

CHANGED = {"train", "generate", "score", "compare", "card", "publish"}  # by another adapter; nothing of the base
UNCHANGED = {"tokenizer", "audit", "split", "contamination", "base", "base_generate", "base_score"}


def typed(root: Path, line: str) -> subprocess.CompletedProcess[str]:
    """A line as a shell runs it that has activated the environment, as the loop's first line does."""
    activate = ". .venv/bin/activate && " if (root / ".venv/bin/activate").is_file() else ""
    return subprocess.run(
        ["bash", "-c", activate + line], cwd=root, env=environment(), capture_output=True, text=True, timeout=300
    )


def test_the_daily_loop_from_the_readme_alone(small: Path) -> None:
    loop = commands(section((REPOSITORY / "README.md").read_text(encoding="utf-8"), "The daily loop"))
    assert [line.split()[:2] for line in loop] == [
        [".", ".venv/bin/activate"],
        ["bbjspec", "new"],
        ["bbjspec", "check"],
        ["bbjspec", "plan"],
        ["snakemake", "--cores"],
        ["bbjspec", "card"],
        ["bbjspec", "compare"],
    ]
    # What `make demo` leaves behind, made by another name: the digests do not know it.
    (small / "experiments/v1.yaml").rename(small / "experiments/demo.yaml")
    assert snakemake(small, "demo").returncode == 0
    (small / ".venv").symlink_to(sys.prefix, target_is_directory=True)
    said = {}
    for line in loop[1:]:
        ended = typed(small, line)
        word = line.split()[1] if line.startswith("bbjspec") else line.split()[0]
        assert ended.returncode in ({0, 1, 5} if word == "compare" else {0}), f"{line}\n{ended.stdout}{ended.stderr}"
        assert "Traceback" not in ended.stderr
        said[word] = ended.stdout

    assert said["new"] == "experiments/v1.yaml\n"
    assert said["check"] == "2 good: demo, v1\n"
    states = dict(re.findall(r"^  (\w+) +[0-9a-f]{16}  (whole|published|outdated|to run)", said["plan"], re.MULTILINE))
    assert {stage for stage, state in states.items() if state == "to run"} == CHANGED
    assert {stage for stage, state in states.items() if state == "whole"} == UNCHANGED
    assert re.search(r"^  train .* to run +lora\.r 4 → 32", said["plan"], re.MULTILINE)
    card = " ".join(said["card"].split())
    assert re.search(r"(Better than|Worse than|Not better than|Not known to be better than) its base at BBj", card)
    assert "judged by the builtin checker (approximate), not by bbjcpl" in card
    assert "Against its parent demo:" in card and "lora.r" in card
    assert "changed: lora.r 4 → 32" in said["compare"] and "24 prompts × 2 samples" in said["compare"]
    assert "nothing to run" in typed(small, loop[3]).stdout
