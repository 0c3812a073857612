"""Stage `card`: MODEL_CARD.md and its plots, made of the other stages' JSON and the checker's recorded agreement.

Config: spec. Inputs: audit, contamination, train, base_score, tuned_score, compare, release where GGUFs are made, and a
score stage for each of the spec's references, which decide nothing. Source: template. The card does not know its
experiment: `@EXPERIMENT@`, `@DESCRIPTION@`, `@PARENT@` and `@EXPORT_DIR@` stand where the publisher writes name,
description, what came of the comparison with the parent, and where GGUFs are placed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bbjspec import figures
from bbjspec.bbj.agreement import recorded
from bbjspec.embedded import source_of
from bbjspec.errors import StageFailed
from bbjspec.markdown import plain_name, prose, render
from bbjspec.stage import StageRun
from bbjspec.stages import cardplots, cardtext
from bbjspec.stages.checkpoints import shown_base
from bbjspec.stages.verdicts import TIER_OUTCOMES
from bbjspec.store import read_json

NAME = "@EXPERIMENT@"
FILTERS: dict[str, Callable[..., Any]] = {
    "signed": figures.signed,
    "plain": figures.plain,
    "interval": figures.interval,
    "chance": figures.chance,
    "count": figures.count,
    "duration": figures.duration,
    "size": figures.size,
    "python": cardtext.literal,
    "line": plain_name,
    "prose": prose,
}
HUB_NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,95}"
# What the Hub calls the licences that teams use most: huggingface.co/docs/hub/repositories-licenses, 2025.
LICENCES = {
    *("apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "isc", "mpl-2.0", "lgpl-3.0", "gpl-2.0", "gpl-3.0"),
    *("agpl-3.0", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0", "openrail", "unlicense"),
}


def run(stage: StageRun) -> None:
    """Write card and plots. Raises StageFailed for an input that cannot be read, BadInput for a template that fails."""
    (template,) = stage.sources["template"]
    known = context(stage)
    text = render(template, template.relative_to(stage.root).as_posix(), known, FILTERS)
    draw(known, stage.directory)
    (stage.directory / "MODEL_CARD.md").write_text(text, encoding="utf-8", newline="\n")


def draw(known: Mapping[str, Any], folder: Path) -> None:
    """Draw scores.svg, categories.svg and funnel.svg of the template's values."""
    comparison = known["comparison"]
    rows = cardplots.score_rows(comparison, known["release"], known["references"])
    cardplots.scores(rows, comparison["metric"], folder / "scores.svg")
    rows = cardplots.category_rows(comparison)
    cardplots.categories(rows, comparison["metric"], folder / "categories.svg")
    cardplots.funnel(known["base"]["funnel"], known["tuned"]["funnel"], folder / "funnel.svg")


def pictures(
    comparison: Mapping[str, Any],
    base: Mapping[str, Any],
    tuned: Mapping[str, Any],
    release: Mapping[str, Any] | None,
    references: Sequence[Mapping[str, Any]],
) -> dict[str, str]:
    """What stands for each plot where it is not seen."""
    metric = comparison["metric"]
    return {
        "scores": cardplots.scores_text(cardplots.score_rows(comparison, release, references), metric),
        "categories": cardplots.categories_text(cardplots.category_rows(comparison), metric),
        "funnel": cardplots.funnel_text(base["funnel"], tuned["funnel"]),
    }


def context(stage: StageRun) -> dict[str, Any]:
    """All that the template may name."""
    comparison = _read(stage, "compare", "comparison.json")
    base, tuned = (_read(stage, role, "results.json") for role in ("base_score", "tuned_score"))
    spec = stage.config["spec"]
    source = source_of(str(spec["model"]["base"]))
    release = _read(stage, "release", "export.json") if "release" in stage.inputs else None
    references = [
        {"name": reference["name"], "results": _read(stage, f"{reference['name']}_score", "results.json")}
        for reference in spec["eval"].get("references", ())
    ]
    scores = _scores(stage.input("tuned_score") / "scores.jsonl")
    return {
        "metadata": metadata(spec, comparison),
        "verdict": cardtext.verdict_sentence(comparison),
        "release": release,
        "export": cardtext.release_sentence(release) if release else None,
        "gain": cardtext.gain_sentence(comparison["formatting"]),
        "spec": spec,
        "base_name": shown_base(spec["model"]["base"]),
        "base_source": source,
        "settings": settings(spec),
        "audit": _read(stage, "audit", "audit.json"),
        "contamination": _read(stage, "contamination", "contamination.json"),
        "ledger": _read(stage, "train", "ledger.json"),
        "training": training(
            _read(stage, "train", "training_log.json"), _record(stage, "train", "training_config.json")
        ),
        "comparison": comparison,
        "agreement": str(recorded()),
        "base": base,
        "tuned": tuned,
        "references": references,
        "pictures": pictures(comparison, base, tuned, release, references),
        "steps": cardplots.STEPS,
        "outcomes": TIER_OUTCOMES,
        "failures": cardtext.failures(scores, tuned["by_prompt"]),
        "failed": sum(one["tier"] == "syntax" and one["strict"] < one["n"] for one in tuned["by_prompt"].values()),
        "digests": {role: stage.input(role).name for role in sorted(stage.inputs)},
    }


