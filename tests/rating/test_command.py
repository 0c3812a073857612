"""`bbjspec rate` but for the page itself: what is said before, what comes back from a colleague, what is reported."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bbjspec.cli import entry
from bbjspec.plan import read_plan
from bbjspec.rating import command
from bbjspec.rating.ratings import read
from tests.rating.projects import ITEMS, publish_answers
from tests.rating.test_section import card, rated
from tests.rating.test_session import session

Call = Callable[..., tuple[int, str, list[str]]]


@pytest.fixture
def call(project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    def run(*words: str) -> tuple[int, str, list[str]]:
        monkeypatch.setattr(sys, "argv", ["bbjspec", "rate", *words])
        with pytest.raises(SystemExit) as ended:
            entry()
        said = capsys.readouterr()
        return int(str(ended.value.code or 0)), said.out, said.err.splitlines()

    return run


def returned(root: Path, rater: str = "bo", **changes: Any) -> dict[str, Any]:
    """What a colleague's page saves: all ties, the first one taken back and given again."""
    one = session(root, rater)
    votes: list[dict[str, Any]] = [
        {"number": n, "vote": "tie", "note": "", "ms": 5000, "time": f"2026-01-02T03:{n:02}:00Z"} for n in range(1, 24)
    ]
    votes.insert(1, {**votes[0], "vote": None, "time": "2026-01-02T03:01:30Z"})
    votes.append({**votes[0], "note": "after all", "time": "2026-01-02T04:00:00Z"})
    return {"schema_version": 1, "page": one.page, "rater": rater, "votes": votes, **changes}


def test_a_page_for_a_colleague_and_what_comes_back(project: Path, call: Call) -> None:
    code, out, err = call("v1", "--rater", "bo", "--export", "bo.html")
    assert (code, err) == (0, [])
    assert out == (
        "20 pairs to rate by bo, 3 of them shown again\n"
        "bo.html: for bo, who opens it in a browser and sends ratings.json back\n"
        "then: bbjspec rate v1 --import ratings.json\n"
    )
    assert (project / "bo.html").read_text().startswith("<!doctype html>")
    (project / "ratings.json").write_text(json.dumps(returned(project)))
    code, out, err = call("v1", "--import", "ratings.json")
    assert (code, err) == (0, [])
    lines = out.splitlines()
    assert lines[0] == "25 votes of bo added, 0 were there already"
    assert "v1 is **not told apart from its base**. Rated by `bo` (5.0 s a pair)." in lines[1]
    assert "t/real/05  bo tie" in lines
    noted = next(at for at, line in enumerate(lines) if line.strip() == "bo: after all")
    assert lines[noted - 1].endswith("  bo tie")
    assert lines[-1] == "adapters/v1/MODEL_CARD.md: its section “Rated by people” is up to date"
    assert "Rated by `bo`" in card(project) and not read_plan(project).published.bad
    before = (project / "adapters/v1/ratings.jsonl").read_bytes()
    code, out, _ = call("v1", "--import", "ratings.json")
    assert code == 0 and out.startswith("0 votes of bo added, 25 were there already\n")
    assert (project / "adapters/v1/ratings.jsonl").read_bytes() == before


def test_an_early_save_first_then_the_whole(project: Path, call: Call) -> None:
    whole = returned(project)
    (project / "half.json").write_text(json.dumps({**whole, "votes": whole["votes"][:10]}))
    (project / "whole.json").write_text(json.dumps(whole))
    code, out, _ = call("v1", "--import", "half.json")
    assert code == 0 and "10 votes of bo added" in out and "8 of 23 rated; bbjspec rate v1 goes on" in out
    code, out, _ = call("v1", "--import", "whole.json")
    assert code == 0 and out.startswith("15 votes of bo added, 10 were there already\n")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"page": "0"}, "r.json: page: rates other answers than those of v1 and its base now"),
        ({"schema_version": 2}, "r.json: not what a page saves: schema_version: Input should be 1"),
        ({"votes": "x"}, "r.json: not what a page saves: votes: Input should be a valid array"),
        ({"more": 1}, "r.json: not what a page saves: more: Extra inputs are not permitted"),
        (
            {"votes": [{"number": 99, "vote": "tie", "note": "", "ms": 1, "time": "2026-01-02T03:04:05Z"}]},
            "r.json: votes.0: number: 99 is none of 1 to 23",
        ),
        (
            {"votes": [{"number": 1, "vote": "tie", "note": "n" * 2001, "ms": 1, "time": "2026-01-02T03:04:05Z"}]},
            "r.json: votes.0: note: String should have at most 2000 characters",
        ),
        (
            {"votes": [{"number": 1, "vote": "mine", "note": "", "ms": 1, "time": "2026-01-02T03:04:05Z"}]},
            "r.json: not what a page saves: votes.0.vote: Input should be 'left', 'right', 'tie' or 'bad'",
        ),
        (
            {"votes": [{"number": 1, "vote": "tie", "note": "", "ms": -1, "time": "2026-01-02T03:04:05Z"}]},
            "r.json: votes.0: ms: Input should be greater than or equal to 0",
        ),
        (
            {"votes": [{"number": 1, "vote": "tie", "note": "", "ms": 1, "time": "yesterday"}]},
            "r.json: not what a page saves: votes.0.time: Input should be a valid datetime",
        ),
    ],
)
def test_what_comes_back_and_is_no_rating(project: Path, call: Call, changes: dict[str, Any], message: str) -> None:
    (project / "r.json").write_text(json.dumps(returned(project, **changes)))
    code, out, err = call("v1", "--import", "r.json")
    assert code == 1 and out == "" and len(err) == 1 and err[0].startswith(message)
    assert read(project / "adapters/v1/ratings.jsonl", "") == []


