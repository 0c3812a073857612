"""What a stage needs: GPU memory, GPU hours and disk, before it runs. Formulas and their sources: docs/needs.md.

Memory (`memory.py`) and disk are arithmetic over the base's architecture. Hours come from the records of earlier runs
of the same base where there are any, else from a stated rate. None stands for "unknown".
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bbjspec.architecture import Architecture, architecture
from bbjspec.embedded import source_of
from bbjspec.memory import (
    OPTIMIZER_BYTES,
    OVERHEAD_BYTES,
    generation_memory,
    gguf_bytes,
    lora_parameters,
    recomputes,
    training_memory,
    weight_bytes,
)
from bbjspec.plan import Plan
from bbjspec.stage import Stage
from bbjspec.store import read_json

GB = 1e9  # decimal, as cards and disks are sold

PEAK_FLOPS = 989e12  # bfloat16, dense, of an H100 SXM
TRAINING_SHARE = 0.30  # of that peak; 32B with checkpointing: 1,500 tokens/s
BANDWIDTH = 3.35e12  # bytes/s of an H100 SXM
GENERATION_SHARE = 0.10  # of the bandwidth bound, with bitsandbytes kernels and transformers' loop
GGUF_SHARE = 0.30  # of the bandwidth bound, by llama.cpp's own kernels, one answer at a time
STEPS_PER_S = 25.0  # what transformers' own loop reaches at best
ANSWER_SHARE = 1 / 3  # of max_new_tokens that a mean answer takes
BYTES_PER_TOKEN = 4  # of a dataset's JSON, when no split has counted


@dataclass(frozen=True)
class Need:
    """Bytes and hours that a stage is expected to take. `source` says where the hours come from."""

    gpu_memory: float | None = 0.0
    gpu_hours: float | None = 0.0
    disk: float | None = 0.0
    source: str = ""


def training_rate(arch: Architecture, *, recomputing: bool) -> float:
    """Tokens/s by the stated share of peak: 4 FLOPs a parameter and token (a frozen base has no weight gradients),
    6 where activations are computed twice."""
    return TRAINING_SHARE * PEAK_FLOPS / ((6 if recomputing else 4) * arch.parameters)


def generation_rate(arch: Architecture, config: Mapping[str, Any]) -> float:
    """Tokens/s of a whole batch: each step reads all weights once."""
    steps = min(STEPS_PER_S, GENERATION_SHARE * BANDWIDTH / weight_bytes(arch, config["model"]))
    return float(steps * config["sampling"]["batch_size"])


class Needs:
    """Estimates for the stages of one plan. Records are read when first asked for."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def of(self, stage: Stage) -> Need:
        """What the stage needs while it runs and leaves behind. Kinds that need next to nothing have a plain Need."""
        kinds = {"train": self._train, "generate": self._generate, "base": self._base, "gguf": self._gguf}
        estimate = kinds.get(stage.kind)
        return estimate(stage) if estimate else Need()

    def _gguf(self, stage: Stage) -> Need:
        """At the peak: the merged weights beside the bf16 file made of them, or that file beside all others."""
        arch = architecture(stage.config["model"]["base"], self._plan.root)
        if arch is None:
            return Need(disk=None)
        source, types = gguf_bytes(arch, "bf16"), stage.config["types"]
        made = sum(gguf_bytes(arch, kind) for kind in types if kind != "bf16")
        return Need(disk=source + max(source, made))

    def _base(self, stage: Stage) -> Need:
        arch, base = architecture(stage.config["base"], self._plan.root), stage.config["base"]
        if source_of(base) == "local":
            return Need()
        if arch is None:
            return Need(disk=None)
        return Need(disk=float(arch.parameters * (4 if stage.config["recipe"] else 2)))

    def _train(self, stage: Stage) -> Need:
        model, lora, training = (stage.config[name] for name in ("model", "lora", "training"))
        arch = architecture(model["base"], self._plan.root)
        if arch is None:
            return self._unknown(stage)
        parameters = lora_parameters(arch, lora)
        checkpoint = parameters * (4 + OPTIMIZER_BYTES[training["optim"]])
        run = stage.resources["training"]
        disk = float(parameters * 2 + checkpoint * (run["save_total_limit"] + 1))
        if not stage.resources.get("gpu"):
            return Need(disk=disk, source="on the CPU")
        # Which card it will be is not known here: for `auto`, the least that training needs.
        run = {**run, "gradient_checkpointing": recomputes(arch, stage.config, run, None)}
        rate, source = self._rate("train", model, None) or (
            training_rate(arch, recomputing=run["gradient_checkpointing"]),
            "stated rate",
        )
        tokens = self._training_tokens(stage)
        hours = tokens / rate / 3600 if tokens is not None else None
        return Need(training_memory(arch, stage.config, run).total, hours, disk, source)

    def _generate(self, stage: Stage) -> Need:
        sampling = stage.config["sampling"]
        if stage.config.get("backend", "transformers") != "transformers":
            return self._reference(stage)
        model = stage.config["model"]
        arch = architecture(model["base"], self._plan.root)
        record = self._rate("generate", model, sampling["batch_size"])
        tokens, disk = self._answers(stage)
        if not stage.resources.get("gpu"):
            return Need(disk=disk, source="on the CPU")
        if arch is None:
            return Need(
                None, tokens / record[0] / 3600 if record else None, disk, record[1] if record else "unknown base"
            )
        rate, source = record or (generation_rate(arch, stage.config), "stated rate")
        lora = stage.inputs["train"].config["lora"] if "train" in stage.inputs else None
        return Need(generation_memory(arch, stage.config, lora).total, tokens / rate / 3600, disk, source)

    def _answers(self, stage: Stage) -> tuple[float, float]:
        """Tokens that will be generated, and the bytes of their rows."""
        sampling = stage.config["sampling"]
        samples = self._prompts(stage) * sampling["n"]
        tokens = samples * max(1.0, sampling["max_new_tokens"] * ANSWER_SHARE)
        return tokens, tokens * BYTES_PER_TOKEN + samples * 1200  # a row repeats its sampling block

    def _reference(self, stage: Stage) -> Need:
        """A server needs nothing here; a GGUF on the GPU is as large as its file, which every token reads."""
        tokens, disk = self._answers(stage)
        if stage.config["backend"] == "openai":
            return Need(disk=disk, source="on a server")
        if not stage.resources.get("gpu"):
            return Need(disk=disk, source="on the CPU")
        if "gguf" in stage.inputs:
            arch = architecture(stage.config["base"], self._plan.root)
            if arch is None:
                return Need(None, None, disk, "unknown base")
            size = gguf_bytes(arch, stage.config["gguf"])
        else:
            size = float(sum((self._plan.root / name).stat().st_size for name in stage.sources["gguf"].files))
        return Need(size + OVERHEAD_BYTES, tokens * size / (GGUF_SHARE * BANDWIDTH) / 3600, disk, "stated rate")

    def _unknown(self, stage: Stage) -> Need:
        if not stage.resources.get("gpu"):
            return Need(disk=None, source="on the CPU")
        record, tokens = self._rate("train", stage.config["model"], None), self._training_tokens(stage)
        hours = tokens / record[0] / 3600 if record and tokens is not None else None
        return Need(None, hours, None, record[1] if record and hours is not None else "unknown base")

    def _training_tokens(self, stage: Stage) -> float | None:
        """Tokens that training will see, its evaluations (a third of the work a token) counted in."""
        training, split = stage.config["training"], stage.inputs["split"]
        rows, tokens, held = self._counted(split)
        if not rows:
            return None
        steps = math.ceil(rows / training["global_train_batch_size"]) * training["num_train_epochs"]
        seen = tokens * training["num_train_epochs"]
        if training["max_steps"]:
            steps, seen = (
                training["max_steps"],
                training["max_steps"] * training["global_train_batch_size"] * tokens / rows,
            )
        return float(seen + steps / training["eval_steps"] * held / 3)

    def _counted(self, split: Stage) -> tuple[float, float, float]:
        """Training rows, their tokens, and the tokens held out: as a split has counted, else by the dataset's size."""
        ledger = read_json(self._plan.root / split.directory / "ledger.json")
        if isinstance(ledger, dict) and isinstance(ledger.get("train"), dict) and isinstance(ledger.get("val"), dict):
            return ledger["train"]["rows"], ledger["train"]["tokens"], ledger["val"]["tokens"]
        size, lines = self._measure(split.sources["dataset"].files)
        share = float(split.config.get("val_size", 0))
        return lines * (1 - share), size / BYTES_PER_TOKEN * (1 - share), size / BYTES_PER_TOKEN * share

    def _prompts(self, stage: Stage) -> int:
        return self._measure(stage.sources["prompts"].files)[1]

    @functools.cache  # noqa: B019  lives as long as one command
    def _measure(self, files: tuple[str, ...]) -> tuple[int, int]:
        """Bytes and lines of JSONL files."""
        size = lines = 0
        for name in files:
            try:
                data = (self._plan.root / name).read_bytes()
            except OSError:
                continue
            size, lines = size + len(data), lines + sum(bool(line.strip()) for line in data.splitlines())
        return size, lines

    def _rate(self, kind: str, model: Mapping[str, Any], batch: int | None) -> tuple[float, str] | None:
        """Tokens/s of the last like run on a GPU that left a record, and which one it was."""
        wanted = (model["base"], model["load_in_4bit"], batch)
        found = [(where, rate) for key, where, rate in self._records(kind) if key == wanted]
        return (found[-1][1], f"record of {found[-1][0]}") if found else None

    @functools.cache  # noqa: B019
    def _records(self, kind: str) -> tuple[tuple[tuple[Any, ...], str, float], ...]:
        name = {"train": "training_config.json", "generate": "generation_record.json"}[kind]
        root = self._plan.root
        paths = [*root.glob(f"build/{kind}/*/{name}")]
        for pattern in (f"adapters/*/{name}", *((f"eval/baselines/*/*/{name}",) if kind == "generate" else ())):
            paths += root.glob(pattern)
        found = []
        for path in sorted(paths):
            record = read_json(path)
            key = _key(kind, record) if isinstance(record, dict) else None
            if key and isinstance(record.get("tokens_per_s"), int | float) and record["tokens_per_s"] > 0:
                card = record.get("card")
                where = path.parent.relative_to(root).as_posix() + (f" on {card}" if isinstance(card, str) else "")
                ways = record.get("ways")
                gpus = ways.get("processes", 1) if isinstance(ways, dict) else 1
                found.append((key, where, record["tokens_per_s"] / max(1, gpus)))  # hours are a GPU's
        return tuple(found)


