"""A session of a plain file, and realistic pairs: the author's answer and a worse one."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from bbjspec.rating.session import Showing, Vote
from tests.harness import REPOSITORY

SCENARIOS = REPOSITORY / "eval/prompts/realistic/scenarios.jsonl"


def showing(number: int, left: str = "a", right: str = "b", **others: object) -> Showing:
    """A pair with short texts."""
    values = {"category": "strings", "prompt": f"Prompt {number}", "left_cut": False, "right_cut": False}
    values |= {"named": False, "notes": ""} | others
    return Showing(number=number, left=left, right=right, **values)  # type: ignore[arg-type]


def realistic(count: int = 24) -> list[Showing]:
    """Pairs of the scenarios: the reference, and what a weaker model might make of it."""
    found = []
    for at, line in enumerate(SCENARIOS.read_text().splitlines()[:count]):
        row = json.loads(line)
        worse = row["reference"].replace("!", "").replace(",err=", ", ERR=").replace("dom=", "key=")
        half = f"Here is how you can do it:\n\n{worse[: len(worse) * 2 // 3]}"
        left, right = (row["reference"], half) if at % 2 else (half, row["reference"])
        cut = {"left_cut": not at % 2 and at % 3 == 0, "right_cut": bool(at % 2) and at % 3 == 0}
        about = {"category": row["category"], "prompt": row["input"], "notes": row["notes"], "named": at % 5 == 4}
        found.append(showing(at + 1, left, right, **cut, **about))
    return found


class FileSession:
    """Votes as lines of a file, on disk when `record` returns."""

    def __init__(self, file: Path, showings: Sequence[Showing], rater: str = "Ada") -> None:
        self.file = file
        self.page = "p-0123456789abcdef"
        self.rater = rater
        self.showings = showings
        self.fails: Exception | None = None

    def lines(self) -> list[dict[str, object]]:
        if not self.file.exists():
            return []
        return [json.loads(line) for line in self.file.read_text().splitlines()]

    def votes(self) -> dict[int, Vote]:
        if self.fails:
            raise self.fails
        found: dict[int, Vote] = {}
        for line in self.lines():
            number = int(str(line["number"]))
            if line["vote"] is None:
                found.pop(number, None)
            else:
                found[number] = Vote(str(line["vote"]), str(line["note"]))
        return found

    def record(self, number: int, vote: str | None, note: str, ms: int) -> None:
        if self.fails:
            raise self.fails
        with self.file.open("a", encoding="utf-8") as out:
            out.write(json.dumps({"number": number, "vote": vote, "note": note, "ms": ms}) + "\n")
            out.flush()
            os.fsync(out.fileno())

    judge = "the builtin checker, provisional"

    def verdicts(self) -> list[tuple[str, str]]:
        return [("compiles", "line 3: <b>fails</b>") for _ in self.showings]
