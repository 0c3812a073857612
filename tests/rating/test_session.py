"""Which answers are put side by side, and a rater's session on them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from bbjspec.errors import BadInput, EnvironmentLacks, UsageError
from bbjspec.plan import read_plan
from bbjspec.rating import ratings
from bbjspec.rating.answers import read
from bbjspec.rating.session import RaterSession
from tests.rating.projects import ITEMS, publish_answers, realistic


def session(root: Path, rater: str = "ana", against: str = "base") -> RaterSession:
    def warn(line: str) -> None:
        raise AssertionError(line)

    return RaterSession(root, read(root, "v1", against), rater, warn)


def rate_all(one: RaterSession, vote: str = "tie") -> None:
    for showing in one.showings:
        one.record(showing.number, vote, "", 1000)


def whose(root: Path, one: RaterSession, number: int) -> tuple[str, str]:
    """Whose the left and the right answer of a showing are: `base` or `v1`."""
    texts = [getattr(one.showings[number - 1], side) for side in ("left", "right")]
    left, right = ("base" if text.endswith("4") else "v1" for text in texts)
    return left, right


def test_each_prompt_is_shown_with_both_first_answers(project: Path) -> None:
    answers = read(project, "v1")
    assert [pair.prompt.id for pair in answers.pairs] == ITEMS and answers.left_out == ()
    assert [pair.ours.text for pair in answers.pairs] == [f"Answer {n} of nobody: 2" for n in range(20)]
    assert [pair.theirs.text for pair in answers.pairs] == [f"Answer {n} of nobody: 4" for n in range(20)]
    one = session(project)
    assert len(one.showings) == 23 and [showing.number for showing in one.showings] == list(range(1, 24))
    assert {frozenset(whose(project, one, n)) for n in range(1, 24)} == {frozenset(("base", "v1"))}
    first = one.showings[0]
    assert (first.category, first.notes, first.named, first.left_cut) == (
        "reports",
        f"Is {re.findall(r'[0-9]+', first.prompt)[0]} printed?",
        False,
        False,
    )


def test_what_a_session_holds_does_not_tell_the_sides(project: Path) -> None:
    """Its own fields, but for the answers' texts, are the same whoever gave them."""
    one = session(project)
    held = json.dumps({name: repr(value) for name, value in vars(one).items()})
    for known in ("adapters/v1/", '"_against": "\'base\'"'):  # where votes go, and of which comparison
        held = held.replace(known, "")
    assert "base" not in held and "v1" not in held.replace("project/", "")


def test_a_clone_without_build_has_all_that_is_rated(project: Path) -> None:
    import shutil

    shutil.rmtree(project / "build")
    assert len(read(project, "v1").pairs) == 20


def test_tokens_of_templates_are_taken_off_and_flags_are_set(project: Path) -> None:
    publish_answers(
        project,
        base={
            ITEMS[0]: "As Qwen, I say 1.<|im_end|>\n<|endoftext|>",
            ITEMS[1]: ("half an ans", "length"),
            ITEMS[2]: "same",
        },
        tuned={ITEMS[2]: "same<|im_end|>", ITEMS[3]: "print <|1|> + 2"},
    )
    pairs = {pair.prompt.id: pair for pair in read(project, "v1").pairs}
    assert pairs[ITEMS[0]].theirs.text == "As Qwen, I say 1." and pairs[ITEMS[0]].named
    assert pairs[ITEMS[1]].theirs.cut and not pairs[ITEMS[1]].ours.cut and not pairs[ITEMS[1]].named
    assert pairs[ITEMS[2]].identical and not pairs[ITEMS[3]].identical
    assert pairs[ITEMS[3]].ours.text == "print  + 2"
    one = session(project)
    assert len(one.showings) == 19 + 3 and sum(showing.named for showing in one.showings) in (1, 2)
    assert {(showing.left_cut, showing.right_cut) for showing in one.showings} >= {(False, False)}
    ratings.write_key(project / "adapters/v1", read(project, "v1"))
    items = ratings.read_key(project / "adapters/v1")["base"]["items"]
    assert [items[item]["flags"] for item in ITEMS[:3]] == [["named"], ["cut"], []]


