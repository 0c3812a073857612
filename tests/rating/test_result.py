"""What the votes say: known figures, averages over raters, and the lies that must not be told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bbjspec.metrics import krippendorff, mcnemar_exact
from bbjspec.rating.order import order, repeats
from bbjspec.rating.ratings import Rating
from bbjspec.rating.result import needed, result

OUTCOMES = ("win", "loss", "tie", "bad")
six = lambda *values: pytest.approx(values if len(values) > 1 else values[0], abs=5e-7)  # noqa: E731


def key(items: Iterable[str], same: Iterable[str] = (), chars: Mapping[str, list[int]] | None = None) -> dict[str, Any]:
    """A key whose answers are called by their item: `01+` ours, `01-` theirs."""
    found = {}
    for item in items:
        answers = [f"{item}+", f"{item}+" if item in set(same) else f"{item}-"]
        found[item] = {"answers": answers, "chars": (chars or {}).get(item, [10, 10]), "flags": []}
    return {"items": found, "left_out": []}


def vote(item: str, outcome: str, rater: str = "ana", ours_left: bool = True, again: bool = False) -> Rating:
    """A vote by what it means: win, loss, tie or bad."""
    sides = {"win": "left" if ours_left else "right", "loss": "right" if ours_left else "left"}
    left, right = (f"{item}+", f"{item}-") if ours_left else (f"{item}-", f"{item}+")
    return Rating(
        item=item,
        rater=rater,
        against="base",
        number=1,
        left=left,
        right=right,
        vote=sides.get(outcome, outcome),  # type: ignore[arg-type]
        ms=1000,
        note="",
        time=datetime(2026, 1, 2, tzinfo=UTC),
        repeat_of=1 if again else None,
    )


def session(outcomes: Mapping[str, str], rater: str = "ana", left: Iterable[str] = ()) -> list[Rating]:
    """A finished session: each item once, and as many again as there must be, with the same vote."""
    again = [place.item for place in order(list(outcomes), rater, "v3", "base") if place.repeat_of is not None]
    first = [vote(item, outcome, rater, item in set(left)) for item, outcome in outcomes.items()]
    return first + [vote(item, outcomes[item], rater, item not in set(left), again=True) for item in again]


def numbered(*outcomes: str) -> dict[str, str]:
    return {f"{number:02}": outcome for number, outcome in enumerate(outcomes, start=1)}


def spread(wins: int, losses: int, ties: int = 0, bad: int = 0) -> dict[str, str]:
    return numbered(*["win"] * wins, *["loss"] * losses, *["tie"] * ties, *["bad"] * bad)


def found(outcomes: Mapping[str, str]) -> dict[str, Any]:
    return result("v3", "base", key(outcomes), session(outcomes))


def test_thirteen_wins_five_losses_two_ties() -> None:
    one = found(spread(13, 5, 2))
    assert one["votes"] == {"win": 13, "loss": 5, "tie": 2, "bad": 0}
    assert one["win_rate"]["value"] == six(0.70) and one["win_rate"]["ci"] == six(0.493470, 0.906530)
    assert one["sign"] == {"wins": 13, "losses": 5, "p": pytest.approx(mcnemar_exact(5, 13))}
    assert one["verdict"] == "not told apart"
    assert found(spread(13, 5, 0, 2))["win_rate"] == one["win_rate"]


@pytest.mark.parametrize(
    ("wins", "losses", "p", "verdict"),
    [
        (15, 5, 0.041389, "preferred"),
        (14, 6, 0.115318, "not told apart"),
        (5, 15, 0.041389, "not preferred"),
        (0, 0, 1.0, "not told apart"),
    ],
)
def test_the_sign_test(wins: int, losses: int, p: float, verdict: str) -> None:
    one = found(spread(wins, losses, 20 - wins - losses))
    assert (one["sign"]["p"], one["verdict"]) == (six(p), verdict)


def test_what_twenty_prompts_need() -> None:
    assert needed(20) == {"wins": 15, "losses": 5, "p": six(0.041389), "p_short": six(0.115318)}
    assert needed(24) == {"wins": 18, "losses": 6, "p": six(0.022656), "p_short": six(0.063915)}
    assert needed(6) is not None and needed(5) is None and needed(0) is None


@given(st.integers(6, 60))
def test_needed_is_the_least(prompts: int) -> None:
    need = needed(prompts)
    assert need is not None and need["p"] < 0.05 <= need["p_short"]
    assert need["p"] == pytest.approx(mcnemar_exact(need["losses"], need["wins"]))


def test_krippendorff_vector() -> None:
    joint = [[6, 1, 0], [1, 4, 1], [0, 1, 6]]
    units = [[a, b] for a, row in enumerate(joint) for b, times in enumerate(row) for _ in range(times)]
    assert krippendorff(units) == six(0.706767)
    outcomes = [(OUTCOMES[a], OUTCOMES[b]) for a, b in units]
    ana, bo = numbered(*(one for one, _ in outcomes)), numbered(*(other for _, other in outcomes))
    assert result("v3", "base", key(ana), session(ana) + session(bo, "bo"))["alpha"] == six(0.706767)


def test_krippendorff_by_its_definition() -> None:
    """Three raters, gaps: Krippendorff 2011's coincidence matrix, written out."""
    units = [["a", "a", "b"], ["b", "b"], ["a"], ["c", "c", "c"], ["a", "c"], []]
    pairs = [
        (x, y, len(u) - 1) for u in units if len(u) > 1 for i, x in enumerate(u) for j, y in enumerate(u) if i != j
    ]
    observed = sum(1 / weight for x, y, weight in pairs if x != y)
    labels = [x for u in units if len(u) > 1 for x in u]
    n = len(labels)
    expected = sum(x != y for i, x in enumerate(labels) for j, y in enumerate(labels) if i != j) / (n - 1)
    assert krippendorff(units) == pytest.approx(1 - observed / expected)


