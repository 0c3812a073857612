"""The Modelfile by which Ollama serves a GGUF as it was evaluated, and its chat template, here and in Go.

The format: https://docs.ollama.com/modelfile; what a value may hold: Ollama's parser/parser.go.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bbjspec.errors import BadInput
from bbjspec.generation.base import Message
from bbjspec.markdown import render

OPEN, CLOSE = "<|im_start|>", "<|im_end|>"
STOP = (CLOSE, "<|endoftext|>")

# Ollama joins all system messages into .System, and takes SYSTEM's text for a conversation that has none. The block is
# there even for an empty one, as ChatML has it: without the block, Qwen's own template would speak of Alibaba Cloud.
CHAT = (
    OPEN + "system\n{{ .System }}" + CLOSE + "\n"
    '{{ range .Messages }}{{ if ne .Role "system" }}'
    + OPEN
    + "{{ .Role }}\n{{ .Content }}"
    + CLOSE
    + "\n{{ end }}{{ end }}"
    + OPEN
    + "assistant\n"
)


def rendered(messages: Sequence[Message], default: str = "") -> str:
    """What CHAT makes of a conversation whose turns alternate; `default` is SYSTEM's text."""
    if messages[0]["role"] != "system":
        messages = [{"role": "system", "content": default}, *messages]
    system = "\n\n".join(message["content"] for message in messages if message["role"] == "system")
    turns = [("system", system), *((m["role"], m["content"]) for m in messages if m["role"] != "system")]
    return "".join(f"{OPEN}{role}\n{content}{CLOSE}\n" for role, content in turns) + f"{OPEN}assistant\n"


def modelfile(
    template: Path,
    shown: str,
    gguf: str,
    sampling: Mapping[str, Any],
    num_ctx: int,
    stop: Sequence[str] = STOP,
    licence: str | None = None,
) -> str:
    """The Modelfile of the file `gguf`, which lies beside it.

    `sampling` is the whole block of the evaluation; its stop texts are added to `stop`, those that end every answer.
    `template` is templates/Modelfile.j2, `shown` its name in messages. Raises BadInput for a text that the format
    cannot hold, and for a template that fails or leaves out what was checked.
    """
    chat = quoted(CHAT, "the chat template")
    system = quoted(sampling["system_prompt"], "eval.sampling.system_prompt")
    stops = [quoted(text, "eval.sampling.stop") for text in dict.fromkeys([*stop, *sampling["stop"]])]
    values = {
        "gguf": quoted(f"./{gguf}", "the name of the GGUF"),
        "chat": chat,
        "system": system,
        "parameters": _parameters(sampling, num_ctx, stops),
        "notes": _notes(sampling),
        "licence": None if licence is None else quoted(licence, "the licence"),
    }
    text = render(template, shown, values, {})
    lost = [line for line in (f"TEMPLATE {chat}\n", f"SYSTEM {system}\n") if line not in text]
    if lost:
        name = lost[0].split()[0]
        raise BadInput(
            f"{shown}: its {name} is not the one that was checked; "
            f"write the line {name} {{{{ {'chat' if name == 'TEMPLATE' else 'system'} }}}}"
        )
    return text


def _parameters(sampling: Mapping[str, Any], num_ctx: int, stops: Sequence[str]) -> list[tuple[str, list[Any]]]:
    """(comment, [(name, value), …]): every parameter that changes an answer, also where the evaluation left it off.

    Ollama's own defaults are temperature 0.8, top_k 40, top_p 0.9 and a penalty on the last 64 tokens alone.
    """
    drawn = [
        ("temperature", float(sampling["temperature"])),
        ("top_p", float(sampling["top_p"])),
        ("top_k", int(sampling["top_k"])),
        ("min_p", float(sampling["min_p"])),
        ("repeat_penalty", float(sampling["repetition_penalty"])),
        ("repeat_last_n", -1),
        ("num_predict", int(sampling["max_new_tokens"])),
    ]
    return [
        (
            "The evaluation's sampling, whole. repeat_last_n -1: a penalty counts the whole context, as it did there.",
            drawn,
        ),
        (
            f"The evaluation's seed, {sampling['seed']}, began its series of samples; here every answer is a new one.",
            [("seed", -1)],
        ),
        (
            "What ends an answer: the end of turn, the end of text, and the evaluation's stop texts.",
            [("stop", text) for text in stops],
        ),
        ("Prompt and answer together.", [("num_ctx", num_ctx)]),
    ]


def _notes(sampling: Mapping[str, Any]) -> list[str]:
    """What a Modelfile has no parameter for, a line each."""
    notes = [
        f"No parameter: n ({sampling['n']} answers a prompt) and batch_size ({sampling['batch_size']} at once) are how "
        "the evaluation went.",
        "typical_p, presence_penalty and frequency_penalty are off there, and by Ollama's default.",
    ]
    cuts = [name for name, off in (("top_p", 1), ("min_p", 0)) if sampling[name] != off]
    if cuts and sampling["temperature"] not in (0, 1):
        notes.append(
            f"No parameter: the order. The evaluation cuts by {' and '.join(cuts)} after the temperature; llama.cpp's "
            "server, which newer versions of Ollama run, before it."
        )
    return notes


def quoted(text: str, what: str) -> str:
    """The text as the value of an instruction. Raises BadInput, naming `what`, where the format cannot hold it.

    A value in three quotation marks ends at the first line break before which three stand. There is no escape; and the
    parser drops, without a word, every character that does not print, so that what is served would differ.
    """
    for character in text:
        if not character.isprintable() and character not in "\r\n\t":
            raise BadInput(
                f"{what}: a Modelfile cannot hold the character U+{ord(character):04X}, which Ollama drops; "
                "write it without"
            )
    if re.search(r'"""[ \t]*[\r\n]', text):
        raise BadInput(
            f'{what}: a Modelfile cannot hold a line that ends with """, where Ollama takes the text to end; '
            "write it otherwise"
        )
    if re.fullmatch(r"[\w./+-]+", text, re.ASCII):
        return text
    return f'"{text}"' if not re.search(r'["\r\n]', text) else f'"""{text}"""'
