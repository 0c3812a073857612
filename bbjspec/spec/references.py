"""`eval.references`: other models that answer the same suite. They stand in the card and decide nothing."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Discriminator, Field, Tag, field_validator

from bbjspec.spec.base import Section, told
from bbjspec.spec.names import MEANT, is_name

TAKEN = ("base", "few_shot", "tuned")  # what the plan and the card call those that decide
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NAMED = "Its name in the plan, the card and references/."


def _good_name(name: str) -> str:
    if not is_name(name):
        raise ValueError(f"{name!r} is not a reference's name: {MEANT}")
    if name in TAKEN:
        raise ValueError(f"{name} is what the plan calls one of those that decide; write another name")
    return name


class ServerReference(Section):
    """A model behind an OpenAI-compatible chat server: Ollama, vLLM, llama.cpp's."""

    name: str = Field(max_length=60, description=_NAMED)
    server: str = Field(
        min_length=1,
        max_length=500,
        description="The server's URL up to /v1; where it runs is no part of a result.",
    )
    model: str = Field(min_length=1, max_length=200, description="The model's name on the server.")
    digest: str | None = Field(
        None,
        pattern=r"^sha256:[0-9a-f]{64}$",
        description="The model's digest as Ollama reports it (`curl URL/api/tags`); another one is refused.",
        json_schema_extra=told(why="Most servers report none: the result is then volatile, and never adopted."),
    )
    concurrency: int = Field(
        4,
        ge=1,
        le=256,
        description="Requests at once.",
        json_schema_extra=told(unit="requests", why="Ollama's own default of parallel requests."),
    )
    timeout: float = Field(
        120.0,
        gt=0,
        le=86_400,
        description="How long one answer may take.",
        json_schema_extra=told(unit="seconds", why="1,024 tokens at 10 a second, rounded up."),
    )
    api_key_env: str | None = Field(
        None,
        max_length=100,
        description="The environment variable that holds the server's key.",
        json_schema_extra=told(why="OPENAI_API_KEY is taken where it is set; servers at home need none."),
    )

    _named = field_validator("name")(_good_name)

    @field_validator("timeout", mode="before")
    @classmethod
    def _seconds(cls, value: object) -> object:
        """`timeout: 120` is 120.0."""
        return float(value) if type(value) is int and abs(value) < 2**53 else value

    @field_validator("server")
    @classmethod
    def _url(cls, server: str) -> str:
        try:
            parts = urlsplit(server)
            usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
        except ValueError:
            usable = False
        if not usable or not server.isprintable() or " " in server:
            raise ValueError("no server's URL; write one such as http://127.0.0.1:11434/v1")
        if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
            raise ValueError("the address alone is meant; a key belongs into the variable that api_key_env names")
        return server.rstrip("/")

    @field_validator("api_key_env")
    @classmethod
    def _variable(cls, name: str | None) -> str | None:
        if name is not None and not _VARIABLE.fullmatch(name):
            raise ValueError("the name of an environment variable is meant, such as OPENAI_API_KEY, not the key")
        return name


class GgufReference(Section):
    """A GGUF file, run by llama.cpp in the stage itself, with the prompts as the base's template writes them."""

    name: str = Field(max_length=60, description=_NAMED)
    gguf: str = Field(
        min_length=1,
        max_length=500,
        pattern=r"\.gguf$",
        description="A GGUF file inside the project, of a model with the base's vocabulary.",
    )

    _named = field_validator("name")(_good_name)


def _which(value: Any) -> Literal["server", "gguf"] | None:
    if isinstance(value, ServerReference | GgufReference):
        return "server" if isinstance(value, ServerReference) else "gguf"
    has = [key for key in ("server", "gguf") if isinstance(value, dict) and key in value]
    return None if len(has) != 1 else "server" if has[0] == "server" else "gguf"


Reference = Annotated[
    Annotated[ServerReference, Tag("server")] | Annotated[GgufReference, Tag("gguf")],
    Discriminator(
        _which,
        custom_error_type="which_reference",
        custom_error_message="server (a URL, with model) or gguf (a file) is meant, one of the two",
    ),
]
