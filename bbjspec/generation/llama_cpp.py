"""The back end `llama_cpp`: a GGUF file by llama-cpp-python, in this process. It decides nothing about the adapter.

Config: base (for messages), llama_cpp (its version), sampling. Input: tokenizer, the base's. The file is either a
reference, with gguf_sha256 in the config and the source gguf, or our own of the input gguf, whose type is config gguf.
Prompts are the token ids that the base's template gives, so the file must have the base's vocabulary: each prompt is
tokenized by llama.cpp too, and both must be equal. Samples are made one after another, each from an empty cache: what
was generated before changes nothing. llama.cpp maps the file into memory.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bbjspec.errors import BadInput, StageFailed
from bbjspec.generation.base import Answer, Task
from bbjspec.generation.prompts import check_tokens, finished, rendered
from bbjspec.stage import StageRun
from bbjspec.stages import models
from bbjspec.store import read_json

PROMPT_BATCH = 512  # prompt tokens evaluated at once: fixed, since it can change the last bits of a logit
LIBRARIES = ("llama_cpp_python", "transformers", "tokenizers", "numpy")


class LlamaCpp:
    """A loaded GGUF and its prompts."""

    name = "llama_cpp"
    workers = 1
    batch_size = 1  # llama-cpp-python makes one answer at a time

    def __init__(self, stage: StageRun) -> None:
        models.prepare(stage, at_most=1)
        installed = models.versions("llama_cpp_python")["llama_cpp_python"]
        if installed != stage.config["llama_cpp"]:
            raise StageFailed(
                f"planned for llama-cpp-python {stage.config['llama_cpp']}, but {installed} is installed; plan again"
            )
        self._block = stage.config["sampling"]
        self._stops = [str(text) for text in self._block["stop"]]
        self._tokenizer = models.load_tokenizer(stage, "left")
        self.tasks: Sequence[Task] = rendered(stage, self._tokenizer)
        held = check_tokens(self.tasks, self._tokenizer)
        began = time.monotonic()
        file, self.model = _file(stage)
        if "gguf" in stage.sources:
            check_file(file)
        self._gpu = models.gpus(stage) > 0
        context = max(len(task.ids) for task in self.tasks) + int(self._block["max_new_tokens"])
        self._llama = _load(str(file), context, gpu=self._gpu)
        self._load_time = time.monotonic() - began
        try:
            check_vocabulary(self._llama, self.tasks, self._tokenizer, str(stage.config["base"]))
        except BadInput:
            self.close()
            raise
        self.preflight: Mapping[str, bool | None] = {
            **held,
            "greedy_same_at_batch_1_and_n": None,  # no two are ever made together
            "fell_back_to_batch_1": None,
        }
        self.model = {**self.model, "quantization": _file_type(self._llama)}

    def sample(self, batch: Sequence[Task], seed: int) -> list[Answer]:
        """The answers, each by itself; the samples of a batch have seeds of their own."""
        return [self._one(task.ids, (seed + at) % 2**32) for at, task in enumerate(batch)]

    def _one(self, prompt: Sequence[int], seed: int) -> Answer:
        made: list[int] = []
        for token in self._tokens(prompt, self._block, seed):
            made.append(token)
            if self._stops and any(stop in self._decoded(made) for stop in self._stops):
                break
        ended = made[-1:] == [self._tokenizer.eos_token_id]
        return finished(self._decoded(made[:-1] if ended else made), ended, self._stops, len(made))

    def greedy(self, prompt: Sequence[int], limit: int) -> list[int]:
        """The most likely continuation as token ids, at most `limit` of them, with the end of turn."""
        return list(self._tokens(prompt, {**self._block, "temperature": 0.0, "max_new_tokens": limit}, 0))

    def _tokens(self, prompt: Sequence[int], block: Mapping[str, Any], seed: int) -> Iterator[int]:
        """New tokens up to and with the end of turn, at most `max_new_tokens`."""
        import llama_cpp

        self._llama.reset()
        self._llama.eval(list(prompt))
        chain = sampler_chain(block, seed, prompt)
        try:
            for at in range(block["max_new_tokens"]):
                token = int(llama_cpp.llama_sampler_sample(chain, self._llama.ctx, -1))
                yield token
                if token == self._tokenizer.eos_token_id or at + 1 == block["max_new_tokens"]:
                    return
                self._llama.eval([token])
        finally:
            llama_cpp.llama_sampler_free(chain)

    def _decoded(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(list(ids), clean_up_tokenization_spaces=False))

    def close(self) -> None:
        """Free the model: when the interpreter ends it is too late, and llama-cpp-python says so with a traceback."""
        self._llama.close()

    def record(self) -> dict[str, Any]:
        """Where it ran, how long loading took, and what llama.cpp says of the file."""
        known = ("general.architecture", "general.name", "general.file_type", "general.quantized_by")
        return {
            "dtype": None,
            "device": "cuda:0" if self._gpu else "cpu",
            "load_time_s": round(self._load_time, 2),
            "gguf": {key: self._llama.metadata[key] for key in known if key in self._llama.metadata},
            "versions": models.versions(*LIBRARIES),
        }


def open(stage: StageRun) -> LlamaCpp:
    """Load the stage's GGUF. Raises BadInput for a file that is none, or that has another vocabulary."""
    return LlamaCpp(stage)


