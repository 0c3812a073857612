"""Stage `score`: verdicts on every answer, and the figures that follow.

Config: compiler {name, version}, builtin_version, k, n. Input: generate. Sources: prompts. Outputs: `scores.jsonl`, a
row per sample, and `results.json`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bbjspec.bbj.compiler import Compiler, open_compiler
from bbjspec.bbj.extract import EXTRACTOR_VERSION
from bbjspec.bbj.parallel import compile_all
from bbjspec.errors import StageFailed
from bbjspec.stage import StageRun
from bbjspec.stages import results
from bbjspec.stages.generations import Generations, read_generations
from bbjspec.stages.verdicts import Judged, collapse, judge_answer, judge_program, solution_of
from bbjspec.store import read_json, write_json
from bbjspec.suite import load_prompts, suite_hash

SHOWN = 5


def run(stage: StageRun) -> None:
    """Judge every answer. Raises StageFailed for rows that do not fit the suite and for infrastructure errors."""
    config = stage.config
    prompts = load_prompts(stage.sources["prompts"])
    generations = read_generations(stage.input("generate") / "generations.jsonl", prompts, config["n"])
    judge = config["compiler"]
    compiler = open_compiler(judge["name"], judge["version"], stage.resources.get("compiler_path"))
    judged = judge_all(generations, compiler, stage)
    temperature = float(generations.sampling["temperature"])
    metrics = results.tier_metrics(judged, config["k"], temperature)
    document = {
        "schema_version": results.SCHEMA_VERSION,
        "suite_hash": suite_hash(prompts),
        "extractor_version": EXTRACTOR_VERSION,
        "model": dict(generations.model),
        "volatile": bool(generations.model.get("volatile")),
        "env": environment(stage.input("generate"), generations),
        "preflight": (read_json(stage.input("generate") / "generation_record.json") or {}).get("preflight"),
        "sampling": dict(generations.sampling),
        "compiler": {"name": compiler.name, "version": compiler.version},
        "n_prompts": len(prompts),
        "n_samples": len(judged),
        "n_infra": 0,  # one that is left fails the stage
        "metrics": metrics,
        "funnel": results.funnel(judged),
        "outcomes": results.outcome_counts(judged),
        "by_category": results.grouped(judged, "category", config["k"], temperature),
        "by_difficulty": results.grouped(judged, "difficulty", config["k"], temperature),
        "by_generation": results.grouped(judged, "generation", config["k"], temperature),
        "by_prompt": results.prompts_table(judged),
    }
    write_scores(stage.directory / "scores.jsonl", judged, compiler)
    write_json(stage.directory / "results.json", document)
    for name, entry in metrics.items():
        stage.log.info("%s %.3f, 95 %% interval %s", name, entry["value"], entry["ci"] or "not defined")


def environment(directory: Path, generations: Generations) -> dict[str, Any]:
    """What two results must share, besides suite and compiler, to be compared.

    dtype and the batch that was really used stand in the generation's record; both are null where it was not published.
    """
    record = read_json(directory / "generation_record.json") or {}
    return {
        "backend": generations.backend,
        "quantization": generations.model.get("quantization"),
        "dtype": record.get("dtype"),
        "batch_size": record.get("batch_size_used"),
    }


def judge_all(generations: Generations, compiler: Compiler, stage: StageRun) -> list[Judged]:
    """Every sample with its outcome, in the order of the generations."""
    samples = generations.samples
    extractions = {i: solution_of(s) for i, s in enumerate(samples) if s.prompt.tier == "syntax"}
    programs = {i: e.code for i, e in extractions.items() if e.code.strip()}
    different = sorted(set(programs.values()))
    stage.log.info("%d programs to compile", len(different))
    verdicts = dict(zip(different, compile_all(compiler, different), strict=True))
    left = [i for i, code in programs.items() if verdicts[code].verdict == "infra_error"]
    if left:
        names = ", ".join(f"{samples[i].prompt.id} sample {samples[i].index}" for i in left[:SHOWN])
        more = f" and {len(left) - SHOWN} more" if len(left) > SHOWN else ""
        why = next((e.message for i in left for e in verdicts[programs[i]].errors), "no reason given")
        raise StageFailed(f"score: {compiler.name} gave no verdict on {names}{more}: {why}; see to it and run again")
    found = [
        judge_program(sample, extractions[i], verdicts[programs[i]] if i in programs else None)
        if i in extractions
        else judge_answer(sample)
        for i, sample in enumerate(samples)
    ]
    return collapse(found)


def write_scores(path: Path, judged: Sequence[Judged], compiler: Compiler) -> None:
    """scores.jsonl: a row per sample, in order."""
    with path.open("w", encoding="utf-8", newline="\n") as stream:
        for one in judged:
            row = score_row(one, compiler)
            stream.write(json.dumps(row, sort_keys=True, separators=(",", ":"), ensure_ascii=False) + "\n")


def score_row(one: Judged, compiler: Compiler) -> Mapping[str, Any]:
    """One row of scores.jsonl. `compiler` is null for a factual answer; its verdict is null for no program."""
    prompt, verdict = one.sample.prompt, one.verdict
    errors = [{"line": e.line, "source": e.source, "message": e.message} for e in verdict.errors] if verdict else []
    judge = {
        "name": compiler.name,
        "version": compiler.version,
        "verdict": verdict.verdict if verdict else None,
        "errors": errors,
    }
    return {
        "task_id": prompt.id,
        "sample_idx": one.sample.index,
        "tier": prompt.tier,
        "category": prompt.category,
        "difficulty": prompt.difficulty,
        "extractor_version": EXTRACTOR_VERSION,
        "extraction": one.extraction,
        "solution": one.solution,
        "compiler": judge if prompt.tier == "syntax" else None,
        "checks": one.checks,
        "outcome": one.outcome,
        "raw_pass": one.raw_pass,
        "strict_pass": one.strict_pass,
    }
