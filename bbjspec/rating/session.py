"""One rater's session: the pairs in this rater's order, and the votes. Whose answer is whose, it does not hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Protocol

from bbjspec.bbj.compiler import Verdict, open_compiler
from bbjspec.bbj.extract import extract
from bbjspec.digest import digest
from bbjspec.errors import EnvironmentLacks
from bbjspec.rating import ratings
from bbjspec.rating.answers import Answer, Answers, Pair
from bbjspec.rating.order import Place, order
from bbjspec.rating.ratings import Rating, Warn

PROVISIONAL = "the builtin checker, provisional"
UNKNOWN = "not known here"  # the compiler is on another machine


@dataclass(frozen=True)
class Showing:
    """One pair as one rater sees it: texts are Markdown; `number` is its place in the rater's order, from 1.

    `left_cut`, `right_cut`: the answer ended by the token limit. `named`: an answer names a model. `notes`: what the
    prompt's author asks raters to look at.
    """

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
    """`left`, `right`, `tie` or `bad`, and what the rater noted."""

    vote: str
    note: str


class Session(Protocol):
    """What the page needs of a session."""

    @property
    def page(self) -> str:
        """The name of what is shown: other answers or another order have another."""

    @property
    def rater(self) -> str:
        """Who rates."""

    @property
    def showings(self) -> Sequence[Showing]:
        """All pairs, in the rater's order."""

    def votes(self) -> dict[int, Vote]:
        """The votes that count, by number; read from the file each time."""

    def record(self, number: int, vote: str | None, note: str, ms: int) -> None:
        """Add a vote, or take it back with None: it is on disk on return. Raises BbjspecError."""

    @property
    def judge(self) -> str:
        """Who gives the verdicts."""

    def verdicts(self) -> list[tuple[str, str]]:
        """What the compiler says of the left and the right answer of each showing: to be shown when all are rated."""


class RaterSession:
    """A session on an experiment's `ratings.jsonl`."""

    def __init__(self, root: Path, answers: Answers, rater: str, warn: Warn) -> None:
        self.rater = rater
        self._path = root / "adapters" / answers.experiment / ratings.FILE
        self._shown = f"adapters/{answers.experiment}/{ratings.FILE}"
        self._warn = warn
        self._against = answers.against
        self._compiler = dict(answers.compiler)
        pairs = {pair.prompt.id: pair for pair in answers.to_rate}
        self._places = order(sorted(pairs), rater, answers.experiment, answers.against)
        self._sides = [_sides(pairs[place.item], place) for place in self._places]
        self.showings = [
            Showing(
                number,
                pairs[place.item].prompt.category,
                pairs[place.item].prompt.input,
                left.text,
                right.text,
                left.cut,
                right.cut,
                pairs[place.item].named,
                pairs[place.item].prompt.notes or "",
            )
            for number, (place, ((left, _), (right, _))) in enumerate(
                zip(self._places, self._sides, strict=True), start=1
            )
        ]

    @cached_property
    def page(self) -> str:
        """The name of what is shown."""
        return digest([[place.item, left[1], right[1]] for place, (left, right) in self._together])

    @property
    def _together(self) -> list[tuple[Place, tuple[tuple[Answer, str], tuple[Answer, str]]]]:
        return list(zip(self._places, self._sides, strict=True))

    @property
    def complete(self) -> bool:
        """Whether every showing has a vote."""
        return len(self.votes()) == len(self.showings)

    def votes(self) -> dict[int, Vote]:
        """The votes that count, by number. One given while the answers stood the other way round is turned."""
        counting, found = ratings.latest(ratings.read(self._path, ratings.FILE)), {}
        for number, (place, ((_, left), (_, right))) in enumerate(self._together, start=1):
            key = (self._against, self.rater, place.item, frozenset((left, right)), place.repeat_of is not None)
            if (one := counting.get(key)) is not None:
                vote = one.vote if one.left == left else {"left": "right", "right": "left"}.get(str(one.vote), one.vote)
                found[number] = Vote(str(vote), one.note)
        return found

    def rating(self, number: int, vote: str | None, note: str, ms: int, time: datetime) -> Rating:
        """The line for a vote. Raises ValueError for what cannot be one."""
        if not 1 <= number <= len(self.showings):
            raise ValueError(f"number: {number} is none of 1 to {len(self.showings)}")
        place, ((_, left), (_, right)) = self._together[number - 1]
        return Rating(
            item=place.item,
            rater=self.rater,
            against=self._against,
            number=number,
            left=left,
            right=right,
            vote=vote,  # type: ignore[arg-type]  # checked there
            ms=ms,
            note=note,
            time=time,
            repeat_of=place.repeat_of,
        )

    def record(self, number: int, vote: str | None, note: str, ms: int) -> None:
        """Add a vote, or take it back with None: it is on disk on return."""
        self.add([self.rating(number, vote, note, ms, datetime.now(UTC))])

    def add(self, lines: Sequence[Rating]) -> None:
        """Add lines, all of them or none."""
        ratings.append(self._path, self._shown, lines, self._warn)

    def known(self) -> set[Rating]:
        """All lines of this rater."""
        return {one for one in ratings.read(self._path, ratings.FILE) if one.rater == self.rater}

    @property
    def judge(self) -> str:
        """Who gives the verdicts, in words."""
        return PROVISIONAL if self._compiler.get("name") == "builtin" else str(self._compiler.get("name"))

    def verdicts(self) -> list[tuple[str, str]]:
        """What the spec's compiler says of the programs in the left and the right answer of each showing."""
        answers = [answer for sides in self._sides for answer, _ in sides]
        programs = [extract(answer.text).code for answer in answers]
        try:
            compiler = open_compiler(self._compiler["name"], self._compiler.get("version"))
        except (EnvironmentLacks, KeyError, ValueError):
            return [(UNKNOWN, UNKNOWN) for _ in self._sides]
        judged = iter(compiler.compile([program for program in programs if program.strip()]))
        said = [_said(next(judged)) if program.strip() else "no program" for program in programs]
        return list(zip(said[::2], said[1::2], strict=True))


def _sides(pair: Pair, place: Place) -> tuple[tuple[Answer, str], tuple[Answer, str]]:
    """The left and the right answer of a showing, each with its id."""
    ours, theirs = zip((pair.ours, pair.theirs), pair.ids, strict=True)
    return (ours, theirs) if place.ours_left else (theirs, ours)


def _said(verdict: Verdict) -> str:
    if verdict.verdict == "valid":
        return "compiles"
    if verdict.verdict == "infra_error":
        return UNKNOWN
    first = verdict.errors[0]
    more = f", and {len(verdict.errors) - 1} more" if len(verdict.errors) > 1 else ""
    return f"error in line {first.line}{more}"
