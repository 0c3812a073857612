"""Plots for the model card: deterministic SVG, readable without colour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def loss(log: Sequence[Mapping[str, Any]], best_step: int, path: Path) -> None:
    """Training and validation loss (nats per token) over optimizer steps. Same log, same bytes.

    The two lines differ in dash and marker, not in colour alone, and the best checkpoint is a dotted vertical line.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    settings = {"svg.hashsalt": "bbjspec", "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 11}
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=(7, 3.6), layout="tight")
        axes = figure.add_subplot()
        train = [(entry["step"], entry["loss"]) for entry in log if "loss" in entry]
        val = [(entry["step"], entry["eval_loss"]) for entry in log if "eval_loss" in entry]
        if train:
            axes.plot(*zip(*train, strict=True), color="#1f5fa8", linewidth=1.6, label="training loss")
        if val:
            axes.plot(
                *zip(*val, strict=True),
                color="#b3541e",
                linewidth=1.6,
                linestyle="--",
                marker="o",
                label="validation loss",
            )
            axes.axvline(
                best_step, color="#555555", linewidth=1, linestyle=":", label=f"best checkpoint, step {best_step}"
            )
        axes.set_xlabel("optimizer step")
        axes.set_ylabel("loss, nats per token")
        axes.set_ylim(bottom=0)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(visible=True, color="#dddddd", linewidth=0.7)
        axes.legend(frameon=False)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        title = f"Training and validation loss; best checkpoint at step {best_step}"
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None, "Title": title})
