"""ratings.jsonl: appended to, on disk before anybody is told so, shared, and repaired when a writer was killed."""

from __future__ import annotations

import json
import multiprocessing
import resource
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bbjspec.errors import BadInput, EnvironmentLacks
from bbjspec.rating import ratings
from bbjspec.rating.ratings import Rating, append, latest, read
from tests.harness import REPOSITORY

SHOWN = "adapters/v1/ratings.jsonl"


def rating(item: str = "t/real/01", vote: str | None = "left", **changes: Any) -> Rating:
    known: dict[str, Any] = {
        "rater": "ana",
        "against": "base",
        "number": 1,
        "left": "a",
        "right": "b",
        "ms": 900,
        "note": "",
    }
    known |= {"time": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "repeat_of": None}
    return Rating(item=item, vote=vote, **{**known, **changes})  # type: ignore[arg-type]


def silent(_: str) -> None:
    raise AssertionError("a warning")


def test_a_line_is_what_the_docs_say(tmp_path: Path) -> None:
    append(tmp_path / "r.jsonl", SHOWN, [rating(note="größer", repeat_of=None)], silent)
    text = (tmp_path / "r.jsonl").read_text(encoding="utf-8")
    assert text == (
        '{"item": "t/real/01", "rater": "ana", "against": "base", "number": 1, "left": "a", "right": "b", '
        '"vote": "left", "ms": 900, "note": "größer", "time": "2026-01-02T03:04:05Z", "repeat_of": null}\n'
    )


@settings(deadline=None)  # every line waits for the disk
@given(st.lists(st.tuples(st.sampled_from(("left", "right", "tie", "bad", None)), st.text(max_size=30)), max_size=8))
def test_what_is_appended_is_read_again(votes: list[tuple[str | None, str]]) -> None:
    import tempfile

    made = [rating(vote=vote, note=note.encode("utf-8", "ignore").decode()) for vote, note in votes]
    with tempfile.TemporaryDirectory() as folder:
        for one in made:
            append(Path(folder) / "r.jsonl", SHOWN, [one], silent)
        assert read(Path(folder) / "r.jsonl", SHOWN) == made


def test_the_last_vote_counts_and_null_takes_back() -> None:
    votes = [rating(vote="left"), rating(vote="tie"), rating("t/real/02"), rating("t/real/02", None)]
    votes += [rating(vote="bad", repeat_of=1), rating(vote="right", rater="bo")]
    assert sorted((key[1], key[2], one.vote) for key, one in latest(votes).items()) == [
        ("ana", "t/real/01", "bad"),
        ("ana", "t/real/01", "tie"),
        ("bo", "t/real/01", "right"),
    ]


def test_the_last_vote_is_the_last_by_its_time() -> None:
    """What git or an import has joined is in no order."""
    early = rating(vote="left", time=datetime(2026, 1, 1, tzinfo=UTC))
    assert [one.vote for one in latest([rating(vote="tie"), early]).values()] == ["tie"]


def test_comparisons_are_kept_apart() -> None:
    assert len(latest([rating(), rating(against="v2")])) == 2


def test_a_rater_has_a_name_that_shows_itself() -> None:
    for name in ("", " ana", "a\nb", "\x1b[31mbo", "zero\u200bwidth", "a" * 61):
        with pytest.raises(ValueError, match="a name of at most 60 visible characters on one line is meant"):
            rating(rater=name)
    assert rating(rater="Zoë 🦓").rater == "Zoë 🦓"


@pytest.mark.parametrize("cut", [1, 30, 100])
def test_a_torn_last_line_is_taken_away_with_a_warning(tmp_path: Path, cut: int) -> None:
    file = tmp_path / "r.jsonl"
    append(file, SHOWN, [rating(), rating("t/real/02")], silent)
    whole = file.read_bytes()
    torn = whole[: whole.index(b"\n") + 1] + whole.splitlines()[1][:cut]
    file.write_bytes(torn)
    assert [one.item for one in read(file, SHOWN)] == ["t/real/01"] and file.read_bytes() == torn
    told: list[str] = []
    append(file, SHOWN, [rating("t/real/03")], told.append)
    assert [one.item for one in read(file, SHOWN)] == ["t/real/01", "t/real/03"]
    assert told == [f"{SHOWN}: its last line was never finished, and is taken away: {torn.splitlines()[1].decode()}"]


