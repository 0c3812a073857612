"""The card's section: placed unrated, brought up to date later, and never at the price of what is published."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bbjspec import store
from bbjspec.digest import sha256_file
from bbjspec.errors import BadInput
from bbjspec.plan import read_plan
from bbjspec.rating import section
from tests.rating.projects import ITEMS, publish_answers
from tests.rating.test_session import rate_all, session, whose

NOT_YET = "### Rated by people\n\n<!-- @RATINGS@ -->\nNot rated yet: `bbjspec rate v1`.\n\n<!-- @RATINGS_END@ -->\n"


def card(root: Path) -> str:
    return (root / "adapters/v1/MODEL_CARD.md").read_text()


def is_published(root: Path) -> bool:
    plan = read_plan(root)
    return not plan.published.bad and plan.experiment_state(plan.experiments["v1"]) != "to run"


def rated(root: Path, rater: str = "ana", wins: int = 15) -> None:
    """A finished session in which v1 wins so many prompts, and the base the others."""
    from bbjspec.rating import ratings
    from bbjspec.rating.answers import read

    ratings.write_key(root / "adapters/v1", read(root, "v1"))
    one = session(root, rater)
    for number, place in enumerate(one._places, start=1):
        winner = "v1" if ITEMS.index(place.item) < wins else "base"
        one.record(number, ("left", "right")[whose(root, one, number).index(winner)], "", 2000)


def test_a_card_is_placed_with_what_to_type(project: Path) -> None:
    assert NOT_YET in card(project) and is_published(project)
    lock = json.loads((project / "adapters/v1/lock.json").read_text())
    assert lock["files"]["MODEL_CARD.md"] == sha256_file(project / "adapters/v1/MODEL_CARD.md")


def test_a_finished_session_comes_into_the_card(project: Path) -> None:
    rated(project)
    assert section.update(project, "v1") and is_published(project)
    text = card(project)
    assert (
        "People saw the answers of v1 and of its base to the same 20 realistic prompts side by side, not knowing whose "
        "they were: v1 is **preferred to its base**. Rated by `ana` (2.0 s a pair).\n\n| | |\n|---|---|\n"
        "| v1 better / its base better / tie / both bad | 15 / 5 / 0 / 0 |\n"
        "| win rate over prompts, 95 % interval | 0.75 [0.54, 0.96] |\n"
        "| prompts won and lost, exact sign test | 15 to 5, p 0.041 |\n"
    ) in text
    assert "| same vote when shown again, sides swapped | 3 of 3 |\n" in text and "Krippendorff" not in text
    assert "20 prompts need 15–5 for p < 0.05 (p 0.041); 14–6 is p 0.12." in text
    assert text.count("@RATINGS@") == text.count("@RATINGS_END@") == 1 and text.endswith("### Next\n")
    assert not section.update(project, "v1")


def test_two_raters(project: Path) -> None:
    rated(project)
    rated(project, "bo | </td>", wins=13)
    section.update(project, "v1")
    assert "| v1 better / its base better / tie / both bad | 28 / 12 / 0 / 0 |" in card(project)
    assert "| agreement of raters, Krippendorff's alpha | 0.77 |" in card(project)
    assert "Rated by `ana` (2.0 s a pair), `bo | </td>` (2.0 s a pair)." in card(project)


def test_an_unfinished_session_gives_no_figure(project: Path) -> None:
    rated(project)
    one = session(project, "ana")
    one.record(5, None, "", 1)
    section.update(project, "v1")
    assert (
        "<!-- @RATINGS@ -->\nNot rated yet against its base. `ana` has rated 22 of 23: counted when all are. "
        "`bbjspec rate v1 --rater ana` goes on where it was left.\n\n<!-- @RATINGS_END@ -->\n"
    ) in card(project)


def test_placing_again_keeps_the_section(project: Path) -> None:
    rated(project)
    section.update(project, "v1")
    before = card(project)
    publish_answers(project)
    assert card(project) == before and is_published(project)


def test_placing_other_answers_does_not_count_old_ratings(project: Path) -> None:
    rated(project)
    section.update(project, "v1")
    publish_answers(project, tuned={item: f"new {item}" for item in ITEMS})
    assert (
        "Not rated yet against its base. 23 ratings are of answers that v1 gives no more, and counted nowhere.\n"
    ) in card(project)


def test_one_changed_answer_leaves_the_other_votes(project: Path) -> None:
    rated(project)
    publish_answers(project, tuned={ITEMS[0]: "new"})
    text = card(project)
    assert "`ana` has rated" in text and "ratings are of answers that v1 gives no more" in text


@pytest.mark.parametrize("after", ["nothing", "scratch", "lock"])
def test_a_kill_while_the_card_is_updated_is_put_right(
    project: Path, monkeypatch: pytest.MonkeyPatch, after: str
) -> None:
    rated(project)

    class Killed(BaseException):
        pass

    def die(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        if after == "nothing":
            patched.setattr(section, "_scratch", die)
        elif after == "scratch":
            patched.setattr(section, "write_json", die)
        else:
            patched.setattr(Path, "replace", lambda self, target: die() if self.suffix == ".tmp" and "CARD" in self.name
                            else store.Path.rename(self, target))  # fmt: skip
        with pytest.raises(Killed):
            section.update(project, "v1")
    one = session(project, "bo")
    rate_all(one)  # what the section is to say has changed meanwhile
    assert section.update(project, "v1") and is_published(project) and "`bo`" in card(project)


def test_a_card_that_was_edited_is_left_alone(project: Path) -> None:
    rated(project)
    path = project / "adapters/v1/MODEL_CARD.md"
    path.write_text(card(project).replace("### Next", "### Mine"))
    with pytest.raises(BadInput) as error:
        section.update(project, "v1")
    assert str(error.value) == "adapters/v1/MODEL_CARD.md: is not the card that was placed; git checkout restores it"
    path.unlink()
    with pytest.raises(BadInput, match="is not there as it was placed; git checkout restores it"):
        section.update(project, "v1")


def test_a_section_that_was_edited_is_written_anew(project: Path) -> None:
    rated(project)
    section.update(project, "v1")
    good, path = card(project), project / "adapters/v1/MODEL_CARD.md"
    path.write_text(good.replace("0.75", "0.99"))
    assert section.update(project, "v1") and card(project) == good and is_published(project)


def test_a_card_of_an_older_bbjspec(project: Path) -> None:
    folder = project / "adapters/v1"
    lock = json.loads((folder / "lock.json").read_text())
    del lock["card_frame"]
    (folder / "lock.json").write_text(json.dumps(lock))
    with pytest.raises(BadInput) as error:
        section.update(project, "v1")
    assert str(error.value) == (
        "adapters/v1/MODEL_CARD.md: has no place for ratings: snakemake --cores 8 v1 --resources gpu=1 makes it anew"
    )


def test_ratings_that_cannot_be_read_do_not_stop_placing(project: Path) -> None:
    rated(project)
    with (project / "adapters/v1/ratings.jsonl").open("a") as file:
        file.write("=======\n")
    publish_answers(project)
    assert "The ratings cannot be read: `adapters/v1/ratings.jsonl:24: no rating:" in card(project)
    assert is_published(project)
