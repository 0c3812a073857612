"""`bbjspec rate`: a session in the browser, a page for a colleague and what comes back of it, and the result."""

from __future__ import annotations

import getpass
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from bbjspec import terminal
from bbjspec.committing import to_commit
from bbjspec.errors import BadInput, EnvironmentLacks, Finding, UsageError
from bbjspec.markdown import plain_name
from bbjspec.rating import ratings, section
from bbjspec.rating.answers import BASE, Answers, read
from bbjspec.rating.ratings import LONGEST_NAME, Vote
from bbjspec.rating.session import RaterSession

LARGEST = 5_000_000  # bytes of a file that comes back
FEW = 20  # prompts below which a result is hardly ever clear
LISTED = 8  # flagged prompts named
_OUTCOMES = {"win": "better", "loss": "worse", "tie": "tie", "bad": "both bad"}


class _Returned(BaseModel):
    """One vote of a page that was sent back."""

    model_config = ConfigDict(extra="forbid", strict=True)

    number: int
    vote: Vote | None
    note: str
    ms: int
    time: AwareDatetime = Field(strict=False)


class _Document(BaseModel):
    """What a page that was sent away saves."""

    model_config = ConfigDict(extra="forbid", strict=True)

    schema_version: Literal[1]
    page: str
    rater: str
    votes: list[_Returned]


@dataclass(frozen=True)
class Asked:
    """The command line."""

    name: str
    against: str = BASE
    rater: str | None = None
    host: str = "127.0.0.1"
    port: int = 0


def serve(root: Path, asked: Asked) -> None:
    """A session on a page of this machine; returns when it is finished or Ctrl-C is pressed."""
    answers = read(root, asked.name, asked.against)
    session = _session(root, answers, asked.rater or _user())
    if session.complete:
        print(f"{session.rater} has rated all of them")
        report(root, asked.name, asked.against)
        return
    for line in _about(answers, session):
        print(line)
    from bbjspec.rating import server

    server.serve(session, asked.host, asked.port, tell=_tell)
    _after(root, asked, session)


def export(root: Path, asked: Asked, file: Path) -> None:
    """Write the page as one file, for a colleague. Raises UsageError without a rater, or where a file is."""
    if asked.rater is None:
        raise UsageError("--export: the page is one rater's: say whose by --rater NAME")
    if file.exists():
        raise UsageError(f"{file}: exists; write another name, or remove it")
    answers = read(root, asked.name, asked.against)
    session = _session(root, answers, asked.rater)
    for line in _about(answers, session):
        print(line)
    from bbjspec.rating.page import page

    text, _ = page(session, offline=True)
    try:
        file.write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise EnvironmentLacks(f"{file}: cannot be written: {error.strerror}") from error
    print(f"{file}: for {session.rater}, who opens it in a browser and sends ratings.json back")
    print(f"then: bbjspec rate {asked.name}{_option(asked)} --import ratings.json")


def take_back(root: Path, asked: Asked, file: Path) -> None:
    """Add the votes of a page that was sent away; those that are there already are not added again."""
    document = _document(file)
    if asked.rater not in (None, document.rater):
        raise UsageError(f"--rater {asked.rater}: {file} is {document.rater}'s; leave --rater out")
    session = _session(root, read(root, asked.name, asked.against), document.rater)
    if document.page != session.page:
        raise BadInput(
            [Finding(str(file), 0, 0, "page", f"rates other answers than those of {asked.name} and {_whom(asked)} now")]
        )
    made = []
    for at, vote in enumerate(document.votes):
        try:
            made.append(session.rating(vote.number, vote.vote, vote.note, vote.ms, vote.time))
        except ValidationError as error:
            raise BadInput([Finding(str(file), 0, 0, f"votes.{at}", ratings.said(error))]) from error
        except ValueError as error:
            raise BadInput([Finding(str(file), 0, 0, f"votes.{at}", str(error))]) from error
    known = session.known()
    new = [one for one in made if one not in known]
    if new:
        session.add(new)
    print(f"{len(new)} votes of {session.rater} added, {len(made) - len(new)} were there already")
    _after(root, asked, session)


def report(root: Path, name: str, against: str | None = None) -> None:
    """Print what the votes say and bring the card up to date."""
    found = _results(root, name, against)
    text = section.section(name, found).strip("\n")
    if terminal.plain():
        print(text)
    else:
        from rich.markdown import Markdown

        terminal.console().print(Markdown(text, hyperlinks=False))
    for one in found:
        terminal.show(_prompts(one))
    _place(root, name)


def as_data(root: Path, name: str, against: str | None = None) -> list[dict[str, Any]]:
    """The same as data."""
    return _results(root, name, against)


def _results(root: Path, name: str, against: str | None) -> list[dict[str, Any]]:
    """Of all comparisons, or of one. Raises UsageError for an experiment without results."""
    if not ratings.read_key(root / "adapters" / name):
        read(root, name, against or BASE)  # says what is wrong with the name
    section.refresh_key(root, name)
    return [one for one in section.results(root, name) if against in (None, one["against"])]


