"""`bbjspec plan` for people and for programs: the reports of `why` with the estimates of `needs`, as text and as JSON.

The text is the same on a terminal and in a file, a stage a line, to be searched; only a terminal has colour.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from bbjspec.history import History
from bbjspec.needs import GB, Need, Needs, as_json, total
from bbjspec.plan import Plan
from bbjspec.why import ExperimentReport, StageReport, report

REASONS = 4  # of a stage that are shown: what differs in more is another experiment. --json has all
_STYLES = {"to run": "yellow", "running": "cyan", "failed": "red", "outdated": "magenta", "not needed": "dim"}
_HEAVY = ("train", "generate", "base", "gguf")


class PlanView:
    """The reports of the chosen experiments (all when None), worked out once."""

    def __init__(self, plan: Plan, names: Collection[str] | None = None) -> None:
        self._plan = plan
        self._names = names
        self._needs = Needs(plan)
        self._history = History(plan)
        chosen = (e for name, e in plan.experiments.items() if names is None or name in names)
        self.reports = [report(plan, experiment, self._history) for experiment in chosen]

    def document(self) -> dict[str, Any]:
        """The plan as data: an entry an experiment, whatever its state."""
        return {
            r.name: {
                "state": r.state,
                "stages": [self._stage_document(row) for row in r.stages],
                "needs": as_json(self._total([r])),
            }
            for r in self.reports
        }

    def _stage_document(self, row: StageReport) -> dict[str, Any]:
        return {
            "role": row.role,
            "kind": row.kind,
            "digest": row.digest,
            "state": row.state,
            "runs": row.runs,
            "why": list(row.why),
            "needs": as_json(self._need(row)),
        }

    def lines(self) -> Iterable[tuple[str, str]]:
        """The text, a line and its style at a time. Without names, experiments with nothing to do are only counted."""
        quiet = [r for r in self.reports if self._names is None and r.state == "published"]
        loud = [r for r in self.reports if r not in quiet] if quiet else self.reports
        for r in loud:
            yield f"{r.name}: {r.state}", "bold"
            width = max(14, *(len(row.role) for row in r.stages))
            for row in r.stages:
                yield self._line(row, width), _STYLES.get(row.state, "")
            yield "", ""
        if quiet:
            yield f"{len(quiet)} {_plural('experiment', len(quiet))} up to date", ""
        yield from ((line, "bold") for line in self._summary(loud))

    def _line(self, row: StageReport, width: int) -> str:
        said = "; ".join(row.why[:REASONS])
        if len(row.why) > REASONS:
            said += f"; and {len(row.why) - REASONS} more changes"
        if row.runs and (need := self._said(row)):
            said += f" [{need}]"
        return f"  {row.role:<{width}} {row.digest}  {row.state:<10}  {said}".rstrip()

    def _summary(self, loud: list[ExperimentReport]) -> Iterable[str]:
        runs = {row.digest for r in loud for row in r.stages if row.runs}
        every = {row.digest for r in loud for row in r.stages}
        if not self.reports:
            return
        if not runs:
            outdated = [r.name for r in loud if r.state == "outdated"]
            kept = f"; outdated, kept until a refresh is asked for: {_names(outdated)}" if outdated else ""
            yield f"nothing to run{kept}"
            return
        names = _names([r.name for r in loud if any(row.runs for row in r.stages)])
        need = self._total(loud)
        hours = "an unknown number of" if need.gpu_hours is None else f"about {_hours(need.gpu_hours)}"
        hours = "no" if need.gpu_hours == 0 else hours
        disk = "unknown" if need.disk is None else f"{_size(need.disk)} of"
        yield f"{len(runs)} of {len(every)} stages to run for {names}: {hours} GPU hours, {disk} disk"

    def _need(self, row: StageReport) -> Need:
        return self._needs.of(row.stage) if row.runs and row.stage and row.state != "published" else Need()

    def _total(self, reports: list[ExperimentReport]) -> Need:
        """Of each stage once, whichever experiments share it."""
        rows = {row.digest: row for r in reports for row in r.stages if row.runs}
        return total([self._need(row) for row in rows.values()])

    def _said(self, row: StageReport) -> str:
        if row.kind not in _HEAVY or row.state == "published":
            return ""
        need, parts = self._need(row), []
        if need.gpu_memory is None or need.gpu_memory:
            parts.append(f"{_size(need.gpu_memory)} of GPU memory" if need.gpu_memory else "GPU memory unknown")
        if need.gpu_hours is None or need.gpu_hours:
            hours = f"{_hours(need.gpu_hours)} GPU hours" if need.gpu_hours else "GPU hours unknown"
            parts.append(f"{hours} ({need.source})")
        if need.disk is None or need.disk >= 1e6:
            parts.append(f"{_size(need.disk)} of disk" if need.disk is not None else "disk unknown")
        known = any(value for value in (need.gpu_memory, need.gpu_hours, need.disk))
        return ("about " if known and parts else "") + ", ".join(parts)


def _size(value: float) -> str:
    if value >= GB / 10:
        return f"{value / GB:,.1f} GB"
    return f"{value / 1e6:,.0f} MB" if value >= 1e6 else "under 1 MB"


def _hours(value: float) -> str:
    return f"{value:,.1f}" if value >= 0.1 or value == 0 else f"{value:.2g}"


def _plural(word: str, count: int) -> str:
    return word if count == 1 else f"{word}s"


def _names(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= 5 else f"{len(names)} experiments"
