"""Secrets in text: found by the shape that issuers give them, by what this process was given, by where they stand."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from urllib.parse import quote

GONE = "***"
SHORTEST = 8  # characters of a variable's value; a shorter one stands in ordinary words too

# The prefixes that issuers give their tokens so that they can be found: Hugging Face, OpenAI and Anthropic, GitHub,
# GitLab, AWS, Slack, Google; and key files.
_TOKEN = re.compile(
    r"\bhf_[A-Za-z0-9]{8,}|\bsk-[A-Za-z0-9_-]{8,}|\bgh[opsur]_[A-Za-z0-9]{16,}|\bgithub_pat_[A-Za-z0-9_]{16,}"
    r"|\bglpat-[A-Za-z0-9_-]{16,}|\bAKIA[A-Z0-9]{12,}|\bxox[abprs]-[A-Za-z0-9-]{8,}|\bAIza[A-Za-z0-9_-]{20,}"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----"
)
# One of these is in whatever _TOKEN matches; looking for them is fifty times as fast, and most texts have none.
_MARKS = (*"hf_ sk- gho_ ghp_ ghs_ ghu_ ghr_ github_pat_ glpat- AKIA xox AIza".split(), "PRIVATE KEY")

_VARIABLE = re.compile(
    r"(?:.*_)?(?:token|password|passwd|passphrase|pass|secrets?|(?:api|access|secret|private)?_?key|credentials?|auth)"
    r"|.+_pwd",
    re.IGNORECASE,
)
_USER = re.compile(r"(?<=://)[^\s/\"'<>]+@")  # what stands before the host in a URL
_HEADER = re.compile(r"\b(Basic|Bearer) +[A-Za-z0-9+/=._~-]{8,}", re.IGNORECASE)


def holds_token(text: str) -> bool:
    """Whether something in the text looks like an issuer's token or a private key."""
    return any(mark in text for mark in _MARKS) and _TOKEN.search(text) is not None


def without_tokens(text: str, sign: str = "…") -> str:
    """The text without anything that looks like an issuer's token or a private key."""
    return _TOKEN.sub(sign, text)


def redacted(text: str, environment: Mapping[str, str] | None = None) -> str:
    """The text as a log may have it: without tokens, users and passwords in URLs, what an Authorization header says,
    and the values of environment variables that are named like secrets, also as URLs write them.

    What is short or known to nobody but the program that printed it is not found.
    """
    for value in sorted(_values(os.environ if environment is None else environment), key=len, reverse=True):
        text = text.replace(value, GONE)
    text = _USER.sub(f"{GONE}@", text) if "://" in text else text
    return without_tokens(_HEADER.sub(rf"\1 {GONE}", text), GONE)


def _values(environment: Mapping[str, str]) -> Iterator[str]:
    for name, value in environment.items():
        found = [value.strip()] if _VARIABLE.fullmatch(name) else []
        found += [user[:-1].partition(":")[2] for user in _USER.findall(value)]
        for secret in found:
            if len(secret) >= SHORTEST:
                yield from {secret, quote(secret, safe="")}
