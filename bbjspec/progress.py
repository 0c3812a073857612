"""How far a long piece of work has come: a bar on a terminal, elsewhere a line at most once a minute."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, TextIO

EVERY = 60.0  # seconds between two lines; the first and the last are always said


class Progress:
    """Counts units of work as a context manager: `with Progress("generating", 100, "samples", log) as bar: …`.

    `done` units were there before, as after a resume, and count for what is left, not for the rate. The stage's log has
    the lines in any case; on a terminal they are at level debug, since the bar says the same.
    """

    def __init__(
        self,
        what: str,
        total: int,
        unit: str,
        log: logging.Logger,
        *,
        done: int = 0,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._what, self._total, self._unit, self._log = what, total, unit, log
        self._before = self._done = done
        self._stream = stream or sys.stderr
        self._clock = clock
        self._began = self._said = clock()
        self._shown = -1  # units at the last line
        self._note = ""
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Progress:
        self._began = self._clock()
        if self._stream.isatty():
            self._bar = _bar(self._stream)
            self._bar.start()
            self._task = self._bar.add_task(self._what, total=self._total, completed=self._done, facts="")
        self._say()
        return self

    def advance(self, count: int = 1, note: str = "") -> None:
        """Note that `count` more units are done. `note` stands behind the figures until the next call."""
        self._done += count
        self._note = note
        if self._bar is not None:
            self._bar.update(self._task, completed=self._done, facts=", ".join(self._facts()))
        if self._clock() - self._said >= EVERY or self._done >= self._total:
            self._say()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        if self._shown != self._done:
            self._say()

    def _seconds(self) -> float:
        return max(self._clock() - self._began, 1e-9)

    def _facts(self) -> list[str]:
        """How fast, how long still, and the note."""
        made, left = self._done - self._before, self._total - self._done
        facts = [f"{made / self._seconds():.3g} {self._unit}/s"] if made > 0 else []
        if made > 0 and left > 0:
            facts.append(f"about {span(left * self._seconds() / made)} left")
        return facts + ([self._note] if self._note else [])

    def _say(self) -> None:
        self._said, self._shown = self._clock(), self._done
        parts = [f"{self._what}: {self._done} of {self._total} {self._unit}", *self._facts()]
        self._log.log(logging.INFO if self._bar is None else logging.DEBUG, "%s", ", ".join(parts))


def span(seconds: float) -> str:
    """`42 s`, `7 min` or `3 h 05 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def _bar(stream: TextIO) -> Any:
    """Rich's bar: what, how many of how many, and the facts of the lines.

    Rich's own estimate of the time left looks at the last 30 seconds, in which a step of a large model may not end.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Rich
    from rich.table import Column

    what = TextColumn("{task.description}")
    rest = Column(ratio=1, no_wrap=True)  # takes what is left of the line, and is cut off where that is too little
    facts = TextColumn("{task.fields[facts]}", markup=False, table_column=rest)
    columns = (what, BarColumn(bar_width=16), MofNCompleteColumn(), facts)
    return Rich(*columns, console=Console(file=stream), transient=True, expand=True)
