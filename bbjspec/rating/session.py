"""What a rating page shows, and where its votes go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

VOTES = ("left", "right", "tie", "bad")


@dataclass(frozen=True)
class Showing:
    """One pair as one rater sees it. `prompt`, `left` and `right` are Markdown; `number` counts from 1."""

    number: int
    category: str
    prompt: str
    left: str
    right: str
    left_cut: bool
    right_cut: bool
    named: bool
    notes: str


@dataclass(frozen=True)
class Vote:
    """The vote that counts for a showing."""

    vote: str
    note: str


class Session(Protocol):
    """One rater's pairs and votes. Which side is which is not in it."""

    page: str
    rater: str
    showings: Sequence[Showing]

    def votes(self) -> dict[int, Vote]:
        """The votes that count, by number of the showing, read from the file afresh."""

    def record(self, number: int, vote: str | None, note: str, ms: int) -> None:
        """Keep a vote, or take it back (None): on disk when it returns. Raises BbjspecError or OSError."""

    def verdicts(self) -> list[tuple[str, str]]:
        """The compiler's word on left and right of each showing, in order."""
