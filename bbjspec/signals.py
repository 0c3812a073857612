"""What asks a stage to end: Ctrl-C (SIGINT), and SIGTERM as clusters send it. Both mean the same."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

AGAIN = 1.0  # seconds: a SIGINT that comes later than that is a second Ctrl-C, not the first one passed on by a parent


@contextlib.contextmanager
def heeded(ask: Callable[[], None]) -> Iterator[None]:
    """Inside, the first of these signals calls `ask`, and a second Ctrl-C raises KeyboardInterrupt.

    A SIGINT that is ignored, as in what a script runs in the background, stays so. Threads other than the main one get
    no signals: there it does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked: float | None = None

    def act(number: int, _: Any) -> None:
        nonlocal asked
        if asked is None:
            asked = time.monotonic()
            ask()
        elif number == signal.SIGINT and time.monotonic() > asked + AGAIN:
            raise KeyboardInterrupt

    heard = [one for one in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(one) != signal.SIG_IGN]
    before = {one: signal.signal(one, act) for one in heard}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def interrupt() -> None:
    """Break off here and now, by KeyboardInterrupt."""
    raise KeyboardInterrupt