def test_a_last_line_that_lacks_its_end_alone_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "r.jsonl"
    append(file, SHOWN, [rating()], silent)
    file.write_bytes(file.read_bytes().rstrip(b"\n"))
    assert read(file, SHOWN) == [rating()]
    append(file, SHOWN, [rating("t/real/02")], silent)
    assert read(file, SHOWN) == [rating(), rating("t/real/02")]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("<<<<<<< HEAD", "Invalid JSON: expected value at line 1 column 1"),
        ('{"item": "x"}', "rater: Field required"),
        ("", "Invalid JSON: EOF while parsing a value at line 1 column 0"),
        ("[" * 10_000, "Invalid JSON: recursion limit exceeded at line 1 column 202"),
    ],
)
def test_a_line_that_is_none_is_named(tmp_path: Path, line: str, why: str) -> None:
    file = tmp_path / "r.jsonl"
    append(file, SHOWN, [rating()], silent)
    file.write_text(file.read_text() + line + "\n" + file.read_text())
    with pytest.raises(BadInput) as error:
        read(file, SHOWN)
    assert str(error.value) == f"{SHOWN}:2: no rating: {why}; take the line out"


def test_without_a_file_there_are_no_ratings(tmp_path: Path) -> None:
    assert read(tmp_path / "r.jsonl", SHOWN) == []


def _many(file: Path, rater: str) -> None:
    for number in range(1, 101):
        append(file, SHOWN, [rating(rater=rater, number=number)], silent)


def test_two_raters_write_at_once(tmp_path: Path) -> None:
    file, context = tmp_path / "r.jsonl", multiprocessing.get_context("fork")
    writers = [context.Process(target=_many, args=(file, name)) for name in ("ana", "bo", "cy")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    found = read(file, SHOWN)
    for name in ("ana", "bo", "cy"):
        assert [one.number for one in found if one.rater == name] == list(range(1, 101))


WRITER = """
import sys
from pathlib import Path
from tests.rating.test_ratings import SHOWN, append, rating
for number in range(1, 10_000):
    append(Path(sys.argv[1]), SHOWN, [rating(number=number, note="n" * 1500)], print)
    print(number, flush=True)
"""


def test_kill_9_loses_no_vote_that_was_told_to_be_saved(tmp_path: Path) -> None:
    file = tmp_path / "r.jsonl"
    for _ in range(5):
        before = len(read(file, SHOWN))
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(file)], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        first = writer.stdout.readline()
        time.sleep(0.05)
        writer.send_signal(signal.SIGKILL)
        said = [first, *writer.stdout]
        writer.wait()
        told = max(int(line) for line in said if line.endswith("\n") and line.strip().isdigit())
        assert len(read(file, SHOWN)) - before >= told


def test_a_full_disk_is_told_and_leaves_no_half_line(tmp_path: Path) -> None:
    file = tmp_path / "r.jsonl"
    append(file, SHOWN, [rating()], silent)
    before, old = file.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 50, old[1]))
    try:
        with pytest.raises(EnvironmentLacks, match=r"^r\.jsonl: the vote is not saved: File too large$"):
            append(file, SHOWN, [rating("t/real/02")], silent)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, handler)
    assert file.read_bytes() == before
    append(file, SHOWN, [rating("t/real/02")], silent)
    assert [one.item for one in read(file, SHOWN)] == ["t/real/01", "t/real/02"]


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentLacks, match="the vote is not saved: No such file or directory"):
        append(tmp_path / "gone/r.jsonl", SHOWN, [rating()], silent)


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        '{"against": []}',
        '{"against": {"base": {}}}',
        '{"against": {"../x": {"items": {}, "left_out": []}}}',
        '{"against": {"base": {"items": {"i": {"answers": ["a"], "chars": [1, 2], "flags": []}}, "left_out": []}}}',
        '{"against": {"base": {"items": {"i": {"answers": [1, 2], "chars": [1, 2], "flags": []}}, "left_out": []}}}',
        "{",
    ],
)
def test_a_key_that_is_none(tmp_path: Path, text: str) -> None:
    folder = tmp_path / "v1"
    folder.mkdir()
    (folder / ratings.KEY).write_text(text)
    with pytest.raises(BadInput) as error:
        ratings.read_key(folder)
    assert str(error.value) == (
        "adapters/v1/ratings_key.json: no key of ratings; remove it, and bbjspec rate v1 writes it anew"
    )


def test_nothing_but_text_is_written() -> None:
    with pytest.raises(ValueError, match="unable to parse raw data as a unicode string"):
        rating(note="\ud800")
    assert json.loads(rating().model_dump_json())["time"] == "2026-01-02T03:04:05Z"
