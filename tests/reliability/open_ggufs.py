"""Opens each GGUF of a folder as the stages do, each in a process of its own in bounded memory; prints how it ended.

A module of its own, so that what forks is small: `python -m tests.reliability.open_ggufs FOLDER`.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import llama_cpp  # noqa: F401  once, not in each process

from bbjspec.errors import BadInput
from bbjspec.generation.llama_cpp import _load
from bbjspec.stages.parity import Vocabulary

MEMORY = 3 << 30  # bytes of address space
SECONDS = 30


def ended(work: Callable[[Path], None], file: Path) -> str:
    """How the work ends: `done`, `refused`, or an exit code that is not meant to be."""
    child = os.fork()
    if child == 0:
        code = 9
        try:
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            signal.alarm(SECONDS)
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, 1)
            os.dup2(nowhere, 2)
            work(file)
            code = 0
        except BadInput as error:
            code = 1 if "\n" not in str(error) else 8
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return {0: "done", 1: "refused"}.get(code, f"exit code {code}")


def vocabulary(file: Path) -> None:
    """As the check of prompts opens it."""
    Vocabulary(file).close()


def model(file: Path) -> None:
    """As generation opens it."""
    _load(str(file), 64, gpu=False).close()


def main() -> None:
    """{file: how its vocabulary and how its model opened}."""
    os.environ["GGML_NO_BACKTRACE"] = "1"
    found = {}
    for file in sorted(Path(sys.argv[1]).iterdir()):
        found[file.name] = [ended(way, file) for way in (vocabulary, model)]
    print(json.dumps(found))


if __name__ == "__main__":
    main()
