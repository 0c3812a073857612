"""General and realistic answers through score and compare: run in the sandbox, kept for people, compared."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jinja2
import pytest

from bbjspec import figures
from bbjspec.sandbox import layers
from bbjspec.stage import StageRun
from bbjspec.stages import compare, score
from bbjspec.stages.verdicts import GENERAL_OUTCOMES

ROOT = Path(__file__).parents[2]
COMMON = {"category": "c", "difficulty": "basic", "generation": "all"}
PROMPTS: list[dict[str, Any]] = [
    {
        **COMMON,
        "id": f"python/{i:02d}",
        "tier": "general",
        "input": f"Write f(x), which adds {i}.",
        "reference": f"def f(x):\n    return x + {i}\n",
        "entry": "f",
        "tests": f"assert f(0) == {i}\nassert f(1) == {i + 1}\n",
        "fail_examples": ["def f(x): return x", "x = 1"],
    }
    for i in range(1, 25)
]
PROMPTS.append(
    {**COMMON, "id": "real/1", "tier": "realistic", "input": "What is wrong?", "reference": "It.", "notes": "Short?"}
)
PROMPTS.append(
    {
        **COMMON,
        "id": "bbj/1",
        "tier": "syntax",
        "input": "Show 5 on the screen.",
        "reference": "print 5, 6\n",
        "checks": {"require": [r"\bprint\b"], "forbid": [], "min_statements": 1, "mode": "write"},
    }
)
Answer = Callable[[dict[str, Any], int], tuple[str, str]]


def good(prompt: dict[str, Any], sample: int) -> tuple[str, str]:
    tag = "python" if prompt["tier"] == "general" else "bbj"
    return f"```{tag}\n{prompt['reference']}```", "stop"


def scored(folder: Path, name: str, answer: Answer) -> dict[str, Any]:
    """The results of the stage `score` on two answers a prompt."""
    prompts, generate, directory = folder / "prompts.jsonl", folder / f"{name}-generate", folder / name
    prompts.write_text("".join(json.dumps(prompt) + "\n" for prompt in PROMPTS))
    generate.mkdir()
    directory.mkdir()
    rows = []
    for prompt in PROMPTS:
        for sample in range(2):
            completion, finish = answer(prompt, sample)
            row = {"task_id": prompt["id"], "sample_idx": sample, "completion": completion, "finish_reason": finish}
            sampling = {"temperature": 0.7, "n": 2}
            rows.append({**row, "model": {"base": "b"}, "sampling": sampling, "backend": "transformers"})
    (generate / "generations.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = {"compiler": {"name": "builtin", "version": None}, "k": [1], "n": 2}
    score.run(made("score", directory, config, {"generate": generate}, {"prompts": [prompts]}))
    found: dict[str, Any] = json.loads((directory / "results.json").read_text())
    return found


def made(kind: str, directory: Path, config: Any, inputs: Any, sources: Any) -> StageRun:
    return StageRun(kind, "0" * 16, ROOT, directory, config, inputs, sources, {}, logging.getLogger("test"))


def test_every_outcome_of_a_general_answer(tmp_path: Path) -> None:
    wrong = {
        1: ("```bbj\nprint 1\n```", "stop"),
        2: ("", "stop"),
        3: ("```python\ndef f(x):\n    return x + 2\n```", "stop"),
        4: ("```python\nwhile True:\n    pass\n```", "stop"),
        5: ("```python\nx = bytearray(10 ** 10)\n```", "stop"),
        6: ("```python\nprint('x' * 10 ** 6)\n```", "stop"),
        7: ("```python\nopen('/etc/passwd')\n```", "stop"),
        8: ("```python\ndef f(x):\n    return x + 8\n```", "length"),
        9: ("def f(x):\n    return x + 9\n", "stop"),
    }

    def answer(prompt: dict[str, Any], sample: int) -> tuple[str, str]:
        number = int(prompt["id"].rpartition("/")[2])
        return wrong[number] if prompt["tier"] == "general" and sample and number in wrong else good(prompt, sample)

    found = scored(tmp_path, "tuned", answer)
    expected = dict.fromkeys(GENERAL_OUTCOMES, 1) | {"pass": 48 - 8}
    assert found["outcomes"]["general"] == expected
    assert found["outcomes"]["realistic"] == {"unrated": 2}
    metric = found["metrics"]["general_pass@1"]
    assert metric["value"] == pytest.approx(40 / 48) and metric["interval"] == "t, clustered by prompt"
    assert metric["n_prompts"] == 24 and metric["ci"][0] < 40 / 48 < metric["ci"][1]
    assert found["funnel"]["generated"] == 2, "the funnel is of BBj alone"
    assert found["sandbox"]["layers"] == list(layers())
    assert found["by_category"]["realistic"]["c"] == {"n_prompts": 1, "metrics": {}}
    rows = [json.loads(line) for line in (tmp_path / "tuned/scores.jsonl").read_text().splitlines()]
    by = {(row["task_id"], row["sample_idx"]): row for row in rows}
    assert by["python/03", 1]["checks"] == {"detail": "AssertionError at assert f(0) == 3"}
    assert by["python/03", 1]["compiler"] is None
    assert by["real/1", 0]["outcome"] == "unrated" and by["real/1", 0]["solution"].startswith("```bbj\nIt.")


@pytest.mark.parametrize(
    ("forgets", "decision"), [(0, "not forgotten"), (24, "forgotten"), (2, "not settled"), (None, None)]
)
def test_what_is_forgotten_is_compared(tmp_path: Path, forgets: int | None, decision: str | None) -> None:
    def tuned(prompt: dict[str, Any], sample: int) -> tuple[str, str]:
        number = int(prompt["id"].rpartition("/")[2])
        return ("no", "stop") if prompt["tier"] == "general" and number <= (forgets or 0) else good(prompt, sample)

    results = [scored(tmp_path, "base", good), scored(tmp_path, "tuned", tuned)]
    if forgets is None:  # a suite without general prompts
        for one in results:
            one["by_prompt"] = {name: e for name, e in one["by_prompt"].items() if e["tier"] != "general"}
    base, side = (compare.Side(name, one) for name, one in zip(("base", "tuned"), results, strict=True))
    document = compare.compare([base], side, [], 0.1, [1])
    if decision is None:
        assert document["forgetting"] is None and "general_pass@1" not in document["metrics"]
        return
    assert document["forgetting"]["decision"] == decision
    assert document["forgetting"]["n_prompts"] == 24 and document["forgetting"]["margin"] == 0.1
    assert document["metrics"]["general_pass@1"]["diff"] == pytest.approx(-forgets / 24)
    assert document["metric"] == "compile@1" and document["n_prompts"] == 1
    leaky = compare.compare([base], side, ["python/01"], 0.1, [1])
    assert leaky["forgetting"]["n_prompts"] == 23


def test_a_base_that_knows_nothing_forgets_nothing(tmp_path: Path) -> None:
    def blank(prompt: dict[str, Any], sample: int) -> tuple[str, str]:
        return ("", "stop") if prompt["tier"] == "general" else good(prompt, sample)

    sides = [compare.Side(name, scored(tmp_path, name, blank)) for name in ("base", "tuned")]
    found = compare.compare(sides[:1], sides[1], [], 0.1, [1])["forgetting"]
    said = "the base passes 0.000 of these tasks: too little to see 0.1 of it go"
    assert (found["decision"], found["reason"], found["diff"]) == ("not settled", said, 0.0)


def test_the_card_says_what_was_forgotten() -> None:
    text = (ROOT / "templates/MODEL_CARD.md.j2").read_text()
    start = text.index("{% if comparison.forgetting is not none %}")
    limits = text.index("{% if comparison.forgetting is none %}")
    parts = text[start : text.index("On this page")] + text[limits : text.index("## How to use it")]

    def shown(forgetting: Any) -> str:
        environment = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
        environment.filters["plain"] = figures.plain
        return environment.from_string(parts).render(comparison={"forgetting": forgetting}).strip()

    assert shown(None) == "- What the model forgot of other languages was not measured."
    said = shown({"decision": "not forgotten", "reason": "+0.000: why", "margin": 0.1, "n_prompts": 49})
    assert "**not forgotten** at a margin of 0.10. +0.000: why." in said
    assert "- What the model forgot was measured on 49 short Python tasks alone." in said
