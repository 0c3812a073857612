"""The back end `openai`: an OpenAI-compatible chat server, such as Ollama, vLLM or llama.cpp's. A reference.

Config: model (its name there), digest (`sha256:…`, or `volatile`), sampling. No inputs. Resources: server {url,
concurrency, timeout, api_key_env}, which is no part of a result. The server applies its own template to the messages.
A server's model floats under its name: only one whose digest the server reports, before and after, is a result that
others may take; any other is marked volatile.
"""

from __future__ import annotations

import os
import random
from collections.abc import Mapping, Sequence
from time import sleep
from typing import Any
from urllib.parse import urlsplit

from bbjspec.errors import BadInput, EnvironmentLacks, StageFailed
from bbjspec.generation.base import Answer, Task, conversations
from bbjspec.generation.http import Failed, request_json
from bbjspec.stage import VOLATILE, StageRun
from bbjspec.stages import models

ATTEMPTS = 6  # of one request; with the waits between them a server has about a minute to come back
FIRST_WAIT, LONGEST_WAIT = 2.0, 60.0  # seconds: doubled after each attempt
KEY = "OPENAI_API_KEY"
TAGS_TIMEOUT = 30.0


class OpenAI:
    """A server that is there and knows the model."""

    name = "openai"
    batch_size = 1  # a request an answer
    preflight: Mapping[str, bool | None] = {
        "bos_at_most_one": None,  # the server applies the template, nobody sees its tokens
        "eos_ends_turn": None,
        "greedy_same_at_batch_1_and_n": None,
        "fell_back_to_batch_1": None,
    }

    def __init__(self, stage: StageRun) -> None:
        server = stage.resources["server"]
        self._url, self._timeout = str(server["url"]).rstrip("/"), float(server["timeout"])
        self.workers = int(server["concurrency"])
        self._variable = server["api_key_env"]
        self._headers = key_header(self._variable, self._url)
        self._stage = stage
        self._name, self._digest = str(stage.config["model"]), str(stage.config["digest"])
        self.tasks: Sequence[Task] = [Task(name, messages) for name, messages in conversations(stage)]
        self._retries = 0
        self._reported = self._check_digest()
        pinned = self._digest != VOLATILE
        self.model: Mapping[str, Any] = {
            "base": self._name,
            "revision": self._digest if pinned else None,
            "adapter_sha256": None,
            "quantization": None,
            "volatile": not pinned,
        }

    def sample(self, batch: Sequence[Task], seed: int) -> list[Answer]:
        """An answer a task. Raises EnvironmentLacks for a key that is refused, StageFailed when the server gives up."""
        return [self._answer(task, (seed + at) % 2**31) for at, task in enumerate(batch)]

    def close(self) -> None:
        """Nothing to do: each request has its own connection."""

    def record(self) -> dict[str, Any]:
        """Which server it was. Raises StageFailed when it has another model by now than at the start."""
        after = self._check_digest()
        if after != self._reported:
            raise StageFailed(
                f"{self._url} changed {self._name} during the run; remove this stage's work and run again"
            )
        return {
            "dtype": None,
            "device": "server",
            "load_time_s": None,
            "server": {"url": self._url, "concurrency": self.workers, "timeout_s": self._timeout},
            "digest_reported": self._reported,
            "retries": self._retries,
            "versions": models.versions(),
        }

    def _answer(self, task: Task, seed: int) -> Answer:
        body = request_body(self._name, task, self._stage.config["sampling"], seed)
        for attempt in range(1, ATTEMPTS + 1):
            try:
                reply = request_json(f"{self._url}/chat/completions", body, self._headers, self._timeout)
                return answer_of(reply)
            except Failed as error:
                if error.status in (401, 403):
                    raise EnvironmentLacks(self._refused(error)) from error
                if not error.again:
                    raise StageFailed(f"{self._url}: {self._name}: {error}") from error
                if attempt == ATTEMPTS:
                    raise StageFailed(
                        f"infrastructure error: {self._url}: {task.id}: {error}, {ATTEMPTS} times; see to the server "
                        "and run again: what it has answered is kept"
                    ) from error
                pause = error.after if error.after is not None else FIRST_WAIT * 2 ** (attempt - 1)
                pause = min(pause, LONGEST_WAIT) * random.uniform(1, 1.25)  # not all requests at once again
                self._retries += 1
                self._stage.log.warning("%s: %s; again in %.0f s", task.id, error, pause)
                sleep(pause)
        raise AssertionError("the last attempt returns or raises")

    def _refused(self, error: Failed) -> str:
        variable = self._variable or KEY
        there = "holds another key" if self._headers else "was not sent, or is not set"
        return f"{self._url} refuses the key ({error}): the environment variable {variable} {there}"

    def _check_digest(self) -> str | None:
        """The digest that the server reports, None where it reports none. Raises BadInput when another is meant."""
        reported = self._reported_digest()
        if self._digest == VOLATILE or reported == self._digest:
            return reported
        if reported is None:
            raise BadInput(
                f"{self._url} reports no digest of {self._name} (only Ollama does, at /api/tags, for a model that it "
                "has); write digest: null, and the result is volatile"
            )
        raise BadInput(f"{self._url} has {self._name} with digest {reported}, the spec means {self._digest}")

    def _reported_digest(self) -> str | None:
        root = self._url.removesuffix("/v1")
        try:
            tags = request_json(f"{root}/api/tags", None, self._headers, min(self._timeout, TAGS_TIMEOUT))
        except Failed as error:
            if error.status is None:
                raise EnvironmentLacks(f"{self._url}: {error}; start the server, or take the reference out") from error
            if error.status in (401, 403):
                raise EnvironmentLacks(self._refused(error)) from error
            return None
        return digest_in(tags, self._name)


