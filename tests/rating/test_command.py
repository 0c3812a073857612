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
    assert lines[0] == "25 votes of bo added, 0 there already"
    assert "v1 is **not told apart from its base**. Rated by `bo` (5.0 s a pair)." in lines[1]
    assert "t/real/05  bo tie" in lines
    noted = next(at for at, line in enumerate(lines) if line.strip() == "bo: after all")
    assert lines[noted - 1].endswith("  bo tie")
    assert lines[-1] == "bbjspec rate v1 --report puts this into the card"
    assert "Not rated yet" in card(project)
    assert "“Rated by people” is up to date" in call("v1", "--report")[1]
    assert "Rated by `bo`" in card(project) and not read_plan(project).published.bad
    before = (project / "adapters/v1/ratings.jsonl").read_bytes()
    code, out, _ = call("v1", "--import", "ratings.json")
    assert code == 0 and out.startswith("0 votes of bo added, 25 there already\n")
    assert (project / "adapters/v1/ratings.jsonl").read_bytes() == before


def test_an_early_save_first_then_the_whole(project: Path, call: Call) -> None:
    whole = returned(project)
    (project / "half.json").write_text(json.dumps({**whole, "votes": whole["votes"][:10]}))
    (project / "whole.json").write_text(json.dumps(whole))
    code, out, _ = call("v1", "--import", "half.json")
    assert code == 0 and "10 votes of bo added" in out and "8 of 23 rated; bbjspec rate v1 --rater bo goes on" in out
    code, out, _ = call("v1", "--import", "whole.json")
    assert code == 0 and out.startswith("15 votes of bo added, 10 there already\n")


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
            {"votes": [{"number": 1, "vote": "tie", "note": "", "ms": 10**17, "time": "2026-01-02T03:04:05Z"}]},
            "r.json: votes.0: ms: Input should be less than or equal to 31536000000",
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
    assert (
        code == 1
        and len(err) == 1
        and err[0].startswith(("r.json: not what a page saves: Invalid JSON", "r.json: not what a page saves: Input"))
    )


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
        (("v1", "--against", "v7", "--report"), "no such experiment: v7; there are v1"),
        (("v1", "--against", "v1"), "v1 is rated against its base, or against another experiment: --against base"),
        (("v1", "--rater", ""), "--rater: a name of at most 60 visible characters on one line is meant"),
        (
            ("v1", "--rater", "a", "--host", "0.0.0.0"),
            "--host '0.0.0.0' is every address: name the one that the raters' browsers call, such as 127.0.0.1",
        ),
        (("v1", "--rater", " "), "--rater: a name of at most 60 visible characters on one line is meant"),
        (("v1", "--rater", "a\nb"), "--rater: a name of at most 60 visible characters on one line is meant"),
        (("v1", "--rater", "a" * 61), "--rater: a name of at most 60 visible characters on one line is meant"),
    ],
)
def test_wrong_usage(project: Path, call: Call, words: tuple[str, ...], message: str) -> None:
    assert call(*words) == (2, "", [f"bbjspec: {message}"])
    assert not list((project / "adapters/v1").glob("ratings*"))


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
        "1 more prompt with the same answer twice: ties already",
        "1 with an answer cut short: t/real/01",
        "1 with an answer naming a model: t/real/02",
        "1 of 22 are rated already",
    ]


def test_two_that_answer_everything_alike(project: Path, call: Call) -> None:
    (project / "experiments/v2.yaml").write_text((project / "experiments/v1.yaml").read_text().replace("r: 4", "r: 8"))
    publish_answers(project, "v2")
    assert call("v2", "--against", "v1") == (2, "", ["bbjspec: v2 and v1 answer every realistic prompt alike"])
    code, out, _ = call("v2", "--report", "--against", "v1")
    assert code == 0 and out == "v2 and v1 answer every realistic prompt alike: there is nothing to rate.\n"


def test_a_lost_key_is_made_anew(project: Path, call: Call) -> None:
    rated(project)
    key = project / "adapters/v1/ratings_key.json"
    before = key.read_bytes()
    key.unlink()
    code, out, _ = call("v1", "--report")
    assert code == 0 and "preferred to its base" in out and key.read_bytes() == before


