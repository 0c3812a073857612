"""Judging many programs on all CPUs."""

from __future__ import annotations

import os


def usable_cpus() -> int:
    """How many CPUs this process may use: a container or `taskset` may allow fewer than there are."""
    if hasattr(os, "sched_getaffinity"):
        return max(len(os.sched_getaffinity(0)), 1)
    return os.cpu_count() or 1