def test_krippendorff_without_an_answer() -> None:
    assert krippendorff([]) is None and krippendorff([["a"], ["b"]]) is None and krippendorff([["a", "a"]]) is None
    assert krippendorff([["a", "a"], ["b", "b"]]) == 1.0


@given(st.lists(st.lists(st.sampled_from("abc"), max_size=4), max_size=12), st.randoms())
def test_krippendorff_depends_on_no_order(units: list[list[str]], random: Any) -> None:
    shuffled = [random.sample(unit, len(unit)) for unit in units]
    random.shuffle(shuffled)
    assert krippendorff(shuffled) == krippendorff(units)


def test_raters_are_averaged_before_prompts_are_counted() -> None:
    ana, bo = numbered("win", "loss", "win"), numbered("loss", "loss", "tie")
    one = result("v3", "base", key(ana), session(ana) + session(bo, "bo"))
    assert one["win_rate"]["value"] == six((0.5 + 0 + 0.75) / 3)
    assert one["sign"]["wins"] == one["sign"]["losses"] == 1
    assert one["votes"] == {"win": 2, "loss": 3, "tie": 1, "bad": 0}


def test_the_side_does_not_matter_to_who_won() -> None:
    outcomes = spread(13, 5, 2)
    right = result("v3", "base", key(outcomes), session(outcomes))
    left = result("v3", "base", key(outcomes), session(outcomes, left=outcomes))
    assert {**right, "left": 0} == {**left, "left": 0}
    assert (right["left"]["left"], left["left"]["left"], left["left"]["of"]) == (5, 13, 18)


def test_left_bias() -> None:
    outcomes = spread(10, 10)
    always_left = result("v3", "base", key(outcomes), session(outcomes, left=list(outcomes)[:10]))["left"]
    assert always_left["left"] == always_left["of"] == 20 and always_left["share"] == 1 and always_left["p"] < 1e-5
    assert always_left["ci"] == six(0.838875, 1.0)


def test_identical_answers_are_ties_that_nobody_rated() -> None:
    outcomes = spread(3, 0)
    one = result("v3", "base", key([*outcomes, "98", "99"], same=["98", "99"]), session(outcomes))
    assert (one["prompts"], one["identical"], one["finished"]) == (5, 2, 1)
    assert one["win_rate"]["value"] == six(0.8) and one["votes"]["tie"] == 0 and one["sign"]["wins"] == 3


def test_who_has_not_finished_is_not_counted() -> None:
    outcomes = spread(20, 0)
    rows = session(outcomes)
    for missing in (rows[:-1], rows[1:]):
        one = result("v3", "base", key(outcomes), missing)
        assert (one["finished"], one["raters"][0]["rated"], one["raters"][0]["of"]) == (0, 22, 23)
        assert one["win_rate"]["value"] is None and one["sign"]["p"] is None and one["verdict"] is None
        assert not any(one["votes"].values()) and not any(told["votes"] for told in one["by_prompt"].values())
    both = result("v3", "base", key(outcomes), rows + session(spread(0, 20), "bo")[:-1])
    assert both["votes"]["loss"] == 0 and both["finished"] == 1 and len(both["raters"]) == 2