def test_votes_are_read_again_and_the_sides_are_balanced(project: Path) -> None:
    one = session(project)
    one.record(1, "left", "good", 1500)
    one.record(2, "bad", "", 10)
    one.record(3, "tie", "", 10)
    one.record(3, None, "", 10)
    again = session(project).votes()
    assert {number: (vote.vote, vote.note) for number, vote in again.items()} == {1: ("left", "good"), 2: ("bad", "")}
    assert session(project, "bo").votes() == {}
    first = [n for n, place in enumerate(one._places, start=1) if place.repeat_of is None]
    assert sum(whose(project, one, n)[0] == "v1" for n in first) == 10
    assert not one.complete
    rate_all(one)
    assert one.complete and session(project).complete


def test_a_vote_given_the_other_way_round_is_turned(project: Path) -> None:
    one = session(project)
    made = one.rating(1, "left", "", 1, one_time())
    one.add([made.model_copy(update={"left": made.right, "right": made.left})])
    assert one.votes()[1].vote == "right"


def one_time() -> Any:
    from datetime import UTC, datetime

    return datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("number", [0, 24])
def test_a_number_that_is_none(project: Path, number: int) -> None:
    with pytest.raises(ValueError, match=f"number: {number} is none of 1 to 23"):
        session(project).rating(number, "left", "", 1, one_time())


def test_verdicts_are_the_specs_compilers(project: Path) -> None:
    publish_answers(
        project,
        base={ITEMS[0]: "```bbj\nprint 1\n```", ITEMS[1]: "```python\nprint(1)\n```"},
        tuned={ITEMS[0]: "```bbj\nlet =\nprint (((\n```", ITEMS[1]: "print 1"},
    )
    one = session(project)
    said = {showing.prompt: verdict for showing, verdict in zip(one.showings, one.verdicts(), strict=True)}
    first, second = (said[realistic(item)["input"]] for item in ITEMS[:2])
    assert sorted(first) == ["compiles", "error in line 1, and 1 more"] and sorted(second) == ["compiles", "no program"]


