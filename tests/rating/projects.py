"""A project whose suite has realistic prompts: made-up answers, judged and placed by the real code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bbjspec.plan import read_plan
from tests.answers import evaluate, publish, seal

CARD = "# @EXPERIMENT@\n\n@PARENT@\n\n### Rated by people\n\n<!-- @RATINGS@ -->\n<!-- @RATINGS_END@ -->\n### Next\n"
ITEMS = [f"t/real/{number:02}" for number in range(1, 21)]


def realistic(item: str, **changes: Any) -> dict[str, Any]:
    """One prompt for people to rate."""
    number = int(item.rpartition("/")[2])
    return {
        "id": item,
        "tier": "realistic",
        "category": "reports",
        "difficulty": "basic",
        "generation": "all",
        "input": f"Our report {number} lacks its total. Print {number} at its end.",
        "reference": f"```bbj\nprint {number}\n```",
        "notes": f"Is {number} printed?",
        **changes,
    }


def answer(generations: Path, answers: Mapping[str, str | tuple[str, str]]) -> None:
    """Replace first answers in a stage's generations: {prompt: text, or (text, how it ended)}."""
    rows = [json.loads(line) for line in generations.read_text().splitlines()]
    for row in rows:
        if row["sample_idx"] == 0 and row["task_id"] in answers:
            said = answers[row["task_id"]]
            row["completion"], row["finish_reason"] = (said, "stop") if isinstance(said, str) else said
    generations.write_text("".join(json.dumps(row) + "\n" for row in rows))
    seal(generations.parent)


def publish_answers(
    root: Path, name: str = "v1", base: Mapping[str, Any] | None = None, tuned: Mapping[str, Any] | None = None
) -> None:
    """Evaluate and place an experiment whose answers to realistic prompts are these, by default all different."""
    experiment = read_plan(root).experiments[name]
    evaluate(root, experiment, {}, dict.fromkeys(ITEMS, 2))
    for role, own, said in (("base_generate", base, "base"), ("generate", tuned, name)):
        texts = {item: f"Answer {number} of nobody: {len(said)}" for number, item in enumerate(ITEMS)} | dict(own or {})
        answer(root / experiment.roles[role].directory / "generations.jsonl", texts)
    publish(root, experiment, read_plan(root), card=CARD)