def _prompts(one: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Each prompt with what its raters said, in lines; nothing while nobody has finished."""
    if not one["finished"]:
        return
    yield "", ""
    width = max(map(len, one["by_prompt"]))
    for item, told in one["by_prompt"].items():
        said = ", ".join(f"{rater} {_OUTCOMES[vote]}" for rater, vote in told["votes"].items())
        yield f"{item:<{width}}  {said or 'the same answer twice'}", ""
        for rater, note in told["notes"].items():
            yield f"{'':<{width}}  {rater}: {plain_name(note, 400)}", "dim"


def _session(root: Path, answers: Answers, rater: str) -> RaterSession:
    """The session, its key file written. Raises UsageError for what is no name, and where nothing is to rate."""
    if not rater.strip() or len(rater) > LONGEST_NAME or not rater.isprintable() or rater != rater.strip():
        raise UsageError(f"--rater: a name of at most {LONGEST_NAME} characters on one line is meant")
    folder = root / "adapters" / answers.experiment
    try:
        ratings.write_key(folder, answers)
    except OSError as error:
        raise EnvironmentLacks(f"{folder.name}/{ratings.KEY}: cannot be written: {error.strerror}") from error
    if not answers.to_rate:
        raise UsageError(f"{answers.experiment} and {answers.against} answer every realistic prompt alike")
    return RaterSession(root, answers, rater, lambda line: print(f"warning: {line}", file=sys.stderr))


def _about(answers: Answers, session: RaterSession) -> Iterator[str]:
    """What there is to rate, before the session: nothing that tells the sides apart."""
    pairs, to_rate = answers.pairs, answers.to_rate
    again = len(session.showings) - len(to_rate)
    yield f"{len(to_rate)} pairs to rate by {session.rater}, {again} of them shown again"
    if len(pairs) > len(to_rate):
        yield f"{len(pairs) - len(to_rate)} are the same answer twice: ties already"
    for what, flagged in (
        ("cut short", [pair.prompt.id for pair in to_rate if pair.ours.cut or pair.theirs.cut]),
        ("naming a model", [pair.prompt.id for pair in to_rate if pair.named]),
    ):
        if flagged:
            more = ", …" if len(flagged) > LISTED else ""
            yield f"{len(flagged)} with an answer {what}: {', '.join(flagged[:LISTED])}{more}"
    for reason in answers.left_out:
        yield f"left out: {reason}"
    if len(pairs) < FEW:
        yield f"note: {len(pairs)} prompts are few; {FEW} need 15 to 5 for p < 0.05"
    if done := len(session.votes()):
        yield f"{done} of {len(session.showings)} are rated already"


def _after(root: Path, asked: Asked, session: RaterSession) -> None:
    """The result when all is rated, else how to go on; and the card."""
    done, of = len(session.votes()), len(session.showings)
    if done < of:
        print(f"{done} of {of} rated; bbjspec rate {asked.name}{_option(asked)} goes on")
        _place(root, asked.name)
    else:
        report(root, asked.name, asked.against)
    for line in to_commit(root, f"adapters/{asked.name}", [f"adapters/{asked.name}"]):
        print(line)


def _place(root: Path, name: str) -> None:
    """The card's section, where there is a card for it: a vote is saved whether or not the card can be."""
    try:
        if section.update(root, name):
            print(f"adapters/{name}/{section.CARD}: its section “Rated by people” is up to date")
    except BadInput as error:
        print(f"the card is as it was: {error}", file=sys.stderr)


def _document(file: Path) -> _Document:
    try:
        if file.stat().st_size > LARGEST:
            raise BadInput([Finding(str(file), 0, 0, "", f"more than {LARGEST:,} bytes: no ratings of a page")])
        return _Document.model_validate_json(file.read_bytes())
    except OSError as error:
        raise UsageError(f"{file}: cannot be read: {error.strerror}") from error
    except ValidationError as error:
        raise BadInput([Finding(str(file), 0, 0, "", f"not what a page saves: {ratings.said(error)}")]) from error


def _user() -> str:
    """Who sits here, by git's configuration or else by the system."""
    try:
        done = subprocess.run(
            ["git", "config", "user.name"], capture_output=True, text=True, timeout=10, check=False, errors="replace"
        )
        name = done.stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        name = ""
    try:
        return (name or getpass.getuser())[:LONGEST_NAME].strip()
    except (OSError, KeyError) as error:
        raise UsageError("--rater NAME is needed here: neither git nor the system knows who you are") from error


def _tell(url: str) -> None:
    """Say where the page is, and open it where there is a screen."""
    print(f"{url}\nCtrl-C ends the session; every vote is saved as it is given", flush=True)
    if sys.stdout.isatty() and (
        sys.platform == "darwin" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    ):
        import webbrowser

        webbrowser.open(url)


def _whom(asked: Asked) -> str:
    return "its base" if asked.against == BASE else asked.against


def _option(asked: Asked) -> str:
    return "" if asked.against == BASE else f" --against {asked.against}"
