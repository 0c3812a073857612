"""`bbjspec rate`: a session in the browser, a page for a colleague and what comes back of it, and the result."""

from __future__ import annotations

import getpass
import os
import shlex
import sys
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from bbjspec import terminal
from bbjspec.committing import git, to_commit
from bbjspec.errors import BadInput, EnvironmentLacks, Finding, UsageError
from bbjspec.markdown import plain_name
from bbjspec.published import LOCKFILE
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
    rater = _user() if asked.rater is None else asked.rater
    if rater is None:
        raise UsageError("--rater NAME is needed here: neither git nor the system knows who you are")
    session = _session(root, answers, rater)
    if session.complete:
        print(f"{session.rater} has rated all of them")
        _after(root, asked, session)
        return
    from bbjspec.rating import server

    def tell(url: str) -> None:
        _keep_key(root, answers)
        for line in _about(answers, session):
            print(line)
        _tell(url)

    server.serve(session, asked.host, asked.port, tell=tell)
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
    if session.votes():
        print(f"note: the page knows no earlier votes of {session.rater}; what comes back from it replaces them")
    from bbjspec.rating.page import page

    text, _ = page(session, offline=True)
    try:
        file.write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise EnvironmentLacks(f"{file}: cannot be written: {error.strerror}") from error
    print(f"{file}: for {session.rater}, who opens it in a browser and sends ratings.json back")
    print(f"then: bbjspec rate {asked.name}{section.option(asked.against)} --import ratings.json")


def take_back(root: Path, asked: Asked, file: Path) -> None:
    """Add the votes of a page that was sent away; those that are there already are not added again."""
    document = _document(file)
    if asked.rater not in (None, document.rater):
        raise UsageError(f"--rater {asked.rater}: {file} is {document.rater}'s; leave --rater out")
    answers = read(root, asked.name, asked.against)
    session = _session(root, answers, document.rater)
    if document.page != session.page:
        message = (
            f"rates other answers than those of {asked.name} and {section.whom(asked.against)} now; import it at the "
            "commit at which it was exported"
        )
        raise BadInput([Finding(str(file), 0, 0, "page", message)])
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
        _keep_key(root, answers)
        session.add(new)
    print(f"{_counted(len(new), 'vote')} of {session.rater} added, {len(made) - len(new)} there already")
    _after(root, asked, session)


def report(root: Path, name: str, against: str | None = None) -> None:
    """Print what the votes say, put it into the card, and say what to commit."""
    _show(root, name, against)
    if _place(root, name):
        _say_commit(root, name, section.CARD, LOCKFILE)


def _show(root: Path, name: str, against: str | None) -> None:
    found = _results(root, name, against)
    text = section.section(name, found).strip("\n") if found or against is None else _unrated(root, name, against)
    if terminal.plain():
        print(text)
    else:
        from rich.markdown import Markdown

        terminal.console().print(Markdown(text, hyperlinks=False))
    for one in found:
        terminal.show(_prompts(one))


def _unrated(root: Path, name: str, against: str) -> str:
    """What is said of a comparison without ratings. Raises as `read` does for one that there cannot be."""
    if not read(root, name, against).to_rate:
        return f"{name} and {against} answer every realistic prompt alike: there is nothing to rate."
    return f"Not rated yet: `bbjspec rate {name}{section.option(against)}`."


def as_data(root: Path, name: str, against: str | None = None) -> list[dict[str, Any]]:
    """The same as data."""
    return _results(root, name, against)


def _results(root: Path, name: str, against: str | None) -> list[dict[str, Any]]:
    """Of all comparisons, or of one. Raises UsageError for an experiment without results."""
    path, shown = _file(root, name)
    if not path.exists():
        read(root, name, against or BASE)  # says what is wrong with the name
    elif os.access(path, os.W_OK):
        ratings.append(path, shown, [], _warn)
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
        for rater, notes in told["notes"].items():
            for note in notes:
                yield f"{'':<{width}}  {rater}: {plain_name(note, 400)}", "dim"


