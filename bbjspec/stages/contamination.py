"""`contamination`: which prompts of the suite the training rows give away, by the rule of `bbjspec.data.leakage`.

Leaked prompts are left out of the comparison, and both figures are reported.
"""

from __future__ import annotations

from bbjspec.data.leakage import leaks
from bbjspec.data.rows import load_rows
from bbjspec.stage import StageRun
from bbjspec.store import write_json


def run(stage: StageRun) -> None:
    """Compare the suite with the rows that are trained on."""
    from bbjspec.suite import load_prompts

    prompts = load_prompts(stage.sources["prompts"])
    rows = load_rows(stage.input("split") / "train.jsonl", "train.jsonl")
    leaked = leaks(prompts, rows)
    stage.log.info("%d prompts against %d training rows: %d leaked", len(prompts), len(rows), len(leaked))
    write_json(
        stage.directory / "contamination.json",
        {"leaked": leaked, "prompts": len(prompts), "train_rows": len(rows)},
    )