def test_an_export_that_never_comes_back_is_no_comparison(project: Path, call: Call) -> None:
    (project / "experiments/v2.yaml").write_text((project / "experiments/v1.yaml").read_text().replace("r: 4", "r: 8"))
    publish_answers(project, "v2", tuned={ITEMS[0]: "better"})
    rated(project)
    assert call("v1", "--against", "v2", "--rater", "bo", "--export", "bo.html")[0] == 0
    assert call("v1", "--report", "--against", "v2")[1] == "Not rated yet: `bbjspec rate v1 --against v2`.\n" + (
        "adapters/v1/MODEL_CARD.md: its section “Rated by people” is up to date\n"
    )
    assert "v2" not in card(project)


def test_a_page_for_somebody_with_votes(project: Path, call: Call) -> None:
    session(project, "bo").record(1, "tie", "", 1)
    _, out, _ = call("v1", "--rater", "bo", "--export", "bo.html")
    assert "note: the page knows no earlier votes of bo; what comes back from it replaces them\n" in out


def test_one_name_typed_in_two_ways_is_one_rater(project: Path, call: Call) -> None:
    for name in ("Zoe\u0308", "Zo\u00eb"):
        (project / "r.json").write_text(json.dumps(returned(project, rater="Zo\u00eb") | {"rater": name}))
        assert call("v1", "--import", "r.json")[0] == 0
    assert {one.rater for one in read(project / "adapters/v1/ratings.jsonl", "")} == {"Zo\u00eb"}


def test_a_torn_end_is_put_right_by_a_report(project: Path, call: Call) -> None:
    rated(project)
    file = project / "adapters/v1/ratings.jsonl"
    whole = file.read_bytes()
    file.write_bytes(whole + b'{"item": "t/re')
    code, _, err = call("v1", "--report")
    assert code == 0 and file.read_bytes() == whole
    assert err == [
        'warning: adapters/v1/ratings.jsonl: its last line was never finished, and is taken away: {"item": "t/re'
    ]


def test_a_card_that_cannot_be_written(project: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    rated(project)
    before = card(project)
    real = Path.write_text

    def full(self: Path, *words: Any, **more: Any) -> int:
        if self.name == ".MODEL_CARD.md.tmp":
            real(self, "half")
            raise OSError(28, "No space left on device")
        return real(self, *words, **more)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_text", full)
        code, out, err = call("v1", "--report")
    assert code == 0 and "preferred to its base" in out and card(project) == before
    assert err == ["the card is as it was: adapters/v1/MODEL_CARD.md: cannot be written: No space left on device"]
    assert not list((project / "adapters/v1").glob(".*"))


def test_two_clones_rate_and_git_joins_them(project: Path, call: Call, tmp_path: Path) -> None:
    from tests.harness import REPOSITORY, run

    git = ("git", "-c", "user.name=t", "-c", "user.email=t@example.org")
    (project / ".gitignore").write_text("build/\n")
    (project / ".gitattributes").write_text((REPOSITORY / ".gitattributes").read_text().split("\n", 2)[2])
    for words in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-qm", "placed"]):
        assert run(project, *git, *words).returncode == 0
    clones = [tmp_path / name for name in ("ana", "bo")]
    for clone in clones:
        assert run(tmp_path, *git, "clone", "-q", str(project), str(clone)).returncode == 0
        rated(clone, clone.name)
        told = run(clone, "bbjspec", "rate", "v1", "--rater", clone.name).stdout
        assert run(clone, *git, "add", "adapters/v1/ratings.jsonl", "adapters/v1/ratings_key.json").returncode == 0
        assert run(clone, *git, "commit", "-qm", told.splitlines()[0]).returncode == 0
    done = run(clones[0], *git, "pull", "-q", "--no-rebase", "--no-edit", str(clones[1]), "main")
    assert done.returncode == 0, done.stderr
    told = run(clones[0], "bbjspec", "rate", "v1", "--report").stdout
    assert "Rated by `ana` (2.0 s a pair), `bo` (2.0 s a pair)." in told
    assert "to commit: git add adapters/v1/MODEL_CARD.md adapters/v1/lock.json" in told


def test_a_lock_in_conflict(project: Path, call: Call) -> None:
    (project / "adapters/v1/lock.json").write_text("<<<<<<< HEAD\n{}\n")
    assert call("v1", "--rater", "ana") == (
        1,
        "",
        [
            "adapters/v1/lock.json: no lock file (a merge conflict?); git checkout --ours adapters/v1/lock.json "
            "adapters/v1/MODEL_CARD.md"
        ],
    )
