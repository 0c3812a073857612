"""Bad input: one line with file and place, the documented exit code, nothing half-written, and the others still run."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.harness import REPOSITORY, run, snakemake

Replace = Callable[[Path, str, str], None]

# What is done to a copy of the good spec, and the one line that is said.
BAD_SPECS = [
    (
        ("learning_rate: 1e-3", "learning_rte: 1e-3"),
        "experiments/bad.yaml:7:3: training.learning_rte: unknown field; did you mean learning_rate?",
    ),
    (
        ("path: dataset/rows.jsonl", "path: dataset/none.jsonl"),
        "experiments/bad.yaml:4:14: data.path: dataset/none.jsonl: no such file",
    ),
    (
        ("base: pico-qwen2", "base: pico-qwen3"),
        "experiments/bad.yaml:3:15: model.base: unknown base 'pico-qwen3'; write a Hub id (org/name) with a revision, "
        "a directory (./dir), or one of the embedded pico-qwen2, tiny-qwen2",
    ),
]


@pytest.mark.parametrize(("edit", "line"), BAD_SPECS, ids=["typo", "missing file", "unknown base"])
def test_a_bad_spec(small: Path, replace_in: Replace, edit: tuple[str, str], line: str) -> None:
    bad = small / "experiments/bad.yaml"
    shutil.copy(small / "experiments/v1.yaml", bad)
    replace_in(bad, *edit)
    replace_in(small / "experiments/v1.yaml", "k: [1, 2]", "k: [1]")
    before = {path.name for path in (small / "adapters").iterdir()}
    checked = run(small, "bbjspec", "check")
    assert (checked.returncode, checked.stderr.splitlines()) == (1, [line])
    done = snakemake(small)
    said = done.stdout + done.stderr
    assert done.returncode == 1 and line in said and "Traceback" not in said
    assert {path.name for path in (small / "adapters").iterdir()} == before
    assert '"compile@2"' not in (small / "adapters/v1/eval_results.json").read_text(), "the good one ran"


def failing_stage(root: Path, kind: str) -> Path:
    """The stage.json of the one stage of that kind that is not whole."""
    (found,) = (
        path for path in root.glob(f"build/{kind}/*/stage.json") if not path.with_name("manifest.json").exists()
    )
    return found


def test_a_broken_line_of_the_dataset(small: Path, replace_in: Replace) -> None:
    rows = (small / "dataset/rows.jsonl").read_text().splitlines()
    rows[2] = rows[2].replace('"role": "user"', '"role" "user"')
    (small / "dataset/broken.jsonl").write_text("\n".join(rows) + "\n")
    shutil.copy(small / "experiments/v1.yaml", small / "experiments/bad.yaml")
    replace_in(small / "experiments/bad.yaml", "dataset/rows.jsonl", "dataset/broken.jsonl")
    done = snakemake(small)
    said = done.stdout + done.stderr
    line = r"dataset/broken\.jsonl:3:\d+: json: not JSON: Expecting ':' delimiter at byte \d+"
    assert done.returncode == 1 and re.search(line, said) and "Traceback" not in said
    for kind in ("audit", "split"):
        stage = failing_stage(small, kind)
        assert {path.name for path in stage.parent.iterdir()} == {"stage.json", "stage.log", "engine.log", ".lock"}
        again = run(small, "bbjspec", "run", str(stage))
        assert again.returncode == 1 and re.search(line, again.stderr)
    assert not (small / "adapters/bad").exists() and (small / "adapters/v1/lock.json").exists()


def test_no_compiler(small: Path, replace_in: Replace) -> None:
    shutil.copy(small / "experiments/v1.yaml", small / "experiments/bad.yaml")
    replace_in(small / "experiments/bad.yaml", "{name: builtin}", '{name: bbjcpl, version: "26.03"}')
    done = snakemake(small)
    said = done.stdout + done.stderr
    assert done.returncode == 1 and "Traceback" not in said
    assert "eval.compiler.name: bbjcpl was not found in PATH, $BBJ_HOME/bin (BBJ_HOME is not set): " in said
    stage = failing_stage(small, "audit")
    assert run(small, "bbjspec", "run", str(stage)).returncode == 3
    assert not (stage.parent / "audit.json").exists() and not (small / "adapters/bad").exists()


def test_the_shipped_specs_are_good() -> None:
    checked = run(REPOSITORY, "bbjspec", "check")
    assert (checked.returncode, checked.stderr) == (0, "")