def open(stage: StageRun) -> OpenAI:
    """Find the stage's server. Raises EnvironmentLacks when it is not there, BadInput when it has another model."""
    return OpenAI(stage)


def request_body(model: str, task: Task, block: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """The request with the whole sampling block. What OpenAI has no name for goes by vLLM's and llama.cpp's names."""
    return {
        "model": model,
        "messages": list(task.messages),
        "n": 1,
        "stream": False,
        "temperature": float(block["temperature"]),
        "top_p": float(block["top_p"]),
        "top_k": int(block["top_k"]),
        "min_p": float(block["min_p"]),
        "repetition_penalty": float(block["repetition_penalty"]),  # vLLM
        "repeat_penalty": float(block["repetition_penalty"]),  # llama.cpp
        "frequency_penalty": 0.0,
        "presence_penalty": 0.0,
        "max_tokens": int(block["max_new_tokens"]),
        **({"stop": [str(text) for text in block["stop"]]} if block["stop"] else {}),
        "seed": seed,
    }


def answer_of(reply: Any) -> Answer:
    """The answer in a chat completion. Raises Failed for a reply without one: an empty text is no answer either, since
    servers send it when they fail."""
    try:
        (choice,) = reply["choices"]
        text, why = choice["message"]["content"], choice["finish_reason"]
    except (TypeError, KeyError, ValueError, IndexError) as error:
        raise Failed("the reply is no chat completion with one choice", status=200) from error
    if not isinstance(text, str) or not text:
        raise Failed(f"an empty answer (finish_reason {why})", status=200)
    text = text.encode("utf-8", "replace").decode()  # half a surrogate pair is no text, and cannot be written
    if why not in ("stop", "length"):
        raise Failed(f"an answer that ended by {why!r}", status=200)
    usage = reply.get("usage")
    tokens = usage.get("completion_tokens") if isinstance(usage, dict) else None
    counted = isinstance(tokens, int) and not isinstance(tokens, bool)
    return {"completion": text, "finish_reason": why, "n_tokens": tokens if counted else None}


def digest_in(tags: Any, model: str) -> str | None:
    """The digest of a model in what Ollama's /api/tags lists, as `sha256:…`; a name without a tag is `:latest`."""
    listed = tags.get("models") if isinstance(tags, dict) else None
    for entry in listed if isinstance(listed, list) else ():
        if isinstance(entry, dict) and entry.get("name") in (model, f"{model}:latest"):
            digest = entry.get("digest")
            return f"sha256:{digest.removeprefix('sha256:')}" if isinstance(digest, str) and digest else None
    return None


def key_header(variable: str | None, url: str) -> dict[str, str]:
    """The header with the key, out of the environment. Raises EnvironmentLacks when the spec's variable is not set.

    OPENAI_API_KEY, which no spec has asked for, goes to this machine itself or over an encrypted connection only.
    """
    if variable and not os.environ.get(variable, "").strip():
        raise EnvironmentLacks(f"eval.references: the environment variable {variable} is not set; it holds the key")
    parts = urlsplit(url)
    safe = parts.scheme == "https" or parts.hostname in ("localhost", "127.0.0.1", "::1")
    key = os.environ.get(variable or KEY, "").strip() if variable or safe else ""
    return {"Authorization": f"Bearer {key}"} if key else {}
