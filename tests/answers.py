"""Made-up answers, judged by the real stages: what a finished evaluation looks like, without a model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bbjspec import store
from bbjspec.plan import ExperimentPlan, Plan
from bbjspec.suite import load_prompts
from tests.whole import make_whole, publish_whole

SAMPLING = {"n": 2, "temperature": 0.7, "system_prompt": "You write BBj."}
CARD = "# @EXPERIMENT@\n\n@DESCRIPTION@\n\n@PARENT@\n\nend\n"
GOOD, BAD = "```bbj\nn = {number}\nprint {number}\n```", "```bbj\nprint (((\n```"


def write_generations(
    path: Path, prompts: Path, passes: Mapping[str, int], sampling: Mapping[str, Any] = SAMPLING, good: str = GOOD
) -> None:
    """Two samples of each prompt of the small project: as many good ones as `passes` says (0 where it does not)."""
    rows = []
    for prompt in load_prompts([prompts]):
        for index in range(sampling["n"]):
            passing = index < passes.get(prompt.id, 0)
            text = good.format(number=prompt.id.rpartition("/")[2]) if passing else BAD
            rows.append(
                {
                    "task_id": prompt.id,
                    "sample_idx": index,
                    "model": {"base": "pico-qwen2", "adapter_sha256": None},
                    "sampling": dict(sampling),
                    "completion": text,
                    "finish_reason": "stop",
                    "backend": "transformers",
                }
            )
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def evaluate(
    root: Path, experiment: ExperimentPlan, base: Mapping[str, int], tuned: Mapping[str, int], **how: Any
) -> None:
    """Make the experiment whole in build/: answers as given, scored and compared by the real stages, nothing leaked."""
    roles = experiment.roles
    for name, passes in (("base_generate", base), ("generate", tuned)):
        sampling = SAMPLING | {"max_new_tokens": roles[name].config["sampling"]["max_new_tokens"]}
        made = make_whole(root, roles[name])
        write_generations(made / "generations.jsonl", root / "eval/prompts/print.jsonl", passes, sampling, **how)
        (made / "generation_record.json").write_text("{}")
        seal(made)
    made = make_whole(root, roles["contamination"])
    (made / "contamination.json").write_text('{"leaked": [], "prompts": 24, "train_rows": 1}')
    seal(made)
    for name in ("base_score", "score", "compare"):
        store.run(store.prepare(root, roles[name]), console=False)


def seal(directory: Path) -> None:
    """List what a stage holds anew."""
    store._finish(directory, store.read_json(directory / store.STAGE))


def publish(root: Path, experiment: ExperimentPlan, plan: Plan | None = None, card: str = CARD) -> str:
    """Place the experiment, its card being the tokens alone; returns the card as published."""
    made = make_whole(root, experiment.card)
    (made / "MODEL_CARD.md").write_text(card)
    seal(made)
    publish_whole(root, experiment, plan)
    return (root / "adapters" / experiment.name / "MODEL_CARD.md").read_text()
