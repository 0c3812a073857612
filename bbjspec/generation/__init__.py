"""The back ends that `generate` knows. Each module's `open` loads a model, or finds a server, for one stage."""

from __future__ import annotations

from collections.abc import Callable

from bbjspec.generation import llama_cpp, openai, transformers
from bbjspec.generation.base import Answer, Backend, Message, Task, conversations, derived_seed
from bbjspec.stage import StageRun

BACKENDS: dict[str, Callable[[StageRun], Backend]] = {
    "transformers": transformers.open,
    "llama_cpp": llama_cpp.open,
    "openai": openai.open,
}

__all__ = ["BACKENDS", "Answer", "Backend", "Message", "Task", "conversations", "derived_seed"]
