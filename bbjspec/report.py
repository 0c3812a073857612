"""Pages for `snakemake --report`: each card and the leaderboard as one HTML file with its plots, and its provenance.

They are made anew for each report, from what is published, under `build/report/`.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from bbjspec.leaderboard import BOARD
from bbjspec.published import LOCKFILE

PAGES = "build/report"
_IMAGE = re.compile(r'<img src="([A-Za-z0-9_.-]+\.svg)"')
_FOLD = re.compile(r"</details>\s*|<details>\s*<summary>[\w ,]+</summary>\s*")
_FRONT_MATTER = re.compile(r"\A---\n.*?\n---\n", re.DOTALL)
_STYLE = (
    "body{font:16px/1.5 sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222;background:#fff}"
    "table{border-collapse:collapse;display:block;overflow-x:auto}th,td{border:1px solid #ccc;padding:.2rem .6rem}"
    "pre{background:#f4f4f4;padding:.6rem;overflow-x:auto}code{background:#f4f4f4}img{max-width:100%}"
)


@dataclass(frozen=True)
class Page:
    """A file of a report, relative to the project's root, under the heading and title that the report gives it."""

    path: str
    category: str
    title: str


def pages(root: Path, names: Sequence[str], *, leaderboard: bool) -> list[Page]:
    """The pages of the experiments among `names` that are published, and the leaderboard's where there is one."""
    found = list(_board(root)) if leaderboard else []
    for name in names:
        folder = root / "adapters" / name
        if (folder / LOCKFILE).is_file() and (folder / "MODEL_CARD.md").is_file():
            found.append(Page(_page(root, folder / "MODEL_CARD.md", name), name, "model card"))
            plots = sorted(path.name for path in folder.glob("*.svg"))
            found += [Page(f"adapters/{name}/{plot}", name, f"plot: {plot.removesuffix('.svg')}") for plot in plots]
            found.append(Page(f"adapters/{name}/{LOCKFILE}", name, "provenance: stages, their recipes, SHA-256"))
            if (folder / "training_config.json").is_file():
                found.append(Page(f"adapters/{name}/training_config.json", name, "provenance: how it was trained"))
    return found


def _board(root: Path) -> Iterator[Page]:
    if (root / BOARD).is_file():
        yield Page(_page(root, root / BOARD, "leaderboard"), "leaderboard", "all experiments")


def _page(root: Path, markdown: Path, name: str) -> str:
    target = root / PAGES / f"{name}.html"
    target.parent.mkdir(parents=True, exist_ok=True)
    text = markdown.read_text(encoding="utf-8", errors="replace")
    target.write_text(html(text, name, markdown.parent), encoding="utf-8", newline="\n")
    return target.relative_to(root).as_posix()


def _shown_html(_: Any, tokens: Sequence[Any], at: int, *__: Any) -> str:
    """HTML of a Markdown text: the card's own fold is obeyed, all else shown."""
    content = str(tokens[at].content)
    return content if _FOLD.fullmatch(content) else escape(content)


def html(markdown: str, title: str, folder: Path) -> str:
    """One HTML file of a Markdown text and the SVGs beside it. HTML in the Markdown is shown, not obeyed."""
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark", {"html": True}).enable("table")
    parser.add_render_rule("html_block", _shown_html)
    parser.add_render_rule("html_inline", _shown_html)
    body = parser.render(_FRONT_MATTER.sub("", markdown))

    def embedded(found: re.Match[str]) -> str:
        picture = folder / found[1]
        data = base64.b64encode(picture.read_bytes()).decode() if picture.is_file() else ""
        return f'<img src="data:image/svg+xml;base64,{data}"'

    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style></head><body>\n{_IMAGE.sub(embedded, body)}</body></html>\n"
    )
