"""Markdown that templates make, and text of models and users in it that shows itself and does nothing else."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bbjspec.errors import BadInput, Finding

TOKENS = (
    "@EXPERIMENT@",
    "@EXPORT_DIR@",
    "@DESCRIPTION@",
    "@PARENT@",
    "@RATINGS@",
    "@RATINGS_END@",
)  # the publisher puts the experiment's own words in their place
MAX_LINES = 40  # of one piece of text
MAX_COLUMNS = 160


def render(template: Path, shown: str, values: Mapping[str, Any], filters: Mapping[str, Callable[..., Any]]) -> str:
    """The template's text; it may use `inert`, `span` and the given filters.

    Raises BadInput, with file and line, for a template that is broken or names the unknown.
    """
    import jinja2

    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # Markdown is made: what a model or a user wrote goes through `inert`
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"inert": inert, "span": span, **filters}
    try:
        text = template.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise BadInput([Finding(shown, 0, 0, "", f"cannot be read: {reason}")]) from error
    try:
        return environment.from_string(text).render(values)
    except jinja2.TemplateSyntaxError as error:
        raise BadInput([Finding(shown, error.lineno, 0, "", f"not a template: {error.message}")]) from error
    except jinja2.TemplateError as error:
        raise BadInput([Finding(shown, _template_line(error), 0, "", f"{error.message}")]) from error


def _template_line(error: BaseException) -> int:
    """The template's line that failed, 0 when unknown: Jinja puts its lines into the traceback."""
    line, trace = 0, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<template>":
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def inert(text: object, inline: bool = False) -> str:
    """Text from a model or a user as Markdown that shows it and does nothing else.

    A code fence, or `inline` a code span for a cell of a table, longer than any run of backticks inside, so that
    nothing in it is Markdown, HTML or a template; characters that move the cursor or turn the reading direction are
    spelled out; the publisher's tokens are broken up; long text is cut, and says so.
    """
    if inline:  # two backslashes before a bar are read in two ways: one of them ends the cell
        return span(text).replace("\\|", "\\u007c").replace("|", "\\|")
    shown = _harmless(text)
    lines = [_cut(line) for line in shown.strip("\n").split("\n")]
    if len(lines) > MAX_LINES:
        lines = [*lines[:MAX_LINES], f"… {len(lines) - MAX_LINES} more lines"]
    fence = "`" * max(3, _longest_run("\n".join(lines)) + 1)
    return "\n".join([f"{fence}text", *lines, fence])


def span(text: object) -> str:
    """Such text as a code span of a sentence or heading: a table's cell has bars to escape, and is `inert`'s."""
    shown = _cut(" ".join(_harmless(text).split())) or "(empty)"
    ticks = "`" * (_longest_run(shown) + 1)
    pad = " " if shown.startswith("`") or shown.endswith("`") else ""
    return f"{ticks}{pad}{shown}{pad}{ticks}"


def prose(text: str) -> str:
    """One line of a person's words as a paragraph: backslashes before all that would act as Markdown or HTML."""
    shown = "".join(map(_spelled, text.strip()))
    shown = re.sub(r"[\\`*\[\]<>|~]|&(?=[#\w]+;)|(?<![^\W_])_|_(?![^\W_])", lambda found: f"\\{found[0]}", shown)
    shown = re.sub(r"^(?=[-+#])", r"\\", shown)
    return re.sub(r"^(\d+)(?=[.)](?:\s|$))", r"\1\\", shown)


def plain_name(text: object, columns: int = 80) -> str:
    """Such text on one line of at most so many characters, for pictures and terminals."""
    shown = " ".join(_harmless(text).split()) or "(empty)"
    return shown if len(shown) <= columns else f"{shown[: columns - 1]}…"


def _harmless(text: object) -> str:
    """The text without the publisher's tokens, and with nothing in it that would not be seen as itself."""
    shown = str(text)
    for token in TOKENS:
        shown = shown.replace(token, token.replace("@", "@ ", 1))
    return spelled(shown)


def spelled(text: str) -> str:
    """The text with line ends as `\\n`, and escapes for characters that would not be seen as themselves."""
    return "".join(map(_spelled, text.replace("\r\n", "\n").replace("\r", "\n")))


def _spelled(character: str) -> str:
    """The character, or its escape when it would not be seen as itself."""
    if character in "\n\t" or unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp"):
        return character
    return f"\\u{ord(character):04x}"


def _cut(line: str) -> str:
    return line if len(line) <= MAX_COLUMNS else line[: MAX_COLUMNS - 1] + "…"


def _longest_run(text: str) -> int:
    return max((len(run) for run in re.findall("`+", text)), default=0)
