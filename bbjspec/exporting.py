"""The stages of an export: GGUFs, their answers and scores, and what is released of them. None for a spec without."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from bbjspec.references import llama_cpp_version
from bbjspec.spec.export import TYPES
from bbjspec.stage import Source, Stage

MODELFILE = "templates/Modelfile.j2"
MARGIN = 0.10  # of strict compile@1: so much less than the adapter is another model


class Maker(Protocol):
    """Makes a stage, or finds its equal."""

    def __call__(
        self, kind: str, config: dict[str, Any], inputs: dict[str, Stage] | None = None, **sources: Source
    ) -> Stage:
        """The planned stage."""


def types_of(dump: Mapping[str, Any]) -> list[str]:
    """The types that a spec asks for, best first: their order in a spec makes no other files."""
    return [name for name in TYPES if name in dump["export"]["gguf"]]


def export_stages(
    make: Maker,
    dump: Mapping[str, Any],
    roles: Mapping[str, Stage],
    judging: dict[str, Any],
    sources: Mapping[str, Source],
) -> dict[str, Stage]:
    """By role: gguf, of each type `<type>_generate` and `<type>_score`, and release.

    `dump` is the spec's, `roles` has base, tokenizer, train, score and compare; `sources` are the views of the prompts
    (input, checks) and the Modelfile's template. Nothing here tells an evaluation to `gguf`: an edited prompt or gate
    never quantizes again. Raises EnvironmentLacks without llama-cpp-python.
    """
    types, export, sampling = types_of(dump), dump["export"], dump["eval"]["sampling"]
    llama_cpp = llama_cpp_version("export.gguf")
    made = {role: roles[role] for role in ("base", "tokenizer", "train")}
    settings = {
        "model": {key: value for key, value in dump["model"].items() if key != "allow_unpinned"},
        "types": types,
        "base_weights": export["base_weights"],
        "llama_cpp": llama_cpp,
        "licence": export["licence"],  # each file names it
    }
    gguf = make("gguf", settings, made)
    found, scores = {"gguf": gguf}, {}
    for name in types:
        asked = {"backend": "llama_cpp", "base": dump["model"]["base"], "gguf": name, "llama_cpp": llama_cpp}
        answers = make(
            "generate",
            {**asked, "sampling": sampling},
            {"tokenizer": roles["tokenizer"], "gguf": gguf},
            prompts=sources["input"],
        )
        scores[f"{name}_score"] = make("score", judging, {"generate": answers}, prompts=sources["checks"])
        found |= {f"{name}_generate": answers, f"{name}_score": scores[f"{name}_score"]}
    found["release"] = make(
        "release",
        {
            "gate": export["gate"],
            "types": types,
            "ollama": export["ollama"],
            "sampling": sampling,
            "licence": export["licence"],
            "margin": MARGIN,
        },
        {
            "compare": roles["compare"],
            "gguf": gguf,
            "tokenizer": roles["tokenizer"],
            "base": roles["base"],
            "tuned_score": roles["score"],
            **scores,
        },
        prompts=sources["input"],
        template=sources["modelfile"],
    )
    return found
