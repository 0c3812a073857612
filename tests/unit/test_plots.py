"""The loss plot: same log, same bytes; a strong line among many steps; one bad batch does not flatten the rest."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest

from bbjspec.stages import plots


def log(steps: int, every: int = 0, **losses: float) -> list[dict[str, Any]]:
    """Losses that fall from 2.3 to 0.3, `at<step>` another one, with a validation loss each `every` steps."""
    found = []
    for step in range(1, steps + 1):
        value = 0.3 + 2 * math.exp(-8 * step / steps)
        entry = {"step": step, "loss": losses.get(f"at{step}", value)}
        found.append(entry | ({"eval_loss": value + 0.1} if every and step % every == 0 else {}))
    return found


def texts(folder: Path) -> list[str]:
    return re.findall(r"<text[^>]*>(.*?)</text>", (folder / "loss.svg").read_text())


def test_same_log_same_bytes_and_nothing_of_the_machine(tmp_path: Path) -> None:
    made = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        plots.loss(log(60, 10), 40, tmp_path / name)
        made.append([(tmp_path / name / file).read_bytes() for file in ("loss.svg", "loss.png")])
    svg, png = made[0]
    assert made[0] == made[1]
    assert b"<title>Training and validation loss; best checkpoint at step 40</title>" in svg
    assert png.startswith(b"\x89PNG") and int.from_bytes(png[16:20], "big") == 1050, "7 inches of 150 dots"
    assert b"<dc:date>" not in svg and b"<dc:creator>" not in svg
    assert b"Software" not in png and b"tIME" not in png


@pytest.mark.parametrize(
    ("steps", "every", "mean"),
    [(1, 1, None), (8, 4, None), (19, 5, None), (20, 5, 5), (560, 47, 11), (5000, 417, 101), (560, 0, 11)],
)
def test_what_is_drawn(steps: int, every: int, mean: int | None, tmp_path: Path) -> None:
    plots.loss(log(steps, every), steps, tmp_path)
    legend = ["training loss"]
    legend += [f"mean over {mean} steps"] if mean else []
    legend += ["validation loss"] if every else []
    assert texts(tmp_path)[-len(legend) - 1 :] == [*legend, f"best checkpoint, step {steps}"]
    title = "Training and validation loss" if every else "Training loss"
    assert f"<title>{title}; best" in (tmp_path / "loss.svg").read_text()


@pytest.mark.parametrize(("steps", "at"), [(8, 1), (8, 2), (560, 1), (560, 3), (5000, 4000)])
def test_one_bad_batch_does_not_flatten_the_rest(steps: int, at: int, tmp_path: Path) -> None:
    plain, bad = log(steps), log(steps, **{f"at{at}": 40.0})
    points = [(entry["step"], entry["loss"]) for entry in bad]
    limit = plots.highest(points, [])
    assert limit == max(entry["loss"] for entry in plain if entry["step"] != at)
    assert max(mean for _, mean in plots.running_mean(points, limit)[1]) <= limit
    plots.loss(bad, steps, tmp_path)
    assert f"↑ left out: a loss of 40, at step {at}" in texts(tmp_path)


def test_a_steep_beginning_is_cut_where_the_rest_is_still_seen(tmp_path: Path) -> None:
    steep = {f"at{step}": value for step, value in enumerate((40.0, 31.0, 22.0, 13.0, 9.0), 1)}
    plots.loss(log(120, 10, **steep), 120, tmp_path)
    assert "↑ left out: 5 losses of up to 40, the highest at step 1" in texts(tmp_path)


def test_losses_that_fall_as_they_should_are_all_shown() -> None:
    points = [(entry["step"], entry["loss"]) for entry in log(300)]
    assert plots.highest(points, []) == points[0][1]
    assert plots.highest([], []) == 1.0
    assert plots.highest([(1, 0.0)], []) == 1.0


def test_the_running_mean() -> None:
    points = [(step, float(step)) for step in range(1, 31)]
    window, means = plots.running_mean(points, 28.0)
    assert window == 5 and len(means) == 30
    assert means[0] == (1, 2.0) and means[10] == (11, 11.0), "cut off at the ends, centred else"
    assert means[28] == (29, 27.5), "29 and 30 are beyond the limit"