@pytest.mark.parametrize("text", ["", "[1]", "{", "[" * 100_000, "\ud800".encode("utf-8", "surrogatepass"), b"\xff"])
def test_what_comes_back_and_is_no_json(project: Path, call: Call, text: str | bytes) -> None:
    (project / "r.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    code, _, err = call("v1", "--import", "r.json")
    assert code == 1 and len(err) == 1 and err[0].startswith("r.json: not what a page saves: the line: ")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("v1", "--export", "x.html"), "--export: the page is one rater's: say whose by --rater NAME"),
        (("v1", "--rater", "bo", "--export", "Snakefile"), "Snakefile: exists; write another name, or remove it"),
        (("v1", "--import", "none.json"), "none.json: cannot be read: No such file or directory"),
        (
            ("v1", "--report", "--export", "x.html"),
            "one of --export, --import and --report; --json belongs to --report",
        ),
        (("v1", "--json"), "one of --export, --import and --report; --json belongs to --report"),
        (("v7",), "no such experiment: v7; there are v1"),
        (("v7", "--report"), "no such experiment: v7; there are v1"),
        (("v1", "--against", "v7"), "no such experiment: v7; there are v1"),
        (("v1", "--rater", " "), "--rater: a name of at most 60 characters on one line is meant"),
        (("v1", "--rater", "a\nb"), "--rater: a name of at most 60 characters on one line is meant"),
        (("v1", "--rater", "a" * 61), "--rater: a name of at most 60 characters on one line is meant"),
    ],
)
def test_wrong_usage(call: Call, words: tuple[str, ...], message: str) -> None:
    assert call(*words) == (2, "", [f"bbjspec: {message}"])


def test_whose_file_it_is(project: Path, call: Call) -> None:
    (project / "r.json").write_text(json.dumps(returned(project)))
    assert call("v1", "--rater", "ana", "--import", "r.json") == (
        2,
        "",
        ["bbjspec: --rater ana: r.json is bo's; leave --rater out"],
    )


def test_a_report_before_anybody_has_rated(call: Call) -> None:
    assert call("v1", "--report") == (0, "Not rated yet: `bbjspec rate v1`.\n", [])
    assert call("v1", "--report", "--json") == (0, "[]\n", [])


def test_a_report_brings_the_card_up_to_date(project: Path, call: Call) -> None:
    rated(project)
    code, out, err = call("v1", "--report")
    assert (code, err) == (0, []) and "| win rate over prompts, 95 % interval | 0.75 [0.54, 0.96] |" in out
    assert "t/real/01  ana better\n" in out and "t/real/20  ana worse\n" in out
    assert "0.75 [0.54, 0.96]" in card(project)
    code, out, _ = call("v1", "--report", "--json")
    (one,) = json.loads(out)
    assert (code, one["votes"], one["verdict"]) == (0, {"win": 15, "loss": 5, "tie": 0, "bad": 0}, "preferred")
    assert one["by_prompt"]["t/real/01"] == {"votes": {"ana": "win"}, "notes": {}}


def test_a_card_that_was_edited_costs_no_rating(project: Path, call: Call) -> None:
    rated(project)
    (project / "adapters/v1/MODEL_CARD.md").write_text("mine")
    code, out, err = call("v1", "--report")
    assert code == 0 and "preferred to its base" in out
    assert err == [
        "the card is as it was: adapters/v1/MODEL_CARD.md: has no place for ratings: snakemake --cores 8 v1 "
        "--resources gpu=1 makes it anew"
    ]


def test_who_has_rated_all_sees_the_result(project: Path, call: Call) -> None:
    rated(project)
    code, out, _ = call("v1", "--rater", "ana")
    assert code == 0 and out.startswith("ana has rated all of them\n") and "preferred to its base" in out


def test_what_is_said_before_a_session(project: Path) -> None:
    answers = {ITEMS[0]: ("half", "length"), ITEMS[1]: "I am Qwen", ITEMS[2]: "same"}
    publish_answers(project, base={ITEMS[2]: "same"}, tuned=answers)
    one = session(project)
    one.record(4, "tie", "", 1)
    from bbjspec.rating.answers import read as answers_of

    assert list(command._about(answers_of(project, "v1"), one)) == [
        "19 pairs to rate by ana, 3 of them shown again",
        "1 are the same answer twice: ties already",
        "1 with an answer cut short: t/real/01",
        "1 with an answer naming a model: t/real/02",
        "1 of 22 are rated already",
    ]


def test_two_that_answer_everything_alike(project: Path, call: Call) -> None:
    (project / "experiments/v2.yaml").write_text((project / "experiments/v1.yaml").read_text().replace("r: 4", "r: 8"))
    publish_answers(project, "v2")
    assert call("v2", "--against", "v1") == (2, "", ["bbjspec: v2 and v1 answer every realistic prompt alike"])
    code, out, _ = call("v2", "--report", "--against", "v1")
    assert code == 0 and out.startswith("v2 and v1 answer all 20 realistic prompts alike: there is nothing to rate.\n")
