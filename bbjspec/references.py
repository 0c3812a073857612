"""Stages of what is evaluated beside base and tuned model: references by other back ends, which decide nothing."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata
from typing import Any

from bbjspec.errors import EnvironmentLacks
from bbjspec.spec.references import GgufReference, ServerReference
from bbjspec.stage import VOLATILE, Source, Stage


def generate_stage(
    reference: ServerReference | GgufReference,
    sampling: Mapping[str, Any],
    base: str,
    tokenizer: Stage,
    sources: Mapping[str, Source],
    resources: Mapping[str, Any],
) -> Stage:
    """The `generate` stage of one reference. `sources` are prompts, and gguf for a file.

    A server's stage is keyed by the model's name and digest: where the server runs, and how many requests it takes, are
    resources. Raises EnvironmentLacks for a GGUF where llama-cpp-python is not installed.
    """
    if isinstance(reference, ServerReference):
        config = {"backend": "openai", "model": reference.model, "digest": reference.digest or VOLATILE}
        server = {
            "url": reference.server,
            "concurrency": reference.concurrency,
            "timeout": reference.timeout,
            "api_key_env": reference.api_key_env,
        }
        own = {**resources, "gpu": 0, "server": server}
        return Stage("generate", {**config, "sampling": sampling}, {}, sources, own)
    llama_cpp = llama_cpp_version("eval.references: a GGUF")
    config = {"backend": "llama_cpp", "base": base, "gguf_sha256": sources["gguf"].sha256, "llama_cpp": llama_cpp}
    return Stage("generate", {**config, "sampling": sampling}, {"tokenizer": tokenizer}, sources, resources)


def told(reference: Mapping[str, Any]) -> dict[str, Any]:
    """What the card's digest sees of a reference in the spec: which model, not where it runs."""
    return {key: reference[key] for key in ("name", "model", "digest", "gguf") if key in reference}


def llama_cpp_version(who: str) -> str:
    """The version of llama-cpp-python that is installed. Raises EnvironmentLacks, as `who` needs it, without one."""
    try:
        return metadata.version("llama_cpp_python")
    except metadata.PackageNotFoundError as error:
        raise EnvironmentLacks(f"{who} needs llama-cpp-python; pip install llama-cpp-python") from error
