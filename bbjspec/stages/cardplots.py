"""Plots of an evaluation for the model card: scores, differences by category, and where samples are lost.

Each has its figures in a function of its own, which the picture's alternative text is made of too.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bbjspec.figures import interval, plain, signed
from bbjspec.markdown import plain_name, prose
from bbjspec.stages.plots import BASE, GRID, LINE, OTHER, TUNED, drawing, save_svg

COLUMNS = 28  # of a name beside a row
ROW = 0.3  # inches
WIDTH = 7.5  # inches
MARKS = {
    "base": ("s", BASE),
    "tuned": ("o", TUNED),
    "gguf": ("D", TUNED),
    "reference": ("^", OTHER),
    "difference": ("o", TUNED),
}
STEPS = {
    "generated": "generated",
    "complete": "ended by itself",
    "extracted": "holds a program",
    "compiles": "compiles (raw pass)",
    "non_trivial": "has enough statements",
    "strict": "passes strictly",
}


@dataclass(frozen=True)
class Row:
    """One line of a plot: a value, its 95 % interval where there is one, what kind of thing it is, how many prompts."""

    name: str
    value: float
    ci: Sequence[float] | None
    kind: str
    prompts: int | None = None


def score_rows(
    comparison: Mapping[str, Any], release: Mapping[str, Any] | None, references: Iterable[Mapping[str, Any]]
) -> list[Row]:
    """Strict compile@1 of every baseline, the tuned model, each GGUF, and each reference, in this order."""
    found = [("base", one["name"], one["a"]) for _, one in sorted(comparison["baselines"].items())]
    found.append(("tuned", "tuned", comparison["b"]))
    if release is not None:
        found += [("gguf", f"tuned, {name}.gguf", one["score"]) for name, one in release["types"].items()]
    for reference in references:
        score = reference["results"]["metrics"].get(comparison["metric"])
        found += [("reference", reference["name"], score)] if score else []
    return [row for kind, name, score in found for row in _row(name, score["value"], score["ci"], kind)]


def category_rows(comparison: Mapping[str, Any]) -> list[Row]:
    """The difference of strict compile@1 by category, the greatest first."""
    rows = [
        row
        for name, one in comparison["by_category"].items()
        for row in _row(name, one["diff"], one["ci"], "difference", one["n_prompts"])
    ]
    return sorted(rows, key=lambda row: (-row.value, row.name))


def _row(
    name: str, value: float | None, ci: Sequence[float | None] | None, kind: str, prompts: int | None = None
) -> list[Row]:
    """One row, or none for a value that does not exist."""
    if value is None or not math.isfinite(value):
        return []
    known = [bound for bound in ci or () if bound is not None and math.isfinite(bound)]
    return [Row(plain_name(name, COLUMNS), value, known if len(known) == 2 else None, kind, prompts)]


def scores_text(rows: Sequence[Row], metric: str) -> str:
    """The first picture in words."""
    told = [f"{prose(row.name)} {plain(row.value)} {interval(row.ci) if row.ci else ''}".rstrip() for row in rows]
    return f"Strict {metric} with 95 % interval: {'; '.join(told)}"


def categories_text(rows: Sequence[Row], metric: str) -> str:
    """The second picture in words: both ends, for all the rest is in the table below it."""
    if not rows:
        return f"Difference of strict {metric} by category: there is none"
    said = f"Difference of strict {metric}, tuned minus base, by category with 95 % interval"
    if len(rows) == 1:
        return f"{said}: {signed(rows[0].value)}"
    return f"{said}: {len(rows)} categories, from {signed(rows[0].value)} to {signed(rows[-1].value)}"


def funnel_text(base: Mapping[str, int], tuned: Mapping[str, int]) -> str:
    """The third picture in words."""
    told = [f"{said} {base[step]:,} and {tuned[step]:,}" for step, said in STEPS.items()]
    return f"Syntax samples left after each step, base and tuned: {', '.join(told)}"


def scores(rows: Sequence[Row], metric: str, path: Path) -> None:
    """Draw the scores, one a row, the tuned model's value as a line through all rows."""
    with drawing(WIDTH, 1.1 + ROW * max(1, len(rows))) as (figure, axes):
        for row in rows:
            if row.kind == "tuned":
                axes.axvline(row.value, color=LINE, linewidth=0.9, linestyle=":")
        _dots(axes, rows, plain)
        axes.set_xlim(0, 1)
        axes.set_xlabel(f"strict {metric}, 95 % interval")
        _save(figure, path, f"Strict {metric} of base, tuned model and all that was compared with it")