def _key(kind: str, record: Mapping[str, Any]) -> tuple[Any, ...] | None:
    """What a rate depends on; None for a record of a CPU, or one that cannot be read."""
    try:
        if kind == "train":
            model = record["config"]["model"]
            return None if record["resolved"]["use_cpu"] else (model["base"], model["load_in_4bit"], None)
        if not record["device"].startswith("cuda"):
            return None
        four = str(record["model"]["quantization"]).startswith("nf4")
        return record["model"]["base"], four, record["batch_size_used"]
    except (KeyError, TypeError, AttributeError):
        return None


def total(needs: list[Need]) -> Need:
    """Of stages that run one after another: the highest memory, all hours, all disk. Unknown makes unknown."""

    def combined(values: list[float | None], combine: Any) -> float | None:
        return None if None in values else float(combine(values or [0.0]))

    return Need(
        combined([need.gpu_memory for need in needs], max),
        combined([need.gpu_hours for need in needs], sum),
        combined([need.disk for need in needs], sum),
        ", ".join(sorted({need.source for need in needs if need.source})),
    )


def as_json(need: Need) -> dict[str, Any]:
    """GB (decimal) and hours, rounded to what an estimate can say."""

    def rounded(value: float | None, unit: float) -> float | None:
        return None if value is None else float(f"{value / unit:.3g}")

    return {
        "gpu_memory_gb": rounded(need.gpu_memory, GB),
        "gpu_hours": rounded(need.gpu_hours, 1),
        "disk_gb": rounded(need.disk, GB),
        "source": need.source,
    }


__all__ = ["GB", "Need", "Needs", "as_json", "total"]
