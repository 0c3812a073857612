"""The back end `transformers`: the base, with or without an adapter, in this process. The one that decides.

Config: model, sampling, adapter, and few_shot {n} for the baseline that is shown examples. Inputs: base, tokenizer
[, train][, split]. Weights are safetensors, which transformers maps into memory and reads tensor by tensor.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from bbjspec.digest import sha256_file
from bbjspec.errors import StageFailed
from bbjspec.generation.base import Answer, Message, Task
from bbjspec.generation.few_shot import examples
from bbjspec.generation.prompts import check_tokens, rendered
from bbjspec.memory import Estimate, Estimator, generation_memory
from bbjspec.stage import StageRun
from bbjspec.stages import devices, models
from bbjspec.stages.sampler import Sampler

PREFLIGHT_TOKENS = 48  # greedy texts are compared over so many tokens
LIBRARIES = ("torch", "transformers", "peft", "bitsandbytes", "tokenizers")


class Transformers:
    """A loaded model, its prompts, and the batch size that the preflight left."""

    name = "transformers"
    workers = 1

    def __init__(self, stage: StageRun) -> None:
        models.prepare(stage, at_most=1)
        sampling = stage.config["sampling"]
        tokenizer = models.load_tokenizer(stage, "left")
        shown, self._examples = _examples(stage)
        self.tasks: Sequence[Task] = rendered(stage, tokenizer, shown)
        held = check_tokens(self.tasks, tokenizer)
        adapter = stage.input("train") / "adapter" if stage.config["adapter"] else None
        self._stage = stage
        self._check_memory()
        began = time.monotonic()
        with self._memory_told("loading the base"):
            model = models.load_base(stage, stage.config["model"])
            _check_context(model, self.tasks, stage)
            if adapter:
                model = models.add_adapter(model, adapter)
        self._load_time = time.monotonic() - began
        self._sampler = Sampler(model, tokenizer, sampling)
        size = int(sampling["batch_size"])
        with self._memory_told("the preflight"):
            agree = greedy_agrees(self._sampler, self.tasks, size)
        if not agree:
            stage.log.warning("greedy texts at batch 1 and %d differ: going on at batch 1", size)
        self.preflight: Mapping[str, bool | None] = {
            **held,
            "greedy_same_at_batch_1_and_n": agree,
            "fell_back_to_batch_1": not agree,
        }
        self.batch_size = size if agree else 1
        self.model: Mapping[str, Any] = {
            "base": stage.config["model"]["base"],
            "revision": stage.config["model"]["revision"],
            "adapter_sha256": sha256_file(adapter / "adapter_model.safetensors") if adapter else None,
            "quantization": models.quantization(stage.config["model"]),
        }

    def sample(self, batch: Sequence[Task], seed: int) -> list[Answer]:
        """The batch's answers, drawn together."""
        with self._memory_told(f"the batch of {batch[0].id}"):
            return self._sampler.sample([task.ids for task in batch], seed)

    def _check_memory(self) -> None:
        """Raise EnvironmentLacks, before anything is loaded, for a device that is too small by the estimate."""
        config, gpu = self._stage.config, models.gpus(self._stage) > 0
        models.device(self._stage)
        self._estimator: Estimator | None = None
        if arch := models.architecture(self._stage):
            lora = _lora(self._stage) if config["adapter"] else None
            longest = max(len(task.ids) for task in self.tasks)

            def estimate(config: Mapping[str, Any], _: Mapping[str, Any]) -> Estimate:
                return generation_memory(arch, config, lora, prompt_tokens=longest, gpu=gpu)

            self._estimator = estimate
            devices.require(estimate, devices.memory(int(gpu)), config, {}, config["model"]["base"])

    @contextmanager
    def _memory_told(self, at: str) -> Iterator[None]:
        """Raise EnvironmentLacks with the numbers, and what to change, where memory runs out."""
        try:
            yield
        except (RuntimeError, MemoryError) as error:
            if not devices.is_out_of_memory(error):
                raise
            now = devices.memory(min(1, models.gpus(self._stage)), now=True)
            raise devices.out_of_memory(error, at, now, self._estimator, self._stage.config, {}) from error

    def close(self) -> None:
        """Nothing to do: Python frees the model."""

    def record(self) -> dict[str, Any]:
        """Where it ran, how long loading took, what it needed."""
        return {
            "dtype": self._stage.config["model"]["dtype"],
            "device": models.device(self._stage),
            "card": models.card(self._stage),
            "load_time_s": round(self._load_time, 2),
            "peak_memory": models.peak_memory(),
            "versions": models.versions(*LIBRARIES),
            **({"few_shot": self._examples} if self._examples else {}),
        }


def open(stage: StageRun) -> Transformers:
    """Load the stage's model. Raises StageFailed when the preflight finds a fault."""
    return Transformers(stage)


def greedy_agrees(sampler: Sampler, tasks: Sequence[Task], size: int) -> bool:
    """Whether the shortest, middle and longest prompt get the same greedy text alone and in a batch of `size`."""
    ordered = sorted(tasks, key=lambda task: (len(task.ids), task.id))
    chosen = [ordered[0].ids, ordered[len(ordered) // 2].ids, ordered[-1].ids]
    if size == 1:
        return True
    alone = [sampler.greedy([ids], PREFLIGHT_TOKENS)[0] for ids in chosen]
    mixed: list[list[int]] = []
    for start in range(0, len(chosen), size):
        rows = [chosen[(start + i) % len(chosen)] for i in range(size)]
        mixed += sampler.greedy(rows, PREFLIGHT_TOKENS)[: len(chosen) - start]
    return alone == mixed[: len(chosen)]


def _examples(stage: StageRun) -> tuple[list[Message], list[str]]:
    """The turns before each prompt and the ids of their rows; none but for the few-shot baseline."""
    few_shot = stage.config.get("few_shot")
    return examples(stage, int(few_shot["n"])) if few_shot else ([], [])


def _lora(stage: StageRun) -> Mapping[str, Any]:
    """The adapter's rank and modules, as PEFT has written them."""
    return dict(json.loads((stage.input("train") / "adapter/adapter_config.json").read_text(encoding="utf-8")))


def _check_context(model: Any, tasks: Sequence[Task], stage: StageRun) -> None:
    """Examples make prompts long. Raises StageFailed where one no longer leaves room for an answer."""
    room = getattr(model.config, "max_position_embeddings", None)
    needed = max(len(task.ids) for task in tasks) + int(stage.config["sampling"]["max_new_tokens"])
    if stage.config.get("few_shot") and room is not None and needed > room:
        raise StageFailed(
            f"eval.few_shot: prompt and answer take up to {needed} tokens, more than the {room} of this base; "
            "write fewer examples"
        )
