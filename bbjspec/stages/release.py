"""Stage `release`: which GGUFs may be served, and the Modelfile of each; or why they are withheld.

Config: gate, types, ollama {num_ctx, create}, sampling, licence, margin. Inputs: compare, gguf, tokenizer, base,
tuned_score and for each type `<type>_score`. Sources: prompts, template (the Modelfile's). Outputs: `export.json`, and
`release/` with `Modelfile.<type>` for each type that is released.

Two things must hold. The gate: nothing is deployed without evaluation, so without the verdict that export.gate asks for
nothing is released. And each type by itself: generated and scored with the same suite and sampling as the adapter, its
95 % interval of the difference must lie above -margin. What is withheld is a result: the stage succeeds.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bbjspec.errors import EnvironmentLacks, StageFailed
from bbjspec.metrics import non_inferior
from bbjspec.pairing import DIGITS, HEADLINE, SCHEMA_VERSION, Side, differences, paired, read_side, unlike
from bbjspec.stage import StageRun
from bbjspec.stages import hub
from bbjspec.store import read_json, write_json
from bbjspec.suite import load_prompts

SMOKE = "Write a BBj program that prints hello."
SMOKE_S = 1800  # for creating a model, and for one answer: a 32B on a CPU takes minutes
VERDICTS = {"not forgotten": "non-inferior", "forgotten": "inferior", "not settled": "not settled"}


def run(stage: StageRun) -> None:
    """Decide. Raises StageFailed for inputs that do not fit together and for a Modelfile that asks otherwise than the
    evaluation did, EnvironmentLacks where Ollama does not do its part."""
    config, types = stage.config, list(stage.config["types"])
    comparison, gguf = _read(stage, "compare", "comparison.json"), _read(stage, "gguf", "gguf.json")
    tuned, *sides = [_side(stage, role) for role in ("tuned_score", *(f"{name}_score" for name in types))]
    why = withheld(comparison, config["gate"])
    clean = tuned.of_tier("syntax", comparison["leaked"]["excluded"])
    found = {}
    for name, side in zip(types, sides, strict=True):
        file = gguf["files"].get(name)
        if file is None:
            raise StageFailed(f"release: gguf.json tells of no {name}; remove build/gguf and run again")
        judged = judge(tuned, side, clean, float(config["margin"]))
        reason = why or (None if judged["non_inferior"]["verdict"] == "non-inferior" else not_as_good(judged))
        found[name] = {"size": file["size"], "sha256": file["sha256"], **judged, "reason": reason}
        found[name]["released"] = reason is None
        stage.log.info("%s: %s", name, reason or "released")
    adapter = paired(tuned, tuned, clean, 1, "strict")
    released = [name for name in types if found[name]["released"]]
    checked = parity(stage, types)
    for name in released:
        _write_modelfile(stage, name)
    models = {name: f"bbjspec-{gguf['adapter_sha256'][:8]}:{name}" for name in released}
    write_json(
        stage.directory / "export.json",
        {
            "schema_version": SCHEMA_VERSION,
            "released": bool(released),
            "withheld": why or (None if released else "no quantization is known to be as good as the adapter"),
            "gate": config["gate"],
            "decision": comparison["decision"],
            "metric": HEADLINE,
            "adapter": {**adapter["b"], "sha256": gguf["adapter_sha256"]},
            "n_prompts": adapter["n_prompts"],
            "n_samples": adapter["n_samples"],
            "base": gguf["base"],
            "base_weights": gguf["base_weights"],
            "types": found,
            "parity": checked,
            # To be run where GGUF and Modelfile lie side by side.
            "commands": [shlex.join(line) for name in released for line in commands(models[name], name)],
            "created": create(stage, models) if config["ollama"]["create"] else [],
        },
    )


def withheld(comparison: Mapping[str, Any], gate: str) -> str | None:
    """Why nothing may be released by the comparison, in one sentence without its full stop; None when it may."""
    decision = comparison["decision"].removesuffix(" (provisional)")
    if gate == "none":
        return None
    if decision != "PASS":
        return f"the gate says {decision} ({comparison['reason']})"
    if comparison["provisional"] and gate == "pass":
        return "the gate's PASS is provisional: the builtin checker judged, not BBj's own compiler"
    return None


def judge(tuned: Side, side: Side, names: Sequence[str], margin: float) -> dict[str, Any]:
    """`score` of a type on the prompts `names` (strict compile@1), and `non_inferior`: the difference to the adapter.

    Raises StageFailed when suite, judge, sampling or samples are not the same. The back ends differ, and may.
    """
    if why := unlike(tuned, side, environment=False):
        raise StageFailed(f"release: {why}")
    figures = paired(tuned, side, list(names), 1, "strict")
    decision = non_inferior(differences(tuned, side, list(names), 1, "strict"), margin)
    if (known := figures["a"]["value"]) < margin:
        reason = f"the adapter passes {known:.3f}: too little to see {margin:g} of it go"
        decision = replace(decision, decision="not settled", reason=reason)
    return {
        "score": figures["b"],
        "non_inferior": {
            "diff": round(decision.mean, DIGITS),
            "ci": [round(max(-1.0, decision.low), DIGITS), round(min(1.0, decision.high), DIGITS)],
            "margin": margin,
            "verdict": VERDICTS[decision.decision],
            "reason": decision.reason,
        },
    }


def not_as_good(judged: Mapping[str, Any]) -> str:
    """Why a type is withheld by itself."""
    found = judged["non_inferior"]
    said = "worse than the adapter" if found["verdict"] == "inferior" else "not known to be as good as the adapter"
    return f"{said} at a margin of {found['margin']:.2f} ({found['reason']})"


def parity(stage: StageRun, types: Iterable[str]) -> dict[str, Any]:
    """What was compared of the prompts' token ids (the base's template, the GGUF's, the Modelfile's).

    Raises StageFailed with the first token that differs, BadInput where num_ctx has no room for prompt and answer.
    """
    from bbjspec.stages import models
    from bbjspec.stages.parity import check

    hub.go_offline()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    tokenizer, sampling = models.load_tokenizer(stage, "left"), stage.config["sampling"]
    prompts, num_ctx = load_prompts(stage.sources["prompts"]), stage.config["ollama"]["num_ctx"]
    found: dict[str, Any] = {}
    for name in types:  # each file has a vocabulary and a template of its own
        found = check(tokenizer, stage.input("gguf") / "gguf" / f"{name}.gguf", prompts, sampling, num_ctx)
    return found


def _write_modelfile(stage: StageRun, name: str) -> None:
    from bbjspec.stages.modelfile import modelfile

    config, (template,) = stage.config, stage.sources["template"]
    shown, num_ctx = template.relative_to(stage.root).as_posix(), config["ollama"]["num_ctx"]
    text = modelfile(template, shown, f"{name}.gguf", config["sampling"], num_ctx, licence=config["licence"])
    target = stage.directory / "release" / f"Modelfile.{name}"
    target.parent.mkdir(exist_ok=True)
    target.write_text(text, encoding="utf-8", newline="\n")


def commands(model: str, name: str) -> list[list[str]]:
    """What makes Ollama serve a type, and asks it something."""
    return [["ollama", "create", model, "-f", f"Modelfile.{name}"], ["ollama", "run", model, SMOKE]]


def create(stage: StageRun, models: Mapping[str, str]) -> list[str]:
    """Create the released models in Ollama and ask each the smoke prompt; the names of those that answered.

    None without the binary: the commands are in export.json then. Raises EnvironmentLacks when Ollama refuses,
    StageFailed for an empty answer.
    """
    if models and shutil.which("ollama") is None:
        stage.log.info("ollama is not on PATH: nothing is created; export.json and the card have the commands")
        return []
    for name, model in models.items():
        where = stage.work / name
        shutil.rmtree(where, ignore_errors=True)
        where.mkdir()
        (where / f"{name}.gguf").symlink_to((stage.input("gguf") / "gguf" / f"{name}.gguf").resolve())
        shutil.copyfile(stage.directory / "release" / f"Modelfile.{name}", where / f"Modelfile.{name}")
        make, ask = commands(model, name)
        _ollama(make, where)
        answer = _ollama(ask, where)
        if not answer.strip():
            raise StageFailed(f"release: {model} answers nothing to “{SMOKE}”; see ollama's own log")
        stage.log.info("%s answers: %s", model, " ".join(answer.split())[:200])
    return list(models.values())


def _ollama(command: list[str], where: Path) -> str:
    try:
        done = subprocess.run(
            command, cwd=where, capture_output=True, text=True, timeout=SMOKE_S, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        said = f"no end after {SMOKE_S} s" if isinstance(error, subprocess.TimeoutExpired) else str(error.strerror)
        raise EnvironmentLacks(_refused(command, said)) from error
    if done.returncode:
        raise EnvironmentLacks(_refused(command, (done.stderr.strip().splitlines() or ["no reason given"])[-1]))
    return done.stdout


def _refused(command: Sequence[str], said: str) -> str:
    what = " ".join(command[:2])
    return f"release: {what}: {said}; start Ollama and run again, or write export.ollama.create: false"


def _side(stage: StageRun, role: str) -> Side:
    directory = stage.input(role)
    try:
        return read_side(role.removesuffix("_score"), directory / "results.json", directory / "scores.jsonl")
    except ValueError as error:
        raise StageFailed(f"release: {error}; remove that stage's directory and run again") from error


def _read(stage: StageRun, role: str, name: str) -> dict[str, Any]:
    document = read_json(stage.input(role) / name)
    if not isinstance(document, dict):
        raise StageFailed(f"release: {name} of {role} is not readable; remove build/{role} and run again")
    return document
