"""Figures as cards, leaderboard and comparisons show them; one that does not exist is told, never a traceback."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeGuard


def signed(value: float | None, digits: int = 2, missing: str = "n/a") -> str:
    """`+0.54`, or `missing` for a figure that does not exist."""
    return f"{round(value, digits) + 0.0:+.{digits}f}" if exists(value) else missing  # never -0.00


def plain(value: float | None, digits: int = 2, missing: str = "n/a") -> str:
    """`0.54`, or `missing` for a figure that does not exist."""
    return f"{round(value, digits) + 0.0:.{digits}f}" if exists(value) else missing


def interval(bounds: Sequence[float | None] | None, digits: int = 2, missing: str = "n/a") -> str:
    """`[0.44, 0.64]`, or `missing` where there is none."""
    if bounds is None or not all(map(exists, bounds)):
        return missing
    return "[" + ", ".join(plain(bound, digits) for bound in bounds) + "]"


def chance(value: float | None) -> str:
    """A p value: `0.023`, `3.6e-15`, or `n/a`."""
    return f"{value:.2g}" if exists(value) else "n/a"


def count(value: float | None) -> str:
    """A whole number with thousands set apart, or `n/a`."""
    return f"{value:,.0f}" if exists(value) else "n/a"


def duration(seconds: float | None) -> str:
    """`68 s`, `12.3 min` or `5.4 h`, or `n/a`."""
    if not exists(seconds):
        return "n/a"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def exists(value: float | None) -> TypeGuard[float]:
    """Whether there is such a figure: a lost one is null, or no number that JSON should hold."""
    return value is not None and math.isfinite(value)


def size(value: float) -> str:
    """Bytes as `19.8 GB` or `4.1 MB` (decimal, as disks are sold)."""
    return f"{value / 1e9:,.1f} GB" if value >= 1e9 else f"{value / 1e6:,.1f} MB"
