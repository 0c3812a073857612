"""The picture of a card in the README: the first screen of docs/example-card/MODEL_CARD.md, drawn as it stands.

`python benchmarks/picture.py` writes docs/card.svg, once the example card has changed. The picture needs no font and no
file beside it; a test holds it to the card.
"""

from __future__ import annotations

import io
import re
from pathlib import Path

from rich.console import CONSOLE_SVG_FORMAT, Console
from rich.markdown import Markdown
from rich.terminal_theme import TerminalTheme
from rich.theme import Theme

REPOSITORY = Path(__file__).resolve().parents[1]
CARD, PICTURE = REPOSITORY / "docs/example-card/MODEL_CARD.md", REPOSITORY / "docs/card.svg"
WIDTH = 104  # columns
INK, BLUE = (36, 41, 47), (9, 80, 170)
PAPER = TerminalTheme((255, 255, 255), INK, [INK] * 4 + [BLUE] + [INK] * 3)
STYLES = Theme({"markdown.code": "blue", "markdown.table.header": "bold", "markdown.table.border": "default"})


def first_screen(card: str) -> str:
    """What a reader sees first: from the title to the first section, without the Hub's metadata before it."""
    return re.sub(r"\A---\n.*?^---\n", "", card, flags=re.DOTALL | re.MULTILINE).split("\n## ")[0]


def picture() -> str:
    """The SVG."""
    console = Console(
        record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, color_system="standard", theme=STYLES
    )
    console.print(Markdown(first_screen(CARD.read_text(encoding="utf-8"))))
    # Rich would have a reader's browser fetch a font from elsewhere, and draws a window's three buttons.
    frame = re.sub(r"@font-face \{\{.*?\}\}\s*|<!--.*?-->", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    frame = frame.replace("Fira Code, ", "")
    svg = console.export_svg(title="adapters/demo/MODEL_CARD.md", theme=PAPER, code_format=frame, unique_id="card")
    svg = re.sub(r'<g transform="translate\(26,22\)">.*?</g>', "", svg, flags=re.DOTALL)
    return "".join(f"{line.rstrip()}\n" for line in svg.splitlines())


if __name__ == "__main__":
    PICTURE.write_text(picture(), encoding="utf-8")
    print(PICTURE.relative_to(REPOSITORY))
