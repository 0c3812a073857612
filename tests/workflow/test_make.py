"""Real stages run by GNU Make."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from tests.harness import compile_makefile, log_starts, make, make_would_run, would_run

Replace = Callable[[Path, str, str], None]


def test_make_does_the_work_and_says_when_there_is_none(small: Path, replace_in: Replace) -> None:
    compile_makefile(small)
    idle = make(small, "-j8")
    assert (idle.returncode, idle.stdout) == (0, "make: Nothing to be done for 'all'.\n")
    assert make(small, "v1").stdout == "make: Nothing to be done for 'v1'.\n"
    before = (small / "adapters/v1/lock.json").read_bytes()
    replace_in(small / "experiments/v1.yaml", "k: [1, 2]", "k: [1]")
    (small / "experiments/bad.yaml").write_text("model: {base: pico-qwen2}\ntraining: {learning_rte: 1}\n")
    compile_makefile(small)
    done = make(small, "-j8")
    assert done.returncode == 2, "one bad spec harms only itself"
    assert "experiments/bad.yaml:2:12: training.learning_rte: unknown field" in done.stderr
    assert "compile@2" not in json.loads((small / "adapters/v1/eval_results.json").read_text())["metrics"]
    (small / "experiments/bad.yaml").unlink()
    assert make(small, "v1").stdout == "make: Nothing to be done for 'v1'.\n", "the old Makefile too knows it is done"
    assert (dict(would_run(small)), dict(make_would_run(small))) == ({}, {})
    replace_in(small / "experiments/v1.yaml", "k: [1]", "k: [1, 2]")
    assert make_would_run(small) == {"publish": 1}
    assert make(small).returncode == 0
    assert (small / "adapters/v1/lock.json").read_bytes() == before
    assert set(log_starts(small).values()) == {1}


def test_an_old_makefile_is_harmless(small: Path, replace_in: Replace) -> None:
    published = {path: path.read_bytes() for path in (small / "adapters/v1").iterdir()}
    replace_in(small / "experiments/v1.yaml", "k: [1, 2]", "k: [1]")
    compile_makefile(small)
    replace_in(small / "eval/prompts/print.jsonl", r"print\\s+100\\b", r"print\\s*100\\b")
    old = make(small)
    line = "score: prompts (eval/prompts/print.jsonl) changed after the plan was made; run again"
    assert old.returncode == 2 and line in old.stderr and "Traceback" not in old.stderr
    assert published == {path: path.read_bytes() for path in (small / "adapters/v1").iterdir()}
    for stage in small.glob("build/score/*/stage.json"):
        if not stage.with_name("manifest.json").exists():
            stage.unlink()
    gone = make(small)
    assert gone.returncode == 2 and "not a stage.json; the engines get theirs from the plan" in gone.stderr
    assert make_would_run(small) == {"score": 2, "compare": 1, "card": 1, "publish": 1}
