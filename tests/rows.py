"""Rows for tests, as the reader makes them."""

from __future__ import annotations

from bbjspec.data.rows import ROLES, Row


def row(line: int, question: str, answer: str = "an answer", system: str = "system", **fields: object) -> Row:
    """A row of that line, whose id is `r<line>`."""
    chat = [{"role": r, "content": c} for r, c in zip(ROLES, (system, question, answer), strict=True)]
    return Row(line, f"r{line}", system, question, answer, {"id": f"r{line}", "messages": chat, **fields})
