"""Prompts as the base's chat template writes them, and the checks before a run that are about tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bbjspec.errors import StageFailed
from bbjspec.generation.base import Message, Task, conversations
from bbjspec.stage import StageRun


def rendered(stage: StageRun, tokenizer: Any, examples: Sequence[Message] = ()) -> list[Task]:
    """The prompts with text and token ids: the same for every back end that takes token ids."""
    tasks = []
    for name, messages in conversations(stage, examples):
        text, ids = encoded(tokenizer, messages)
        tasks.append(Task(name, messages, text, ids))
    return tasks


def encoded(tokenizer: Any, messages: Sequence[Message]) -> tuple[str, tuple[int, ...]]:
    """A conversation up to where the answer begins, as text and as token ids."""
    text = tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True)
    return text, tuple(tokenizer(text, add_special_tokens=False)["input_ids"])


def check_tokens(tasks: Sequence[Task], tokenizer: Any) -> dict[str, bool | None]:
    """The checks that held: at most one beginning of sequence a prompt, and an end of sequence that ends the turn.

    Raises StageFailed for one that did not.
    """
    bos = tokenizer.bos_token_id
    for task in tasks:
        if bos is not None and task.ids.count(bos) > 1:
            raise StageFailed(f"{task.id}: {task.ids.count(bos)} beginning-of-sequence tokens; the template doubles it")
    turn = [{"role": "user", "content": "question"}, {"role": "assistant", "content": "answer"}]
    after = tokenizer.apply_chat_template(turn, tokenize=False).rpartition("answer")[2]
    if not after.startswith(tokenizer.eos_token):
        raise StageFailed(
            f"the chat template ends a turn with {after[:20]!r}, not with the eos token {tokenizer.eos_token}"
        )
    return {"bos_at_most_one": True, "eos_ends_turn": True}


def finished(text: str, ended: bool, stops: Sequence[str], n_tokens: int) -> dict[str, Any]:
    """The answer in a generated text. A stop text and what follows it are cut off; `ended` is by the end of turn."""
    cut = min((at for at in (text.find(stop) for stop in stops) if at >= 0), default=-1)
    return {
        "completion": text if cut < 0 else text[:cut],
        "finish_reason": "stop" if ended or cut >= 0 else "length",
        "n_tokens": n_tokens,
    }
