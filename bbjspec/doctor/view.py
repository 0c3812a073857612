"""What `bbjspec doctor` prints: a table on a terminal, aligned text elsewhere, or data."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from bbjspec import terminal
from bbjspec.doctor import examine, missing, require
from bbjspec.doctor.asked import Check
from bbjspec.plan import Plan

_STYLES = {"ok": "green", "lacks": "bold red", "warning": "yellow", "not needed": "dim"}
_WIDTH = 100  # columns of the text


def run(plan: Plan, names: Collection[str] | None, *, as_json: bool) -> None:
    """Examine and print. Raises EnvironmentLacks when something needed lacks."""
    checks = examine(plan, names)
    if as_json:
        print(json.dumps(document(checks), indent=2, ensure_ascii=False))
    else:
        show(checks)
    require(checks)


def document(checks: Sequence[Check]) -> dict[str, Any]:
    """The checks as data; `missing` names what is needed and lacks."""
    return {"missing": missing(checks), "checks": [asdict(check) for check in checks]}


def lines(checks: Sequence[Check]) -> Iterator[str]:
    """The text: a check a line, and under each that is not met who needs it, what for, and how to get it."""
    width = max(len(check.name) for check in checks)
    for check in checks:
        yield f"{check.state:<10}  {check.name:<{width}}  {check.found}".rstrip()
        if check.state in ("lacks", "warning"):
            for said in _about(check):
                yield from textwrap.wrap(
                    said, _WIDTH, initial_indent=" " * 12, subsequent_indent=" " * 14, break_long_words=False
                )


def _about(check: Check) -> Iterator[str]:
    if check.purpose:
        by = f", needed by {_names(check.needed_by)}" if check.needed_by else ""
        yield f"for {check.purpose}{by}"
    if check.remedy:
        yield f"get it: {check.remedy}"


def _names(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= 5 else f"{len(names)} experiments"


def show(checks: Sequence[Check]) -> None:
    """Print them."""
    if terminal.plain():
        print("\n".join(lines(checks)))
        return
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for title in ("", "what", "found", "for"):
        table.add_column(title, no_wrap=title in ("", "what"), overflow="fold")
    for check in checks:
        style = _STYLES[check.state]
        found = Text(check.found)
        if check.state in ("lacks", "warning") and check.remedy:
            found.append(f"\nget it: {check.remedy}", style)
        purpose = Text(check.purpose, "dim")
        if check.state != "not needed" and check.needed_by:
            purpose.append(f" ({_names(check.needed_by)})")
        dim = "dim" if check.state == "not needed" else ""
        table.add_row(Text(check.state, style), Text(check.name, dim or "bold"), found, purpose, style=dim or None)
    terminal.console().print(table)