def metadata(spec: Mapping[str, Any], comparison: Mapping[str, Any]) -> str:
    """The Hub's metadata block, as YAML. A base in a local directory has no name that the Hub knows: left out."""
    from huggingface_hub import EvalResult, ModelCardData

    tiers = {"factual_accuracy": "factual", "general_pass@1": "general"}
    results = [
        EvalResult(
            task_type="text-generation",
            task_name="Python code generation" if name == "general_pass@1" else "BBj code generation",
            dataset_type="bbjspec-suite",
            dataset_name=f"bbjspec suite, {tiers.get(name, 'syntax')} prompts",
            dataset_revision=comparison["suite_hash"],
            metric_type=name,
            metric_name=f"{name}, temperature {comparison['sampling']['temperature']:g}",
            metric_value=entry["b"]["value"],
        )
        for name, entry in sorted(comparison["metrics"].items())
        if figures.exists(entry["b"]["value"])
    ]
    base = str(spec["model"]["base"])
    known = source_of(base) != "local" and re.fullmatch(rf"{HUB_NAME}(/{HUB_NAME})?", base)
    mixed = spec["data"].get("mix") or {}
    files = [Path(path).stem for path in (spec["data"]["path"], mixed.get("path")) if path]
    # What is called otherwise than anything on the Hub stands in the card's text alone.
    datasets = [name for name in files if re.fullmatch(HUB_NAME, name)]
    data = ModelCardData(
        **({"base_model": base} if known else {}),
        **licence((spec.get("export") or {}).get("licence")),
        datasets=datasets or None,
        library_name="peft",
        pipeline_tag="text-generation",
        tags=["bbj", "code", "lora", "sft"],
        model_name=NAME,
        eval_results=results,
    )
    return str(data.to_yaml()).strip()


def licence(named: str | None) -> dict[str, str]:
    """The Hub's fields for the spec's licence: `other` with a name for one that the Hub does not know."""
    if named is None:
        return {}
    name = re.sub(r"[^a-z0-9.]+", "-", named.lower()).strip("-")[:96]
    return {"license": name} if name in LICENCES else {"license": "other", **({"license_name": name} if name else {})}


def settings(spec: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Every field of the spec by its dotted name, with its value as JSON."""
    found = []

    def visit(value: Any, at: str) -> None:
        if isinstance(value, Mapping) and value:
            for key in value:
                visit(value[key], f"{at}.{key}" if at else str(key))
        elif at == "model.base":
            found.append((at, shown_base(value)))
        else:
            found.append((at, json.dumps(value, ensure_ascii=False)))

    visit(spec, "")
    return found


def training(log: Mapping[str, Any], record: Mapping[str, Any]) -> dict[str, Any]:
    """Losses, steps and times; None for what no file holds (a record need not have been published)."""
    recorded = ("wall_time_s", "train_time_s", "tokens_per_s", "trainable_parameters", "tokens", "date")
    first: Mapping[str, Any] = next((entry for entry in log["log"] if entry.get("eval_loss") is not None), {})
    return {
        "best": _at(log["log"], log["best"]["step"]),
        "final": _at(log["log"], log["final"]["step"]),
        "first": _at(log["log"], first.get("step")),
        "stopped_early": log["final"].get("stopped_early"),
        "max_steps": log["final"].get("max_steps"),
        **{name: record.get(name) for name in recorded},
        "peak_memory": record.get("peak_memory") or {},
        "versions": record.get("versions") or {},
        "git": record.get("git") or {},
        "machine": {"gpus": [], "cpu": None} | (record.get("machine") or {}),
        "ways": record.get("ways") or {},
        "resumed_at": record.get("resumed_at") or [],
    }


def _at(log: Sequence[Mapping[str, Any]], step: int | None) -> dict[str, Any]:
    """The log at a step, its training loss the mean since the evaluation before: one step's alone says little."""
    names = ("step", "epoch", "eval_loss", "perplexity", "learning_rate")
    entry: Mapping[str, Any] = next((entry for entry in log if entry["step"] == step), {})
    losses: list[float] = []
    for one in log:
        if step is None or one["step"] > step:
            break
        if "loss" in one:
            losses.append(one["loss"])
        if one.get("eval_loss") is not None and one["step"] != step:
            losses = []
    return {"loss": sum(losses) / len(losses) if losses else None} | {name: entry.get(name) for name in names}


def _read(stage: StageRun, role: str, name: str) -> dict[str, Any]:
    document = read_json(stage.input(role) / name)
    if not isinstance(document, dict):
        raise StageFailed(
            f"card: {name} of {role} is not readable; remove build/{stage.input(role).parent.name} and run"
        )
    return document


def _record(stage: StageRun, role: str, name: str) -> dict[str, Any]:
    document = read_json(stage.input(role) / name)
    return document if isinstance(document, dict) else {}


def _scores(path: Path) -> list[dict[str, Any]]:
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
    except (OSError, ValueError) as error:
        raise StageFailed(f"card: {path.name} is not readable; remove the score stage's directory and run") from error
