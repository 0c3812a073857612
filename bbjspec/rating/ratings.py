"""The two files of an experiment's ratings, `adapters/<experiment>/ratings.jsonl` and `ratings_key.json`.

Votes are only ever appended, one JSON object a line, each on disk before its rater is told so; several raters may write
at once. What a rater voted last about a pair counts; a vote of null takes the one before back. Lines name answers by
their ids, and only the key says whose an answer is.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from io import FileIO
from pathlib import Path
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator

from bbjspec.errors import BadInput, EnvironmentLacks, Finding
from bbjspec.rating.answers import Answers
from bbjspec.spec.names import is_name
from bbjspec.store import read_json, write_json

FILE, KEY = "ratings.jsonl", "ratings_key.json"
LONGEST_NOTE, LONGEST_NAME = 2000, 60  # characters
LONGEST_MS = 365 * 24 * 60 * 60 * 1000
NAME = f"a name of at most {LONGEST_NAME} visible characters on one line"
Vote = Literal["left", "right", "tie", "bad"]
Warn = Callable[[str], None]


def is_rater(name: str) -> bool:
    """Whether a rater may be called so: it stands in reports, on terminals too."""
    return 0 < len(name) <= LONGEST_NAME and name.isprintable() and name == name.strip()


class Rating(BaseModel):
    """One line: a rater's vote about the answers `left` and `right` (ids) to `item`, at place `number` of its order.

    `vote` null takes back. `against`: the comparison. `ms`: how long the pair was looked at. `repeat_of`: the place
    that this one repeats.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    item: str
    rater: str
    against: str
    number: int = Field(ge=1)
    left: str
    right: str
    vote: Vote | None
    ms: int = Field(ge=0, le=LONGEST_MS)
    note: str = Field(max_length=LONGEST_NOTE)
    time: AwareDatetime = Field(strict=False)
    repeat_of: int | None = Field(ge=1)

    @field_validator("rater")
    @classmethod
    def _is_a_name(cls, name: str) -> str:
        if not is_rater(name):
            raise ValueError(f"{NAME} is meant")
        return name

    @property
    def pair(self) -> frozenset[str]:
        """The two answers, whichever side they stood on."""
        return frozenset((self.left, self.right))


def said(error: ValidationError) -> str:
    """What is wrong with a line or a file, in a few words."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    place = "".join(f"{part}: " for part in [".".join(map(str, first["loc"]))] if part)
    return f"{place}{first['msg'].removeprefix('Value error, ')}"


def read(path: Path, shown: str) -> list[Rating]:
    """All lines, in order; none without the file. A last line that was never finished is not among them.

    Raises BadInput for another line that is none, EnvironmentLacks for a file that cannot be read.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise EnvironmentLacks(f"{shown}: cannot be read: {error.strerror}") from error
    whole, _, tail = data.rpartition(b"\n")
    found, findings = [], []
    for line, text in enumerate(whole.split(b"\n") if whole else (), start=1):
        try:
            found.append(_RATING.validate_json(text))
        except ValidationError as error:
            findings.append(Finding(shown, line, 0, "", f"no rating: {said(error)}; take the line out"))
    if findings:
        raise BadInput(findings)
    if tail and (last := _finished(tail)):
        found.append(last)
    return found


_RATING = TypeAdapter(Rating)


def _finished(tail: bytes) -> Rating | None:
    """The rating in a last line without its line end, if all else of it was written."""
    try:
        return _RATING.validate_json(tail)
    except ValidationError:
        return None


def append(path: Path, shown: str, ratings: Iterable[Rating], warn: Warn) -> None:
    """Add lines: all of them are on disk when this returns, or none is. Waits for others who write there. Without
    lines, the file is only put right.

    A last line that a killed writer left is finished or cut off first, which is told. Raises EnvironmentLacks where
    nothing can be written.
    """
    lines = b"".join(json.dumps(one.model_dump(mode="json"), ensure_ascii=False).encode() + b"\n" for one in ratings)
    new = not path.exists()
    try:
        # Unbuffered: a buffer that could not be written would be tried again when the file is closed.
        with path.open("ab+", buffering=0) as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            _repair(stream, shown, warn)
            before = stream.seek(0, os.SEEK_END)
            try:
                while lines:
                    lines = lines[stream.write(lines) :]
                os.fsync(stream.fileno())
            except OSError:
                os.ftruncate(stream.fileno(), before)
                raise
        if new:
            _sync(path.parent)
    except OSError as error:
        # The page shows it, and is to hold no experiment's name.
        raise EnvironmentLacks(f"{path.name}: the vote is not saved: {error.strerror}") from error


def _repair(stream: FileIO, shown: str, warn: Warn) -> None:
    """End the file with a line end: after a line that lacks nothing else, or without what was begun."""
    stream.seek(0)
    data = stream.read()
    whole, end, tail = data.rpartition(b"\n")
    if not tail:
        return
    if _finished(tail):
        stream.write(b"\n")
        return
    stream.truncate(len(whole) + len(end))
    cut = tail.decode("utf-8", "replace")
    warn(f"{shown}: its last line was never finished, and is taken away: {cut[:200]}")


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def key_of(answers: Answers) -> dict[str, Any]:
    """What the key file says of one comparison: of each item the ids of the two answers, the experiment's first.

    `chars` are the lengths of the two, `flags` what may sway a rater.
    """
    return {
        "items": {
            pair.prompt.id: {
                "answers": list(pair.ids),
                "chars": [len(answer.text) for answer in (pair.ours, pair.theirs)],
                "flags": [
                    flag for flag, set_ in (("cut", pair.ours.cut or pair.theirs.cut), ("named", pair.named)) if set_
                ],
            }
            for pair in answers.pairs
        },
        "left_out": list(answers.left_out),
    }


def write_key(folder: Path, answers: Answers) -> None:
    """Put the comparison into the key file, beside others. The same answers give the same bytes on every machine."""
    known = read_key(folder)
    made = {"schema_version": 1, "against": {**known, answers.against: key_of(answers)}}
    if read_json(folder / KEY) != made:
        write_json(folder / KEY, made)


def read_key(folder: Path) -> dict[str, Any]:
    """The comparisons of the key file, by what is rated against; none without the file. Raises BadInput."""
    path = folder / KEY
    if not path.exists():
        return {}
    document = read_json(path)
    try:
        against = document["against"]
        for name, comparison in against.items():
            if not is_name(name):
                raise ValueError(f"{name} is no experiment's name")
            _check_items(comparison["items"])
            list(comparison["left_out"])
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        shown = f"adapters/{folder.name}/{KEY}"
        message = f"no key of ratings; remove it, and bbjspec rate {folder.name} writes it anew"
        raise BadInput([Finding(shown, 0, 0, "", message)]) from error
    return dict(against)


def _check_items(items: Mapping[str, Any]) -> None:
    for entry in items.values():
        (one, other), (_, _), flags = entry["answers"], map(int, entry["chars"]), entry["flags"]
        if not all(isinstance(text, str) for text in (one, other, *flags)):
            raise ValueError("ids and flags are text")


def latest(ratings: Sequence[Rating]) -> dict[tuple[str, str, str, frozenset[str], bool], Rating]:
    """The ratings that count: by (against, rater, item, pair, whether it repeats). What was taken back is not there.

    The last one counts by its time: what git or an import has joined is in no order.
    """
    inorder = sorted(ratings, key=lambda one: one.time)
    found = {(one.against, one.rater, one.item, one.pair, one.repeat_of is not None): one for one in inorder}
    return {key: one for key, one in found.items() if one.vote is not None}