def _session(root: Path, answers: Answers, rater: str) -> RaterSession:
    """The session, its file put right. Raises UsageError for what is no name, and where nothing is to rate,
    EnvironmentLacks where votes could not be kept."""
    rater = unicodedata.normalize("NFC", rater)  # one name that is typed in two ways is one rater
    if not ratings.is_rater(rater):
        raise UsageError(f"--rater: {ratings.NAME} is meant")
    if not answers.to_rate:
        raise UsageError(f"{answers.experiment} and {answers.against} answer every realistic prompt alike")
    path, shown = _file(root, answers.experiment)
    if not os.access(path.parent, os.W_OK):
        raise EnvironmentLacks(f"adapters/{answers.experiment}: cannot be written, and votes are kept there")
    if path.exists():
        ratings.append(path, shown, [], _warn)
    ratings.read(path, shown)
    return RaterSession(root, answers, rater, _warn)


def _keep_key(root: Path, answers: Answers) -> None:
    """Write the key file, before the first vote that needs it."""
    folder = root / "adapters" / answers.experiment
    try:
        ratings.write_key(folder, answers)
    except OSError as error:
        shown = f"adapters/{answers.experiment}/{ratings.KEY}"
        raise EnvironmentLacks(f"{shown}: cannot be written: {error.strerror}") from error


def _file(root: Path, name: str) -> tuple[Path, str]:
    """Where an experiment's ratings are, and how messages call it."""
    shown = f"adapters/{name}/{ratings.FILE}"
    return root / shown, shown


def _warn(line: str) -> None:
    print(f"warning: {line}", file=sys.stderr)


def _about(answers: Answers, session: RaterSession) -> Iterator[str]:
    """What there is to rate, before the session: nothing that tells the sides apart."""
    pairs, to_rate = answers.pairs, answers.to_rate
    again = len(session.showings) - len(to_rate)
    yield f"{_counted(len(to_rate), 'pair')} to rate by {session.rater}, {again} of them shown again"
    if same := len(pairs) - len(to_rate):
        yield f"{_counted(same, 'more prompt')} with the same answer twice: ties already"
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
    """The result when all is rated, else how to go on; and what to commit."""
    done, of = len(session.votes()), len(session.showings)
    if done < of:
        rater = "" if session.rater == _user() else f" --rater {shlex.quote(session.rater)}"
        print(f"{done} of {of} rated; bbjspec rate {asked.name}{section.option(asked.against)}{rater} goes on")
    else:
        _show(root, asked.name, asked.against)
        print(f"bbjspec rate {asked.name} --report puts this into the card")
    _say_commit(root, asked.name, ratings.FILE, ratings.KEY)


def _say_commit(root: Path, name: str, *files: str) -> None:
    """The files alone: what raters in two clones have added is joined, two versions of a card are not."""
    for line in to_commit(root, f"adapters/{name}", [f"adapters/{name}/{file}" for file in files]):
        print(line)


def _place(root: Path, name: str) -> bool:
    """The card's section, where there is a card for it; whether it changed."""
    try:
        if not section.update(root, name):
            return False
    except (BadInput, EnvironmentLacks) as error:
        print(f"the card is as it was: {error}", file=sys.stderr)
        return False
    print(f"adapters/{name}/{section.CARD}: its section “Rated by people” is up to date")
    return True


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _document(file: Path) -> _Document:
    try:
        if file.stat().st_size > LARGEST:
            raise BadInput([Finding(str(file), 0, 0, "", f"more than {LARGEST:,} bytes: no ratings of a page")])
        return _Document.model_validate_json(file.read_bytes())
    except OSError as error:
        raise UsageError(f"{file}: cannot be read: {error.strerror}") from error
    except ValidationError as error:
        raise BadInput([Finding(str(file), 0, 0, "", f"not what a page saves: {ratings.said(error)}")]) from error


def _user() -> str | None:
    """Who sits here, by git's configuration or else by the system; None where neither knows."""
    name = git(Path.cwd(), "config", "user.name")
    try:
        return (name or getpass.getuser())[:LONGEST_NAME].strip()
    except (OSError, KeyError):
        return None


def _tell(url: str) -> None:
    """Say where the page is, and open it where there is a screen."""
    print(f"{url}\nCtrl-C ends the session; every vote is saved as it is given", flush=True)
    if sys.stdout.isatty() and (
        sys.platform == "darwin" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    ):
        import webbrowser

        webbrowser.open(url)
