"""What people's votes come to, in words: in the model card, and on the terminal.

The card is placed before anybody rates, and rated again later, so its section stands between two comments, and the lock
file remembers what the card is without it (`card_frame`): by that a later rating knows the card for the one that was
placed, whatever its section says, and a run that was killed between card and lock is put right by the next one.
"""

from __future__ import annotations

import contextlib
import logging
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bbjspec.digest import sha256_bytes, sha256_file
from bbjspec.errors import BadInput, BbjspecError, EnvironmentLacks, Finding
from bbjspec.figures import chance, count, interval, plain, signed
from bbjspec.markdown import span
from bbjspec.published import LOCKFILE
from bbjspec.rating import ratings
from bbjspec.rating.answers import BASE, read
from bbjspec.rating.result import result
from bbjspec.store import locked, read_json, write_json

CARD = "MODEL_CARD.md"
BEGIN, END = "<!-- @RATINGS@ -->\n", "<!-- @RATINGS_END@ -->\n"
FRAME = "card_frame"
_VERDICTS = {
    "preferred": "preferred to",
    "not preferred": "less liked than",
    "not told apart": "not told apart from",
}


def results(root: Path, name: str, lock: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    """What the votes say of each comparison that was rated, the base first.

    The key file is brought to the answers of today where they can be read; else what it said stays. `lock`: see `read`.
    Raises BadInput for files that are none, and what `read` raises where a key is needed and cannot be made.
    """
    folder = root / "adapters" / name
    votes = ratings.read(folder / ratings.FILE, f"adapters/{name}/{ratings.FILE}")
    rated = {one.against for one in votes}
    keys = ratings.read_key(folder)
    for against in sorted(rated):
        try:
            answers = read(root, name, against, lock)
        except BbjspecError:
            if against not in keys:
                raise
            continue
        ratings.write_key(folder, answers)
        keys[against] = ratings.key_of(answers)
    return [result(name, one, keys[one], votes) for one in sorted(rated, key=lambda one: (one != BASE, one))]


def section(name: str, found: list[dict[str, Any]]) -> str:
    """The card's section on an experiment, without its heading."""
    told = [one for one in found if one["raters"] or one["stale"]]
    if not told:
        return f"Not rated yet: `bbjspec rate {name}`.\n\n"
    return "\n".join(f"{line}\n" if line else "" for one in told for line in [*_paragraphs(one)]).strip("\n") + "\n\n"


def _paragraphs(one: Mapping[str, Any]) -> Iterator[str]:
    """The section of one comparison, block by block."""
    name, against = one["experiment"], whom(one["against"])
    if one["identical"] == one["prompts"]:
        yield f"{name} and {against} answer all {one['prompts']} realistic prompts alike: there is nothing to rate."
        return
    if not one["finished"]:
        yield _unfinished(one)
        return
    yield (
        f"People saw the answers of {name} and of {against} to the same {one['prompts']} realistic prompts side by "
        f"side, not knowing whose they were: {name} is **{_VERDICTS[one['verdict']]} {against}**. {_raters(one)}"
    )
    votes = one["votes"]
    rows = [
        (f"{name} better / {against} better / tie / both bad", " / ".join(count(votes[k]) for k in votes)),
        (
            "win rate over prompts, 95 % interval",
            f"{plain(one['win_rate']['value'])} {interval(one['win_rate']['ci'])}",
        ),
        (
            "prompts won and lost, exact sign test",
            f"{one['sign']['wins']} to {one['sign']['losses']}, p {chance(one['sign']['p'])}",
        ),
        ("left side chosen", _left(one["left"])),
        ("same vote when shown again, sides swapped", _of(one["consistency"]["same"], one["consistency"]["of"])),
    ]
    if one["finished"] > 1:
        rows.append(("agreement of raters, Krippendorff's alpha", plain(one["alpha"])))
    length = one["length"]
    rows += [
        (
            f"length of {name}'s answers less the others', characters",
            f"{signed(length['diff'], 0)} {interval(length['ci'], 0)}",
        ),
        ("longer answer chosen", _of(length["longer_chosen"], length["of"])),
    ]
    yield "\n".join(["| | |", "|---|---|", *(f"| {what} | {value} |" for what, value in rows)])
    yield " ".join(_notes(one))


def whom(against: str) -> str:
    """What it was rated against, in words."""
    return "its base" if against == BASE else against


def option(against: str) -> str:
    """What a command says for it: nothing for the base."""
    return "" if against == BASE else f" --against {against}"


def _raters(one: Mapping[str, Any]) -> str:
    done = [rater for rater in one["raters"] if rater["finished"]]
    said = ", ".join(f"{span(rater['name'])} ({_seconds(rater['ms'])} a pair)" for rater in done)
    return f"Rated by {said}."


def _seconds(ms: int) -> str:
    return f"{ms / 1000:.{0 if ms >= 10_000 else 1}f} s"


def _left(left: Mapping[str, Any]) -> str:
    if not left["of"]:
        return "no side was chosen"
    return f"{_of(left['left'], left['of'])}, {interval(left['ci'])}, exact p {chance(left['p'])}"


def _of(part: int, whole: int) -> str:
    return f"{part} of {whole}" if whole else "none was"


def _notes(one: Mapping[str, Any]) -> Iterator[str]:
    """Sentences on what the figures are, and are not."""
    if one["identical"]:
        same = one["identical"]
        yield f"{same} {'prompt has' if same == 1 else 'prompts have'} twice the same answer, and count as ties."
    yield "A tie and two bad answers count one half; a prompt's score is averaged over raters first."
    if one["needed"]:
        need = one["needed"]
        yield (
            f"{one['prompts']} prompts need {need['wins']}–{need['losses']} for p < 0.05 (p {chance(need['p'])}); "
            f"{need['wins'] - 1}–{need['losses'] + 1} is p {chance(need['p_short'])}."
        )
    else:
        yield f"{one['prompts']} prompts are too few for p < 0.05, whatever the votes."
    for flag, what in (("cut", "an answer is cut short"), ("named", "an answer names a model")):
        if flagged := one["flags"][flag]:
            yield f"In {len(flagged)} of them {what}: {', '.join(map(span, flagged[:5]))}{', …' * (len(flagged) > 5)}."
    if one["left_out"]:
        yield f"Left out: {len(one['left_out'])} ({span(one['left_out'][0])}{', …' * (len(one['left_out']) > 1)})."
    waiting = [rater for rater in one["raters"] if not rater["finished"]]
    if waiting:
        yield _begun(one, waiting)
    if one["stale"]:
        yield _stale(one)


def _begun(one: Mapping[str, Any], waiting: list[Mapping[str, Any]]) -> str:
    said = ", ".join(f"{span(rater['name'])} has rated {rater['rated']} of {rater['of']}" for rater in waiting)
    command = f"bbjspec rate {one['experiment']}{option(one['against'])} --rater {shlex.quote(waiting[0]['name'])}"
    return f"{said}: counted when all are. {span(command)} goes on where it was left."


def _stale(one: Mapping[str, Any]) -> str:
    said = "1 rating is" if one["stale"] == 1 else f"{one['stale']} ratings are"
    return f"{said} of answers that {one['experiment']} gives no more, and counted nowhere."


def _unfinished(one: Mapping[str, Any]) -> str:
    said = [_begun(one, one["raters"])] if one["raters"] else []
    if one["stale"]:
        said.append(_stale(one))
    return f"Not rated yet against {whom(one['against'])}. {' '.join(said)}"


def without(card: str) -> str | None:
    """The card with nothing in its section; None for a card that has no place for one."""
    before, begin, rest = card.partition(BEGIN)
    _, end, after = rest.partition(END)
    return f"{before}{begin}{end}{after}" if begin and end else None


def with_section(card: str, text: str) -> str:
    """The card with this in its section."""
    return card.replace(f"{BEGIN}{END}", f"{BEGIN}{text}{END}", 1)


def place(root: Path, name: str, lock: dict[str, Any]) -> None:
    """Put the section into a card that is just being placed, and both hashes into the lock that is written next."""
    path = root / "adapters" / name / CARD
    if CARD not in lock["files"]:
        return
    text = path.read_text(encoding="utf-8")
    frame = without(text)
    if frame is None:
        return
    lock[FRAME] = sha256_bytes(frame.encode())
    try:
        told = section(name, results(root, name, lock))
    except BbjspecError as error:
        told = f"The ratings cannot be read: {span(error)}.\n\n"
    _scratch(path, with_section(frame, told)).replace(path)
    lock["files"][CARD] = sha256_file(path)


def update(root: Path, name: str) -> bool:
    """Bring a placed card's section up to date; whether it changed.

    Raises BadInput for a card that is not the one that was placed, or that has no such section, EnvironmentLacks where
    it cannot be written.
    """
    try:
        with locked(root / "build" / "publish", logging.getLogger("bbjspec.rating")):
            return _update(root, name)
    except OSError as error:
        raise EnvironmentLacks(f"adapters/{name}/{CARD}: cannot be written: {error.strerror}") from error


def _update(root: Path, name: str) -> bool:
    folder = root / "adapters" / name
    lock, shown = read_json(folder / LOCKFILE), f"adapters/{name}/{CARD}"
    try:
        text = (folder / CARD).read_bytes().decode()
        frame, known = without(text), lock.get(FRAME)
    except (OSError, UnicodeDecodeError, AttributeError) as error:
        raise BadInput([Finding(shown, 0, 0, "", "is not there as it was placed; git checkout restores it")]) from error
    if known is None or frame is None:
        message = f"has no place for ratings: snakemake --cores 8 {name} --resources gpu=1 makes it anew"
        raise BadInput([Finding(shown, 0, 0, "", message)])
    if sha256_bytes(frame.encode()) != known:
        raise BadInput([Finding(shown, 0, 0, "", "is not the card that was placed; git checkout restores it")])
    made = with_section(frame, section(name, results(root, name)))
    sha256 = sha256_bytes(made.encode())
    if made == text and lock["files"][CARD] == sha256:
        return False
    _place(folder, made, {**lock, "files": {**lock["files"], CARD: sha256}})
    return True


def _place(folder: Path, card: str, lock: Mapping[str, Any]) -> None:
    """Write lock and card; what a full disk leaves of the card is taken away."""
    try:
        scratch = _scratch(folder / CARD, card)
        write_json(folder / LOCKFILE, lock)
        scratch.replace(folder / CARD)
    except OSError:
        with contextlib.suppress(OSError):
            (folder / f".{CARD}.tmp").unlink(missing_ok=True)
        raise


def _scratch(path: Path, text: str) -> Path:
    scratch = path.with_name(f".{path.name}.tmp")
    scratch.write_text(text, encoding="utf-8", newline="\n")
    return scratch