def test_repetitions_count_for_consistency_alone() -> None:
    outcomes = spread(20, 0)
    rows = session(outcomes)
    rows = [*rows[:-1], vote(rows[-1].item, "loss", again=True)]
    one = result("v3", "base", key(outcomes), rows)
    assert one["consistency"] == {"same": 2, "of": 3} and one["votes"]["win"] == 20 and one["votes"]["loss"] == 0


def test_ratings_of_other_answers_are_stale() -> None:
    outcomes = numbered("win", "loss")
    old = [vote("01", "loss").model_copy(update={"left": "older+", "right": "01-"})]
    gone = [vote("77", "win")]
    other = [vote("01", "loss").model_copy(update={"right": "of v2", "against": "v2"})]
    one = result("v3", "base", key(outcomes), session(outcomes) + old + gone + other)
    assert (one["stale"], one["votes"]["loss"], one["finished"]) == (2, 1, 1)


def test_what_was_taken_back_or_voted_anew() -> None:
    outcomes = numbered("win", "win")
    undone = [vote("01", "loss"), vote("01", "loss").model_copy(update={"vote": None})]
    assert result("v3", "base", key(outcomes), undone + session(outcomes))["votes"]["win"] == 2
    assert result("v3", "base", key(outcomes), session(outcomes) + undone)["finished"] == 0


def test_length() -> None:
    outcomes = numbered("win", "loss", "tie", "win")
    chars = {"01": [30, 10], "02": [10, 30], "03": [50, 10], "04": [10, 10]}
    one = result("v3", "base", key(outcomes, chars=chars), session(outcomes))["length"]
    assert (one["diff"], one["longer_chosen"], one["of"]) == (10.0, 2, 2)
    assert one["ci"][0] < 10 < one["ci"][1]


@given(st.lists(st.sampled_from(OUTCOMES), min_size=1, max_size=30), st.lists(st.booleans(), min_size=30, max_size=30))
def test_counts_add_up(outcomes: list[str], left: list[bool]) -> None:
    given_votes = numbered(*outcomes)
    one = result(
        "v3",
        "base",
        key(given_votes),
        session(given_votes, left=[i for i, at in zip(given_votes, left, strict=False) if at]),
    )
    assert one["votes"] == {name: outcomes.count(name) for name in OUTCOMES}
    score = (outcomes.count("win") + (outcomes.count("tie") + outcomes.count("bad")) / 2) / len(outcomes)
    assert one["win_rate"]["value"] == pytest.approx(score)
    assert one["consistency"]["same"] == one["consistency"]["of"] == repeats(len(outcomes))


def test_nothing_rated() -> None:
    one = result("v3", "base", key(["01", "02"]), [])
    assert (one["raters"], one["win_rate"]["value"], one["alpha"], one["left"]["p"]) == ([], None, None, None)
    same = result("v3", "base", key(["01", "02"], same=["01", "02"]), [])
    assert same["win_rate"] == {"value": 0.5, "ci": [0.5, 0.5]} and same["verdict"] == "not told apart"


def test_what_a_rater_is_shown_counts_and_nothing_else() -> None:
    """A rerun changes which pairs are to be rated, and so which ones are shown twice."""
    outcomes = spread(20, 0)
    for changed in outcomes:
        before = {item: outcome for item, outcome in outcomes.items() if item != changed}
        rows = session(before)  # the changed one's answers were the same
        now = {place.item for place in order(list(outcomes), "ana", "v3", "base") if place.repeat_of is not None}
        one = result("v3", "base", key(outcomes), rows)
        kept = len(before) + len(now & {row.item for row in rows if row.repeat_of is not None})
        assert (one["raters"][0]["rated"], one["raters"][0]["of"], one["finished"]) == (kept, 23, 0)
        after = result("v3", "base", key(outcomes, same=[changed]), session(outcomes))
        missing = {place.item for place in order(list(before), "ana", "v3", "base") if place.repeat_of is not None}
        assert after["finished"] == (missing <= now)


def test_notes_of_both_showings_are_kept() -> None:
    outcomes = spread(20, 0)
    rows = session(outcomes)
    item = rows[-1].item
    rows = [row.model_copy(update={"note": f"note {row.repeat_of}"}) if row.item == item else row for row in rows]
    assert result("v3", "base", key(outcomes), rows)["by_prompt"][item]["notes"] == {"ana": ["note None", "note 1"]}