def test_a_compiler_that_is_not_here(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("BBJ_HOME", raising=False)
    one = session(project)
    one._compiler = {"name": "bbjcpl", "version": None}
    assert set(one.verdicts()) == {("not known here", "not known here")}


def test_against_another_experiment(project: Path) -> None:
    (project / "experiments/v2.yaml").write_text((project / "experiments/v1.yaml").read_text().replace("r: 4", "r: 8"))
    publish_answers(project, "v2", tuned={ITEMS[0]: "better"})
    pairs = read(project, "v2", "v1").pairs
    assert pairs[0].ours.text == "better" and pairs[0].theirs.text == "Answer 0 of nobody: 2"
    assert all(pair.identical for pair in pairs[1:])


def test_prompts_that_cannot_be_compared_are_left_out_by_name(project: Path) -> None:
    v1 = project / "adapters/v1"
    lock = json.loads((v1 / "lock.json").read_text())
    rows = [json.loads(line) for line in (v1 / "generations.jsonl").read_text().splitlines()]
    rows = [row for row in rows if row["task_id"] != ITEMS[0]]
    for row in rows:
        if row["task_id"] == ITEMS[1]:
            row["prompt_hash"] = "other"
    (v1 / "generations.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (v1 / "contamination.json").write_text(json.dumps({"leaked": [{"id": ITEMS[2]}]}))
    from bbjspec.digest import sha256_file

    lock["files"]["generations.jsonl"] = sha256_file(v1 / "generations.jsonl")
    answers = read(project, "v1", lock=lock)
    assert answers.left_out == (
        "t/real/01: not answered by v1",
        "t/real/02: base was asked something else",
        "t/real/03: given away by training data",
    )
    assert len(answers.pairs) == 17


def damage(what: str, project: Path) -> None:
    v1 = project / "adapters/v1"
    if what == "no realistic prompts":
        prompts = project / "eval/prompts/print.jsonl"
        rows = prompts.read_text().splitlines()
        prompts.write_text("".join(f"{row}\n" for row in rows if '"realistic"' not in row))
        publish_answers(project)
    elif what == "changed prompts":
        prompts = project / "eval/prompts/print.jsonl"
        prompts.write_text(prompts.read_text().replace("lacks its total", "has no total"))
    elif what == "other generations":
        (v1 / "generations.jsonl").write_text("{}\n")
    elif what == "pointer":
        import hashlib

        sha = hashlib.sha256((v1 / "generations.jsonl").read_bytes()).hexdigest()
        (v1 / "generations.jsonl").write_text(
            f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha}\nsize 12345\n"
        )
    elif what == "no base":
        import shutil

        shutil.rmtree(project / "eval/baselines")
        shutil.rmtree(project / "build/generate")
    elif what == "unpublished":
        (project / "experiments/v2.yaml").write_text((project / "experiments/v1.yaml").read_text())
    elif what == "lock":
        (v1 / "lock.json").write_text('{"card": null, "recipes": {}, "stages": {}, "files": {}}')


@pytest.mark.parametrize(
    ("what", "name", "against", "kind", "message"),
    [
        ("no realistic prompts", "v1", "base", UsageError,
         "v1 has no realistic prompts to rate; prompts of tier realistic in its eval.prompts are rated: "
         "docs/rating.md"),
        ("changed prompts", "v1", "base", BadInput,
         "the prompts have changed since v1 answered them (eval/prompts/print.jsonl); run it again, or check out the "
         "commit of its results"),
        ("other generations", "v1", "base", BadInput,
         "adapters/v1/generations.jsonl: is not the file that lock.json lists; restore it with git checkout, or remove "
         "lock.json beside it to publish anew"),
        ("pointer", "v1", "base", EnvironmentLacks,
         "adapters/v1/generations.jsonl: only a Git LFS pointer is here; run git lfs pull"),
        ("no base", "v1", "base", UsageError,
         "the answers of v1's base are neither published nor in build/; commit eval/baselines/"),
        ("unpublished", "v2", "base", UsageError,
         "v2 has no published results; run snakemake --cores 8 v2 --resources gpu=1"),
        ("unpublished", "v1", "v2", UsageError,
         "v2 has no published results; run snakemake --cores 8 v2 --resources gpu=1"),
        ("", "v11", "base", UsageError, "no such experiment: v11; did you mean v1?"),
        ("lock", "v1", "base", BadInput, "adapters/v1/lock.json: not the lock file of an experiment; restore it"),
    ],
)  # fmt: skip
def test_what_cannot_be_rated(
    project: Path, what: str, name: str, against: str, kind: type[Exception], message: str
) -> None:
    damage(what, project)
    with pytest.raises(kind) as error:
        read(project, name, against)
    assert str(error.value) == message


def test_the_key_is_the_same_on_every_machine_and_holds_every_comparison(project: Path) -> None:
    folder = project / "adapters/v1"
    ratings.write_key(folder, read(project, "v1"))
    first = (folder / ratings.KEY).read_bytes()
    (folder / ratings.KEY).unlink()
    ratings.write_key(folder, read(project, "v1"))
    assert (folder / ratings.KEY).read_bytes() == first
    (project / "experiments/v2.yaml").write_text((project / "experiments/v1.yaml").read_text().replace("r: 4", "r: 8"))
    publish_answers(project, "v2", tuned={ITEMS[0]: "better"})
    ratings.write_key(folder, read(project, "v1", "v2"))
    assert sorted(ratings.read_key(folder)) == ["base", "v2"]
    assert read_plan(project).published.bad == {}
