"""What has no place in training data, which a model may repeat: tokens, keys, passwords, e-mail addresses."""

from __future__ import annotations

import re

from bbjspec.redact import holds_token, without_tokens

_NAME = r"[a-z_]*(?:password|passwd|passphrase|pwd|secret|api_?key|access_?key|auth_?token)[a-z_]*"
# A password is assigned as a literal (`dbPassword$ = "…"`, `password=…;` in a connection string) or told in a sentence.
_PASSWORDS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf'\b{_NAME}[$!]?[ \t]*[=:][ \t]*"(?P<value>[^"\s]{{6,}})"',
        rf"\b{_NAME}=(?P<value>[^\s\"'`&;,()$!]{{6,}})(?=[\s\"'`&;,]|$)",
        r"\b(?:password|passwd|passphrase|pwd)[ \t]*(?:is|:)[ \t]*[\"'`]?(?P<value>[^\s\"'`(){}$]{6,})(?=[\"'`\s]|$)",
        r"://[^\s/:@\"'<>]+:(?P<value>[^\s/:@\"'<>]{4,})@",
    )
)
_PLACEHOLDER = re.compile(
    r"(?i)pass(?:word|wd)?\d{0,4}|x+|\*+|\.+|<.*>|\[.*\]|%.*%|your.*|my.*|example.*|change.?me.*|secret\d{0,3}"
)
_EMAIL = re.compile(r"[\w.+-]+@(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}")
# Domains that nobody can own (RFC 2606 and 6761).
_RESERVED = re.compile(r"(?i)@(?:.*\.)?(?:example(?:\.(?:com|net|org))?|[^.]+\.(?:example|test|invalid|localhost))$")


# What every password above has in it: most texts have none of these, and the patterns are slow.
_MAY_TELL = re.compile(r"passw|passphrase|pwd|secret|(?:api|access)_?key|auth_?token|://")


def find(text: str) -> list[str]:
    """What kinds of private things the text holds: `a token or private key`, `a password`, `an e-mail address`."""
    found = []
    if holds_token(text):
        found.append("a token or private key")
    if _MAY_TELL.search(text.lower()) and any(
        _is_password(match) for pattern in _PASSWORDS for match in pattern.finditer(text)
    ):
        found.append("a password")
    if "@" in text and any(_is_address(match) for match in _EMAIL.finditer(text)):
        found.append("an e-mail address")
    return found


def redact(text: str) -> str:
    """The text with an ellipsis in place of each of them."""
    text = without_tokens(text)
    for pattern in _PASSWORDS if _MAY_TELL.search(text.lower()) else ():
        text = pattern.sub(
            lambda match: match.group().replace(match["value"], "…") if _is_password(match) else match.group(), text
        )
    return _EMAIL.sub(lambda match: "…" if _is_address(match) else match.group(), text)


def _is_password(match: re.Match[str]) -> bool:
    """Letters and digits together, and no placeholder: words such as `mango` teach more than they betray."""
    value = match["value"].rstrip(".,;:")
    return (
        any(sign.isdigit() for sign in value)
        and any(sign.isalpha() for sign in value)
        and not _PLACEHOLDER.fullmatch(value)
    )


def _is_address(match: re.Match[str]) -> bool:
    return not _RESERVED.search(match.group())
