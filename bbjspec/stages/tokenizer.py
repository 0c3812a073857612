"""Stage `tokenizer`: the tokenizer and chat template alone, a few megabytes, without the weights.

Config: base, revision (Hub alone), recipe (embedded alone). Output: `tokenizer/`, what AutoTokenizer loads.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from bbjspec.data.chat import open_tokenizer, padded
from bbjspec.embedded import recipe, source_of
from bbjspec.errors import BadInput
from bbjspec.stage import StageRun
from bbjspec.stages import hub

FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "chat_template.jinja",
    "chat_template.json",
)

# The tokenizer's class can depend on config.json's model_type, so that file is looked at but is no part of the result.
_PROBE = [{"role": "user", "content": "question"}, {"role": "assistant", "content": "answer"}]


def run(stage: StageRun) -> None:
    """Make `tokenizer/`. Raises BadInput for a base that cannot be used, EnvironmentLacks without the network."""
    base, out = stage.config["base"], stage.directory / "tokenizer"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    if source_of(base) == "embedded":
        hub.go_offline()
        from bbjspec.embedded.tokenizer import build

        stage.log.info("training the byte-level BPE tokenizer of %s", base)
        build(recipe(base), out)
    else:
        source = hub.locate(base, stage.config.get("revision"), stage.root, patterns=FILES)
        found = [source / name for name in FILES if (source / name).is_file()]
        if not found:
            raise BadInput(f"{base}: no tokenizer files there; a base needs at least tokenizer.json")
        for file in found:
            shutil.copyfile(file, out / file.name)
        stage.log.info("copied %s of %s", ", ".join(file.name for file in found), base)
    check(out, base)


def check(directory: Path, base: str) -> None:
    """Refuse a tokenizer that chat training cannot use. Raises BadInput with what is wrong and what to do.

    A template without an end of turn is one: no answer would learn to end.
    """
    tokenizer = open_tokenizer(directory, base)
    if tokenizer.eos_token is None:
        raise BadInput(
            f"{base}: its tokenizer names no end-of-turn (eos) token; set it in the base's tokenizer_config.json"
        )
    padded(tokenizer, base)
    rendered = tokenizer.apply_chat_template(_PROBE, tokenize=False)
    if not rendered.rpartition("answer")[2].startswith(tokenizer.eos_token):
        raise BadInput(
            f"{base}: its chat template does not end a turn with {tokenizer.eos_token}, the tokenizer's eos token; "
            "take the instruct variant of this model"
        )
