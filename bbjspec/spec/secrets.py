"""Secrets that somebody wrote into a spec: found, refused, and never repeated in a message."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from bbjspec.redact import holds_token

REFUSAL = (
    "a secret has no place in a spec, which everybody can read; take it out, revoke it if it was committed, and set it "
    "in the environment (HF_TOKEN, for one)"
)

# A tokenizer's pad_token and its like are no secrets.
_NAME = re.compile(
    r"(?!.*(?:pad|eos|bos|unk|sep|cls|mask|stop|image|special)_token)(?:.*_)?(?:token|password|passwd|passphrase|secret|secrets|api_?key|access_?key|secret_?key|private_?key|"
    r"credentials?|auth)",
    re.IGNORECASE,
)


def find(value: Any, at: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The places of all secrets in a tree of dicts and lists: fields named so, and values that look so."""
    if isinstance(value, dict):
        for key, child in value.items():
            here = (*at, key)
            named = at != ("data", "filters", "where") and _NAME.fullmatch(
                key.replace("-", "_")
            )  # there keys are the dataset's
            if holds_token(key) or (named and child is not None):
                yield here
            else:
                yield from find(child, here)
    elif isinstance(value, list):
        for index, child in enumerate(value):
            yield from find(child, (*at, index))
    elif isinstance(value, str) and holds_token(value):
        yield at
