"""Standard output for people: colour on a terminal, plain text elsewhere and where NO_COLOR is set."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

WIDTH = 160  # columns where there is no terminal to ask


def plain() -> bool:
    """Whether what is printed may hold nothing but text. NO_COLOR counts when it is not empty (https://no-color.org)."""
    return not sys.stdout.isatty() or bool(os.environ.get("NO_COLOR"))


def console() -> Console:
    """Rich's console for standard output. It takes all text as it is: no markup, no emoji codes."""
    from rich.console import Console

    terminal = sys.stdout.isatty()
    return Console(
        highlight=False,
        markup=False,
        emoji=False,
        force_terminal=terminal,
        color_system=None if plain() else "auto",
        width=None if terminal else WIDTH,
    )


def show(lines: Iterable[tuple[str, str]]) -> None:
    """Print lines, each with its style. A line is never folded, nor ends in blanks."""
    if plain():
        for line, _ in lines:
            print(line)
        return
    from rich.text import Text

    out = console()
    for line, style in lines:
        out.print(Text(line, style=style), soft_wrap=True)
