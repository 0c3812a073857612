"""What `bbjspec doctor` prints: a table on a terminal, aligned text elsewhere, or data. Remedies are never folded."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from bbjspec import terminal
from bbjspec.doctor import examine, missing, require
from bbjspec.doctor.asked import Check
from bbjspec.plan import Plan

_STYLES = {"ok": "green", "lacks": "bold red", "warning": "yellow", "not needed": "dim"}


def run(plan: Plan, names: Collection[str] | None, *, as_json: bool) -> None:
    """Examine and print. Raises EnvironmentLacks when something needed lacks."""
    tell(examine(plan, names), as_json=as_json)


def tell(checks: Sequence[Check], *, as_json: bool) -> None:
    """Print checks. Raises EnvironmentLacks when something needed lacks."""
    if as_json:
        print(json.dumps(document(checks), indent=2, ensure_ascii=False))
    else:
        show(checks)
    require(checks)


def document(checks: Sequence[Check]) -> dict[str, Any]:
    """The checks as data; `missing` names what is needed and lacks."""
    return {"missing": missing(checks), "checks": [asdict(check) for check in checks]}


def lines(checks: Sequence[Check]) -> Iterator[str]:
    """The text: a check a line, under each that is not met who needs it and what for, and at the end how to get it."""
    width = max(len(check.name) for check in checks)
    for check in checks:
        yield f"{check.state:<10}  {check.name:<{width}}  {check.found}".rstrip()
        if check.state in ("lacks", "warning") and check.purpose:
            by = f", needed by {_names(check.needed_by)}" if check.needed_by else ""
            yield f"{'':<10}  for {check.purpose}{by}"
    if remedies := list(_remedies(checks)):
        yield from ["", *(line for line, _ in remedies)]


def _remedies(checks: Sequence[Check]) -> Iterator[tuple[str, str]]:
    """How to get what is not met, each a line of its own and with its style: commands in it are copied."""
    for check in checks:
        if check.state in ("lacks", "warning") and check.remedy:
            yield f"{check.name}: {check.remedy}", _STYLES[check.state]


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
        purpose = Text(check.purpose, "dim")
        if check.state != "not needed" and check.needed_by:
            purpose.append(f" ({_names(check.needed_by)})")
        dim = "dim" if check.state == "not needed" else ""
        table.add_row(
            Text(check.state, style), Text(check.name, dim or "bold"), Text(check.found), purpose, style=dim or None
        )
    terminal.console().print(table)
    if remedies := list(_remedies(checks)):
        terminal.show([("", ""), *remedies])
