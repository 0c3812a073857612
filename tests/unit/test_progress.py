"""Progress: lines where nobody watches, a bar on a terminal."""

from __future__ import annotations

import io
import logging

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


def test_nothing_to_do_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), Progress("generating", 3, "samples", LOG, done=3, stream=io.StringIO()):
        pass
    assert caplog.messages == ["generating: 3 of 3 samples"]


@pytest.mark.parametrize(
    ("seconds", "said"), [(0, "0 s"), (89, "89 s"), (90, "2 min"), (5399, "1 h 30 min"), (11_100, "3 h 05 min")]
)
def test_spans(seconds: float, said: str) -> None:
    assert span(seconds) == said
