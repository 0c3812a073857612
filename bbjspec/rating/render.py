"""Markdown of models and authors as HTML that shows it and does nothing else.

Links, images and HTML stand there as they were written. The result has few tags, and of attributes `class`, and the
first number of a list. What is no Markdown to speak of, a text without any code fence, is shown as it is: models
answer with bare code.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from html import escape

from markdown_it import MarkdownIt
from markdown_it.token import Token

from bbjspec.markdown import spelled
from bbjspec.rating.highlight import spans

LONGEST = 40_000  # characters of a text that are shown: ten times what an answer is allowed
DEEPEST = 40  # lists and quotes in each other; markdown-it leaves out what is deeper
_OFF = ["link", "image", "autolink", "html_inline", "html_block", "reference", "entity"]
_ALIGNED = {"text-align:right": "right", "text-align:center": "center"}


def html(markdown: str) -> str:
    """The text as HTML. Headings are all `h4`, below those of a page; a text that is too long is cut, and says so."""
    text = spelled(markdown[:LONGEST]).strip("\n")
    if not text.strip():
        return '<p class="aside">(nothing)</p>'
    tokens = _parser().parse(text)
    if any(token.type == "fence" for token in tokens) and max(token.level for token in tokens) < DEEPEST - 2:
        shown = str(_parser().renderer.render(_tamed(tokens), _parser().options, {}))
    else:
        shown = f'<pre class="plain">{escape(text)}</pre>\n'
    rest = len(markdown) - LONGEST
    return shown + (f'<p class="aside">… {rest:,} more characters are not shown</p>' if rest > 0 else "")


@cache
def _parser() -> MarkdownIt:
    options = {"html": False, "maxNesting": DEEPEST, "highlight": _block}
    return MarkdownIt("commonmark", options).enable("table").disable(_OFF)


def _block(code: str, language: str, _: str) -> str:
    return f'<pre class="code">{spans(code.removesuffix(chr(10)), language)}</pre>'


def _tamed(tokens: Sequence[Token]) -> Sequence[Token]:
    """The tokens with classes in the place of styles, and with one level of headings."""
    for token in tokens:
        style = str(token.attrs.pop("style", ""))
        if style in _ALIGNED:
            token.attrs["class"] = _ALIGNED[style]
        if token.type in ("heading_open", "heading_close"):
            token.tag = "h4"
    return tokens