def categories(rows: Sequence[Row], metric: str, path: Path) -> None:
    """Draw the differences by category, one a row, beside the number of its prompts."""
    with drawing(WIDTH, 1.1 + ROW * max(1, len(rows))) as (figure, axes):
        axes.axvline(0, color=LINE, linewidth=0.9)
        _dots(axes, rows, signed)
        axes.set_xlim(-1.02, 1.02)
        axes.set_xlabel(f"strict {metric}, tuned minus base, 95 % interval (number of prompts)")
        _save(figure, path, f"Difference of strict {metric} by category")


def funnel(base: Mapping[str, int], tuned: Mapping[str, int], path: Path) -> None:
    """Draw how many samples are left after each step: two bars a step, hatched for the base."""
    with drawing(WIDTH, 4.2) as (figure, axes):
        most = max(*base.values(), *tuned.values(), 1)
        for side, counts, shift, style in (
            ("base", base, -0.2, {"facecolor": "white", "edgecolor": BASE, "hatch": "////"}),
            ("tuned", tuned, 0.2, {"facecolor": TUNED, "edgecolor": TUNED}),
        ):
            for at, step in enumerate(STEPS):
                label = side if not at else None
                axes.barh(at + shift, counts[step], height=0.36, linewidth=1, label=label, **style)
                axes.text(counts[step] + most * 0.008, at + shift, f"{counts[step]:,}", va="center", fontsize=9)
        axes.set_yticks(range(len(STEPS)), list(STEPS.values()))
        axes.set_ylim(len(STEPS) - 0.5, -0.5)
        axes.set_xlim(0, most * 1.1)
        axes.set_xlabel("syntax samples left")
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, edgecolor="none")
        _save(figure, path, "Syntax samples left after each step, base and tuned")


def _dots(axes: Any, rows: Sequence[Row], show: Callable[[float], str]) -> None:
    """A dot with its interval and its figures a row, the first on top."""
    for at, row in enumerate(rows):
        mark, colour = MARKS[row.kind]
        if row.ci:
            axes.plot(row.ci, [at, at], color=colour, linewidth=1.8, solid_capstyle="butt")
            axes.plot(row.ci, [at, at], color=colour, linestyle="", marker="|", markersize=9)
        hollow = {"markerfacecolor": "white"} if row.kind == "base" else {}
        axes.plot([row.value], [at], color=colour, marker=mark, markersize=7, zorder=3, clip_on=False, **hollow)
        told = f"{show(row.value)} {interval(row.ci) if row.ci else ''}"
        axes.text(1.035, at, told, transform=axes.get_yaxis_transform(), va="center", fontsize=9)
    names = [row.name if row.prompts is None else f"{row.name} ({row.prompts})" for row in rows]
    axes.set_yticks(range(len(rows)), names, parse_math=False)  # a name may hold dollars
    axes.set_ylim(max(0, len(rows) - 1) + 0.6, -0.6)
    axes.grid(visible=True, axis="x", color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)


def _save(figure: Any, path: Path, title: str) -> None:
    with warnings.catch_warnings():  # a letter that the font lacks is in the SVG as text all the same
        warnings.filterwarnings("ignore", message="Glyph")
        save_svg(figure, path, title)