def sampler_chain(block: Mapping[str, Any], seed: int, prompt: Sequence[int]) -> Any:
    """llama.cpp's samplers for the whole block, in the order in which transformers applies it: penalty, temperature,
    top_k, top_p, min_p. (llama-cpp-python's own chain cuts by top_p before the temperature; its defaults are top_k 40
    and min_p 0.05.) The caller frees it."""
    import llama_cpp as api

    chain = api.llama_sampler_chain_init(api.llama_sampler_chain_default_params())
    if block["repetition_penalty"] != 1:
        penalty = float(block["repetition_penalty"])
        api.llama_sampler_chain_add(chain, api.llama_sampler_init_penalties(-1, penalty, 0.0, 0.0))
    if block["temperature"] == 0:
        api.llama_sampler_chain_add(chain, api.llama_sampler_init_greedy())
    else:
        api.llama_sampler_chain_add(chain, api.llama_sampler_init_temp(float(block["temperature"])))
        if block["top_k"] > 0:
            api.llama_sampler_chain_add(chain, api.llama_sampler_init_top_k(int(block["top_k"])))
        if block["top_p"] < 1:
            api.llama_sampler_chain_add(chain, api.llama_sampler_init_top_p(float(block["top_p"]), 1))
        if block["min_p"] > 0:
            api.llama_sampler_chain_add(chain, api.llama_sampler_init_min_p(float(block["min_p"]), 1))
        api.llama_sampler_chain_add(chain, api.llama_sampler_init_dist(seed))
    for token in prompt if block["repetition_penalty"] != 1 else ():
        api.llama_sampler_accept(chain, token)  # transformers counts the prompt's tokens as repeated too
    return chain


def check_vocabulary(llama: Any, tasks: Sequence[Task], tokenizer: Any, base: str) -> None:
    """Raise BadInput when the file splits a prompt, or ends a turn, otherwise than the base's tokenizer does."""
    if llama.token_eos() != tokenizer.eos_token_id:
        raise BadInput(
            f"the GGUF ends a turn with token {llama.token_eos()}, {base} with {tokenizer.eos_token_id}; "
            "take a file that was converted from that base, or from a model tuned on it"
        )
    for task in tasks:
        ids = tuple(llama.tokenize(task.text.encode(), add_bos=False, special=True))
        if ids != task.ids:
            raise BadInput(
                f"{task.id}: the GGUF makes {len(ids)} tokens of this prompt, {base} makes {len(task.ids)}, or others; "
                "take a file that was converted from that base, or from a model tuned on it"
            )


def _file(stage: StageRun) -> tuple[Path, Mapping[str, Any]]:
    """The GGUF, and which model it is. Raises StageFailed for a type that was not made."""
    if "gguf" not in stage.config:
        (file,) = stage.sources["gguf"]
        sha256, base, adapter = stage.config["gguf_sha256"], file.name, None
    else:
        made, name = read_json(stage.input("gguf") / "gguf.json"), stage.config["gguf"]
        if name not in made["files"]:
            raise StageFailed(f"no GGUF of type {name} was made, but {', '.join(made['files'])}; plan again")
        file, sha256 = stage.input("gguf") / made["files"][name]["file"], made["files"][name]["sha256"]
        base, adapter = made["base"], made["adapter_sha256"]
    return file, {"base": base, "revision": None, "adapter_sha256": adapter, "gguf_sha256": sha256}


# Without the copies that it makes for speed, loading only maps the file, whatever its size.
_CHILD = """
import sys, llama_cpp
parameters = llama_cpp.llama_model_default_params()
parameters.n_gpu_layers, parameters.use_extra_bufts = 0, False
llama_cpp.llama_backend_init()
sys.exit(0 if llama_cpp.llama_model_load_from_file(sys.argv[1].encode(), parameters) else 1)
"""


def check_file(file: Path) -> None:
    """Load somebody's file in a process of its own first: llama.cpp ends its process, and says nothing that a person
    can use, where a file claims what it did not expect. Raises BadInput then; what it refuses in words `_load` tells.
    """
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, str(file)],
        env={**os.environ, "GGML_NO_BACKTRACE": "1"},  # it would start a debugger
        capture_output=True,
        text=True,
        errors="replace",
    )
    if done.returncode < 0:
        said = next(
            (line.rpartition("/")[2] for line in done.stderr.splitlines() if "ASSERT" in line), "it says not why"
        )
        raise BadInput(f"{file.name}: llama.cpp breaks off over it ({said}); the file is damaged, fetch it again")


def _load(file: str, context: int, *, gpu: bool) -> Any:
    import llama_cpp

    try:
        return llama_cpp.Llama(
            model_path=file,
            n_ctx=context,
            n_batch=PROMPT_BATCH,
            n_threads=os.cpu_count(),
            n_threads_batch=os.cpu_count(),
            n_gpu_layers=-1 if gpu else 0,
            use_mmap=True,
            verbose=False,
        )
    except (ValueError, RuntimeError, OSError) as error:
        name = file.rpartition("/")[2]
        raise BadInput(
            f"{name}: llama.cpp cannot load it ({' '.join(str(error).split()).replace(file, name)})"
        ) from error


def _file_type(llama: Any) -> str:
    """The file's quantization as llama.cpp calls it, such as Q4_K_M."""
    import llama_cpp

    number = str(llama.metadata.get("general.file_type", ""))
    names: dict[str, str] = {
        str(value): name.removeprefix("LLAMA_FTYPE_").removeprefix("ALL_").removeprefix("MOSTLY_")
        for name, value in vars(llama_cpp).items()
        if name.startswith("LLAMA_FTYPE_") and isinstance(value, int)
    }
    return names.get(number) or (f"file type {number or 'unknown'}")
