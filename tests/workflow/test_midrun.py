"""Edits while a run is under way: it finishes the plan that it began with, or says that it cannot."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.harness import environment, log_starts, snakemake, working, would_run

Replace = Callable[[Path, str, str], None]
SCORE = {"score": 2, "compare": 1, "card": 1, "publish": 1}


@contextmanager
def under_way(root: Path, kind: str) -> Iterator[list[str]]:
    """Real Snakemake, once a stage of that kind is at work. On leaving it has ended; its text is in the list."""
    said: list[str] = []
    engine = subprocess.Popen(
        ["snakemake", "--cores", "2", "--resources", "gpu=1"],
        cwd=root,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not working(root, kind) and engine.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert working(root, kind), f"{kind} was seen at work"
    yield said
    said.append(engine.communicate(timeout=300)[0])
    said.append(str(engine.returncode))


def test_a_spec_edited_during_a_run(small: Path, replace_in: Replace) -> None:
    spec = small / "experiments/v1.yaml"
    replace_in(spec, "max_new_tokens: 12", "max_new_tokens: 13")
    with under_way(small, "generate") as said:
        replace_in(spec, "k: [1, 2]", "k: [1]")
        (small / "experiments/bad.yaml").write_text("model: nothing good\n")
    assert said[-1] == "0", said
    results = json.loads((small / "adapters/v1/eval_results.json").read_text())
    assert "compile@2" in results["metrics"], "the old plan was finished"
    card = (small / "adapters/v1/MODEL_CARD.md").read_text()
    assert "max_new_tokens=13" in card, "and published"
    (small / "experiments/bad.yaml").unlink()
    assert would_run(small) == SCORE
    before = log_starts(small)
    assert snakemake(small).returncode == 0
    begun = [stage.split("/")[0] for stage in (log_starts(small) - before).elements()]
    assert sorted(begun) == ["card", "compare", "score", "score"], "exactly the new work"
    assert would_run(small) == {}


def test_a_source_edited_during_a_run(small: Path, replace_in: Replace) -> None:
    lock = (small / "adapters/v1/lock.json").read_bytes()
    replace_in(small / "experiments/v1.yaml", "max_new_tokens: 12", "max_new_tokens: 13")
    with under_way(small, "generate") as said:
        replace_in(small / "eval/prompts/print.jsonl", "Show 100 on the screen.", "Let me see 100.")
        with (small / "templates/MODEL_CARD.md.j2").open("a") as template:
            template.write("\nOne more line.\n")
    assert said[-1] == "1"
    line = "generate: prompts (eval/prompts/print.jsonl) changed after the plan was made; run again"
    assert said[0].count(line) >= 1 and "Traceback" not in said[0]
    assert not (small / "adapters/v1/lock.json").exists() or (small / "adapters/v1/lock.json").read_bytes() == lock
    assert would_run(small) == {"contamination": 1, "generate": 2, **SCORE}
    done = snakemake(small)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (small / "adapters/v1/MODEL_CARD.md").read_text().rstrip().endswith("One more line.")
    assert would_run(small) == {}
