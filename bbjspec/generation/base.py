"""What a back end is: it takes the suite's prompts in its own form, and answers batches of them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from bbjspec.digest import canonical, sha256_bytes
from bbjspec.stage import StageRun
from bbjspec.suite import load_prompts

Message = dict[str, str]  # role, content
Answer = dict[str, Any]  # completion, finish_reason (`stop` or `length`), n_tokens (None where a server counts none)


@dataclass(frozen=True)
class Task:
    """A prompt as the model is asked it. `text` and `ids` are what the base's template makes of the messages; both are
    empty where a server applies a template of its own."""

    id: str
    messages: tuple[Message, ...]
    text: str = ""
    ids: tuple[int, ...] = ()

    @property
    def prompt_hash(self) -> str:
        """SHA-256 of what the model is given: the text, or the messages where there is none."""
        return sha256_bytes(self.text.encode() if self.text else canonical(list(self.messages)))

    @property
    def length(self) -> int:
        """Tokens of the prompt, or characters where nobody has counted tokens: what batches are sorted by."""
        return len(self.ids) or sum(len(message["content"]) for message in self.messages)


class Backend(Protocol):
    """One way to get answers, opened for one stage.

    `batch_size` samples are made together, with one seed: how many can change a text. Of such batches `workers` may be
    in the works at once, which changes none. `preflight` names checks and whether they held, None where a check has no
    meaning; it is looked at after `open`, and `batch_size` is what came out of it.
    """

    name: str
    tasks: Sequence[Task]
    model: Mapping[str, Any]
    batch_size: int
    workers: int
    preflight: Mapping[str, bool | None]

    def sample(self, batch: Sequence[Task], seed: int) -> list[Answer]:
        """An answer per task. Same tasks and seed, same answers. Raises StageFailed when there is none."""

    def record(self) -> dict[str, Any]:
        """How and where it went, for generation_record.json: device, load_time_s, versions and what else there is."""

    def close(self) -> None:
        """Let go of what is held outside Python."""


def conversations(stage: StageRun, examples: Sequence[Message] = ()) -> list[tuple[str, tuple[Message, ...]]]:
    """(id, messages) of each prompt: `examples` stand before its own question. Raises BadInput for a bad suite."""
    prompts = load_prompts(list(stage.sources["prompts"]))
    system = {"role": "system", "content": str(stage.config["sampling"]["system_prompt"])}
    return [(prompt.id, (system, *examples, {"role": "user", "content": prompt.input})) for prompt in prompts]


def derived_seed(seed: int, batch: int) -> int:
    """The seed of one batch: 63 bits of the SHA-256 of `seed:batch`."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{batch}".encode()).digest()[:8], "big") >> 1
