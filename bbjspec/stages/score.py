"""Stage `score`: verdicts on every answer, and the figures that follow.

Config: compiler {name, version}, builtin_version, k, n. Input: generate. Sources: prompts. Outputs: `scores.jsonl`, a
row per sample, and `results.json`. What a score depends on besides the model is in it too: `sensitivity` has raw
compile@1 under other ways of taking programs out of answers.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bbjspec.bbj.compiler import Compiler, open_compiler
from bbjspec.bbj.extract import EXTRACTOR_VERSION, Extraction
from bbjspec.bbj.parallel import compile_all, usable_cpus
from bbjspec.errors import StageFailed
from bbjspec.pairing import SCHEMA_VERSION
from bbjspec.sandbox import Outcome, Program, layers, run_many
from bbjspec.stage import StageRun
from bbjspec.stages import results, sensitivity
from bbjspec.stages.generations import Generations, read_generations
from bbjspec.stages.verdicts import (
    Judged,
    Sample,
    collapse,
    judge_answer,
    judge_general,
    judge_program,
    solution_of,
    unrated,
)
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
    judged, ways = judge_all(generations, compiler, stage)
    tested = any(prompt.tier == "general" for prompt in prompts)
    temperature = float(generations.sampling["temperature"])
    metrics = results.tier_metrics(judged, config["k"], temperature)
    document = {
        "schema_version": SCHEMA_VERSION,
        "suite_hash": suite_hash(prompts),
        "extractor_version": EXTRACTOR_VERSION,
        "model": dict(generations.model),
        "volatile": bool(generations.model.get("volatile")),
        "env": environment(stage.input("generate"), generations),
        "preflight": (read_json(stage.input("generate") / "generation_record.json") or {}).get("preflight"),
        "sampling": dict(generations.sampling),
        "compiler": {"name": compiler.name, "version": compiler.version},
        "sandbox": {"layers": list(layers()), "python": platform.python_version()} if tested else None,
        "n_prompts": len(prompts),
        "n_samples": len(judged),
        "n_infra": 0,  # one that is left fails the stage
        "metrics": metrics,
        "sensitivity": ways,
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


def judge_all(generations: Generations, compiler: Compiler, stage: StageRun) -> tuple[list[Judged], dict[str, Any]]:
    """Every sample with its outcome, in the order of the generations, and the sensitivity to extraction."""
    samples = generations.samples
    extractions = {i: solution_of(s) for i, s in enumerate(samples) if s.prompt.tier in ("syntax", "general")}
    taken = {i: sensitivity.candidates(samples[i]) for i in extractions if samples[i].prompt.tier == "syntax"}
    programs = {i: {code for codes in ways.values() for code in codes} for i, ways in taken.items()}
    different = sorted(set().union(*programs.values()))
    stage.log.info("%d programs to compile", len(different))
    verdicts = dict(zip(different, compile_all(compiler, different), strict=True))
    infra = {code: verdict for code, verdict in verdicts.items() if verdict.verdict == "infra_error"}
    left = [i for i, codes in programs.items() if not codes.isdisjoint(infra)]
    if left:
        names = ", ".join(f"{samples[i].prompt.id} sample {samples[i].index}" for i in left[:SHOWN])
        more = f" and {len(left) - SHOWN} more" if len(left) > SHOWN else ""
        why = next((e.message for verdict in infra.values() for e in verdict.errors), "no reason given")
        raise StageFailed(f"score: {compiler.name} gave no verdict on {names}{more}: {why}; see to it and run again")
    outcomes = run_all(samples, extractions, stage)
    found = []
    for i, sample in enumerate(samples):
        if sample.prompt.tier == "syntax":
            found.append(judge_program(sample, extractions[i], verdicts.get(extractions[i].code)))
        elif sample.prompt.tier == "general":
            found.append(judge_general(sample, extractions[i], outcomes.get(i)))
        else:
            found.append(judge_answer(sample) if sample.prompt.tier == "factual" else unrated(sample))
    judged = collapse(found)
    return judged, sensitivity.table(judged, taken, verdicts, float(generations.sampling["temperature"]))


def run_all(samples: Sequence[Sample], extractions: Mapping[int, Extraction], stage: StageRun) -> dict[int, Outcome]:
    """How each whole general answer ends with its tests, by its place among the samples."""
    programs = {
        i: Program(extractions[i].code, sample.prompt.tests or "", sample.prompt.entry or "")
        for i, sample in enumerate(samples)
        if sample.prompt.tier == "general" and sample.finish_reason != "length" and extractions[i].code.strip()
    }
    if programs:
        stage.log.info("running %d Python programs, held by %s", len(programs), ", ".join(layers()))
    return dict(zip(programs, run_many(list(programs.values()), processes=usable_cpus()), strict=True))


def write_scores(path: Path, judged: Sequence[Judged], compiler: Compiler) -> None:
    """scores.jsonl: a row per sample, in order."""
    with path.open("w", encoding="utf-8", newline="\n") as stream:
        for one in judged:
            row = score_row(one, compiler)
            stream.write(json.dumps(row, sort_keys=True, separators=(",", ":"), ensure_ascii=False) + "\n")


def score_row(one: Judged, compiler: Compiler) -> Mapping[str, Any]:
    """One row of scores.jsonl. `compiler` is null where none judges; its verdict is null for no program."""
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
