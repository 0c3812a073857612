"""Code as spans of HTML: BBj by a small lexer of our own, a few other languages by Pygments'.

Nothing is checked here: broken code is coloured as far as its words go. Each span has one class of six: `k` keyword,
`b` built-in function, `s` string, `n` number, `c` comment, `l` label or line number.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from pygments.lexer import RegexLexer, bygroups
from pygments.lexers import get_lexer_by_name
from pygments.token import Comment, Keyword, Name, Number, String, Text

from bbjspec.bbj.tables import functions, verbs

LONGEST = 20_000  # characters that are coloured; a longer block stays plain

_BBJ = frozenset(["", "bbj", "basic", "bbx", "pro5"])
# What stands beside BBj in answers. Of Pygments' hundreds, some take minutes for text that was made to be slow.
_OTHERS = frozenset("bash css html ini java javascript js json properties python py sh sql xml yaml yml".split())
_INNER_WORDS = frozenset(
    """
    then else fi next to step wend until case default swend classend interfaceend methodend fnend extends implements
    public private protected static record recordtype from auto void and or not err end dom key tim
    """.split()
)
_CLASSES = (
    (Comment, "c"),
    (String, "s"),
    (Number, "n"),
    (Keyword, "k"),
    (Name.Builtin, "b"),
    (Name.Tag, "k"),
    (Name.Label, "l"),
)


@cache
def _keywords() -> frozenset[str]:
    return frozenset(verbs()) | _INNER_WORDS


def _name(_: Any, match: re.Match[str]) -> Iterator[tuple[int, Any, str]]:
    """A word by what the tables know of it; with a suffix it is a variable whatever it is called."""
    word, suffix, opens = match[1].lower(), match[2], match[3]
    if suffix:
        kind = Name
    elif opens is not None and word in functions():
        kind = Name.Builtin
    else:
        kind = Keyword if word in _keywords() else Name
    yield match.start(), kind, match[1] + suffix


class BBjLexer(RegexLexer):  # type: ignore[misc]
    """BBj by its words alone."""

    name = "BBj"
    flags = re.IGNORECASE | re.MULTILINE
    tokens = {  # noqa: RUF012 -- as Pygments has it
        "root": [
            (r"(^[ \t]*\d+)(?=[ \t:])", Name.Label),
            (r"(?<![\w.#])rem(?![\w$%@]|!?[ \t]{0,40}[=.\[(])[^\n]*", Comment),
            (r"(^[ \t]*|(?<=\d )|(?<=\d))([a-z_]\w*)(?=[ \t]*:(?!:))", bygroups(Text, Name.Label)),
            (r'"[^"\n]*"?', String),
            (r"\$[0-9a-f]*\$", String),
            (r"'[^'\"\s();,]+'", String),
            (r"(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?", Number),
            (r"[.#][a-z_]\w*[$!%]?", Name),
            (r"([a-z_]\w*)([$!%@]?)(?=[ \t]{0,40}(\()?)", _name),
            (r"\s+", Text),
            (r".", Text),
        ]
    }


def spans(code: str, language: str) -> str:
    """The code as HTML, nothing but its text and `span` with a class. An unknown language is plain text."""
    language = language.lower()
    if len(code) > LONGEST or language not in _BBJ | _OTHERS:
        return html.escape(code)
    options = {"stripnl": False, "ensurenl": False}
    lexer = BBjLexer(**options) if language in _BBJ else get_lexer_by_name(language, **options)
    return "".join(_span(kind, text) for kind, text in lexer.get_tokens(code))


def _span(kind: Any, text: str) -> str:
    shown = html.escape(text)
    name = next((name for parent, name in _CLASSES if kind in parent), "")
    return f'<span class="{name}">{shown}</span>' if name else shown
