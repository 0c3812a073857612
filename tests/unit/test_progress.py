"""Progress: lines where nobody watches, a bar on a terminal."""

from __future__ import annotations

import io
import logging
import re

import pytest

from bbjspec.progress import Progress, span

LOG = logging.getLogger("test.progress")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_line_a_minute_and_always_the_first_and_the_last(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    with (
        caplog.at_level(logging.INFO),
        Progress("generating", 400, "samples", LOG, done=100, stream=io.StringIO(), clock=clock) as progress,
    ):
        for _ in range(300):
            clock.now += 0.5
            progress.advance()
    assert caplog.messages == [
        "generating: 100 of 400 samples",
        "generating: 220 of 400 samples, 2 samples/s, about 90 s left".replace("90 s", span(90)),
        "generating: 340 of 400 samples, 2 samples/s, about 30 s left",
        "generating: 400 of 400 samples, 2 samples/s",
    ]


def test_what_breaks_off_says_how_far_it_came(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    with (
        caplog.at_level(logging.INFO),
        pytest.raises(KeyboardInterrupt),
        Progress("generating", 4, "samples", LOG, stream=io.StringIO(), clock=clock) as progress,
    ):
        clock.now += 1
        progress.advance()
        raise KeyboardInterrupt
    assert caplog.messages[-1] == "generating: 1 of 4 samples, 1 samples/s, about 3 s left"


def test_a_terminal_gets_a_bar_and_the_file_its_lines(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal()
    with caplog.at_level(logging.DEBUG), Progress("generating", 2, "samples", LOG, stream=terminal) as progress:
        progress.advance(2)
    assert "generating" in terminal.getvalue() and "2/2" in terminal.getvalue()
    assert {record.levelno for record in caplog.records} == {logging.DEBUG}, "the console shows no lines beside the bar"


def test_the_note_is_at_the_end_of_the_line(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    with (
        caplog.at_level(logging.INFO),
        Progress("training", 12, "steps", LOG, stream=io.StringIO(), clock=clock) as progress,
    ):
        for step in range(1, 11):
            clock.now += 20
            progress.advance(note=f"loss {1 / step:.3f}, 1,234 tokens/s" if step != 6 else "")
    assert caplog.messages == [
        "training: 0 of 12 steps",
        "training: 3 of 12 steps, 0.05 steps/s, about 3 min left, loss 0.333, 1,234 tokens/s",
        "training: 6 of 12 steps, 0.05 steps/s, about 2 min left",
        "training: 9 of 12 steps, 0.05 steps/s, about 60 s left, loss 0.111, 1,234 tokens/s",
        "training: 10 of 12 steps, 0.05 steps/s, about 40 s left, loss 0.100, 1,234 tokens/s",
    ]


def shown(terminal: Terminal) -> list[str]:
    """The states of the bar, without what colours and moves it."""
    return [line.strip() for line in re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", terminal.getvalue()))]


@pytest.mark.parametrize(("columns", "end"), [(120, "loss 0.312 [/b], 1,234 tokens/s"), (80, "loss 0.312 […")])
def test_after_a_resume_the_bar_goes_by_what_was_made_since(
    columns: int, end: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(columns))
    clock, terminal = Clock(), Terminal()
    with (
        caplog.at_level(logging.DEBUG),
        Progress("training", 560, "steps", LOG, done=500, stream=terminal, clock=clock) as progress,
    ):
        clock.now += 100  # longer than a bar looks back
        progress.advance(2, "loss 0.312 [/b], 1,234 tokens/s")
    last = [line for line in shown(terminal) if line][-1]
    assert last.startswith("training ") and last.endswith(f" 502/560 0.02 steps/s, about 48 min left, {end}")
    assert caplog.messages[0] == "training: 500 of 560 steps"
    assert caplog.messages[-1].startswith("training: 502 of 560 steps, 0.02 steps/s, about 48 min left, loss 0.312")


def test_nothing_to_do_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), Progress("generating", 3, "samples", LOG, done=3, stream=io.StringIO()):
        pass
    assert caplog.messages == ["generating: 3 of 3 samples"]


@pytest.mark.parametrize(
    ("seconds", "said"), [(0, "0 s"), (89, "89 s"), (90, "2 min"), (5399, "1 h 30 min"), (11_100, "3 h 05 min")]
)
def test_spans(seconds: float, said: str) -> None:
    assert span(seconds) == said
