"""The plot of a training, and what all plots of a card share: deterministic SVG and PNG, readable without colour."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import Any

DPI = 150  # of the PNG: 1,050 pixels wide
FEWEST = 20  # steps from which on a running mean is drawn
SHARE, NARROWEST = 0.02, 5  # of the steps, and in steps: what the running mean is taken over
FAR = 6  # a loss above FAR times what nine of ten stay below is beyond the picture
SETTINGS = {
    "svg.hashsalt": "bbjspec",  # ids in the SVG are hashes of what they name, not random
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib, so that the PNG's letters are the same everywhere
    "font.size": 11,
}
BASE, TUNED, OTHER, LINE, GRID = "#b3541e", "#1f5fa8", "#555555", "#333333", "#dddddd"

Points = list[tuple[int, float]]


def loss(log: Sequence[Mapping[str, Any]], best_step: int, folder: Path) -> None:
    """Training and validation loss (nats per token) over optimizer steps, as loss.svg and loss.png in the folder.

    Same log, same bytes. The lines differ in width, dash and marker, not in colour alone, and the best checkpoint is a
    dotted vertical line. Losses that are far above the rest, as one bad batch or the first steps can have, are left out
    of the picture and of the running mean, and a note says so: the limits fit what happens in all other steps.
    """
    from matplotlib.ticker import MaxNLocator

    train: Points = [(entry["step"], entry["loss"]) for entry in log if "loss" in entry]
    val: Points = [(entry["step"], entry["eval_loss"]) for entry in log if "eval_loss" in entry]
    limit = highest(train, val)
    beyond = [(step, value) for step, value in (*train, *val) if value > limit]
    with drawing(7, 3.6) as (figure, axes):
        if len(train) < FEWEST:
            few = {"marker": ".", "markersize": 7, "linewidth": 1.6}
            _draw(axes, train, "training loss", color=TUNED, **few)
        else:
            window, mean = running_mean(train, limit)
            _draw(axes, train, "training loss", color="#93b4db", linewidth=0.6)
            _draw(axes, mean, f"mean over {window} steps", color=TUNED, linewidth=2)
        every = len(val) // 25 + 1
        marked = {"linestyle": "--", "marker": "o", "markersize": 5, "markevery": every, "linewidth": 1.6}
        _draw(axes, val, "validation loss", color=BASE, **marked)
        axes.axvline(best_step, color=LINE, linewidth=1.2, linestyle=":", label=f"best checkpoint, step {best_step}")
        axes.set_xlabel("optimizer step")
        axes.set_ylabel("loss, nats per token")
        axes.set_xlim(left=0)
        axes.set_ylim(0, limit * 1.06)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(visible=True, color=GRID, linewidth=0.7)
        axes.legend(edgecolor="none", framealpha=0.8)
        if beyond:
            axes.set_title(_left_out(beyond), fontsize=9, loc="left")
        title = f"{'Training and validation' if val else 'Training'} loss; best checkpoint at step {best_step}"
        save_svg(figure, folder / "loss.svg", title)
        figure.savefig(folder / "loss.png", format="png", metadata={"Software": None, "Title": title}, dpi=DPI)


@contextmanager
def drawing(width: float, height: float) -> Iterator[tuple[Any, Any]]:
    """A figure of so many inches and its axes, on white, whatever matplotlib is set to on this machine."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(SETTINGS)
        figure = Figure(figsize=(width, height), layout="tight")
        axes = figure.add_subplot()
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        yield figure, axes


def save_svg(figure: Any, path: Path, title: str) -> None:
    """Write the figure. Same figure, same bytes: no date, no name of a program or machine."""
    figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None, "Title": title})


def highest(train: Points, val: Points) -> float:
    """The highest loss that is shown: of those that are no more than FAR times what nine of ten stay below."""
    usual = max((_ninth_tenth([value for _, value in side]) for side in (train, val) if side), default=1.0)
    return max((value for _, value in (*train, *val) if value <= FAR * usual), default=1.0) or 1.0


def _ninth_tenth(values: Sequence[float]) -> float:
    """The value that nine of ten are not above; the last but one of few, so that one of them cannot settle it."""
    return sorted(values)[max(0, (len(values) - 1) * 9 // 10)]


def running_mean(points: Points, limit: float) -> tuple[int, Points]:
    """The steps that a mean is taken over, as many before each as behind it, and the means of what is within `limit`.

    At both ends the window is cut off. A step with nothing within `limit` around it has no mean.
    """
    half = max(NARROWEST, round(SHARE * len(points))) // 2
    sums = list(accumulate((value if value <= limit else 0.0 for _, value in points), initial=0.0))
    counts = list(accumulate((value <= limit for _, value in points), initial=0))
    means: Points = []
    for at, (step, _) in enumerate(points):
        first, after = max(0, at - half), min(len(points), at + half + 1)
        if count := counts[after] - counts[first]:
            means.append((step, (sums[after] - sums[first]) / count))
    return 2 * half + 1, means


def _draw(axes: Any, points: Points, label: str, **style: Any) -> None:
    if points:
        axes.plot(*zip(*points, strict=True), label=label, **style)


def _left_out(beyond: Points) -> str:
    step, most = max(beyond, key=lambda point: (point[1], -point[0]))
    if len(beyond) == 1:
        return f"↑ left out: a loss of {most:.3g}, at step {step}"
    return f"↑ left out: {len(beyond)} losses of up to {most:.3g}, the highest at step {step}"
