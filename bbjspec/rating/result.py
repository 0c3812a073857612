"""What the votes say, per comparison: counted over prompts, never over clicks.

A prompt's score is 1 where the experiment's answer was preferred, 0 where the other one was, 1/2 for a tie, for two bad
answers, and for two that are the same; it is averaged over raters first, since two people's votes on one prompt are no
two prompts. Only raters who have rated all of their pairs are counted: who stops when it looks good would decide the
result.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence, Sized
from fractions import Fraction
from statistics import median
from typing import Any

from bbjspec.metrics import krippendorff, mcnemar_exact, paired_interval, wilson
from bbjspec.rating.order import order
from bbjspec.rating.ratings import Rating, latest

SCHEMA_VERSION = 1
SCORE = {"win": Fraction(1), "loss": Fraction(0), "tie": Fraction(1, 2), "bad": Fraction(1, 2)}
LEVEL = 0.05
DIGITS = 9
Pairs = dict[str, tuple[str, str]]
Votes = dict[str, dict[str, str]]  # rater -> item -> outcome


def result(experiment: str, against: str, key: Mapping[str, Any], ratings: Sequence[Rating]) -> dict[str, Any]:
    """All figures of one comparison; `key` is its part of the key file. Figures are None where nobody has finished.

    `wins` and so on count the votes of those who have finished, `win_rate` and `sign` prompts. `stale`: ratings of
    answers that the experiment gives no more.
    """
    items = key["items"]
    ratings = [one for one in ratings if one.against == against]
    pairs: Pairs = {item: (entry["answers"][0], entry["answers"][1]) for item, entry in items.items()}
    identical = sorted(item for item, (ours, theirs) in pairs.items() if ours == theirs)
    counting = latest(ratings)
    mine = [
        one for one in counting.values() if one.item in pairs and one.pair == set(pairs[one.item]) and len(one.pair) > 1
    ]
    open_items = sorted(pairs.keys() - set(identical))
    shown = {
        name: {(place.item, place.repeat_of is not None) for place in order(open_items, name, experiment, against)}
        for name in {one.rater for one in mine}
    }
    mine = [one for one in mine if (one.item, one.repeat_of is not None) in shown[one.rater]]
    raters = _raters(mine, shown)
    done = {rater["name"] for rater in raters if rater["finished"]}
    kept = [one for one in mine if one.rater in done]
    first = [one for one in kept if one.repeat_of is None]
    votes: Votes = {}
    for one in first:
        votes.setdefault(one.rater, {})[one.item] = _outcome(one, pairs)
    counts = Counter(outcome for of_rater in votes.values() for outcome in of_rater.values())
    scores = _scores(pairs, identical, votes) if done or not open_items else []
    return {
        "schema_version": SCHEMA_VERSION,
        "experiment": experiment,
        "against": against,
        "prompts": len(pairs),
        "identical": len(identical),
        "left_out": list(key["left_out"]),
        "raters": raters,
        "finished": len(done),
        "votes": {name: counts[name] for name in SCORE},
        "win_rate": _win_rate(scores),
        "sign": _sign(scores),
        "by_prompt": _by_prompt(pairs, kept),
        "needed": needed(len(pairs)),
        "verdict": _verdict(scores),
        "left": _left(first),
        "consistency": _consistency(kept),
        "alpha": _rounded(krippendorff([[v[i] for v in votes.values() if i in v] for i in pairs])),
        "length": _length(items, pairs, first),
        "flags": {
            flag: sorted(item for item, entry in items.items() if flag in entry["flags"]) for flag in ("cut", "named")
        },
        "stale": sum(one.item not in pairs or pairs[one.item][0] not in one.pair for one in counting.values()),
    }


def _raters(mine: Sequence[Rating], shown: Mapping[str, Sized]) -> list[dict[str, Any]]:
    """Who has rated how much of what is shown, by name; `ms` is the median time that a pair took."""
    found = []
    for name in sorted({one.rater for one in mine}):
        own = [one for one in mine if one.rater == name]
        found.append(
            {
                "name": name,
                "rated": len(own),
                "of": len(shown[name]),
                "finished": len(own) == len(shown[name]),
                "ms": round(median(one.ms for one in own)),
            }
        )
    return found


def _by_prompt(pairs: Pairs, kept: Sequence[Rating]) -> dict[str, Any]:
    """Each prompt's outcomes and notes, by rater; notes of both showings."""
    found: dict[str, Any] = {item: {"votes": {}, "notes": {}} for item in sorted(pairs)}
    for one in sorted(kept, key=lambda one: (one.rater, one.repeat_of is not None)):
        told = found[one.item]
        if one.repeat_of is None:
            told["votes"][one.rater] = _outcome(one, pairs)
        if one.note:
            told["notes"].setdefault(one.rater, []).append(one.note)
    return found


def _outcome(one: Rating, pairs: Pairs) -> str:
    """The vote from the experiment's side: win, loss, tie or bad."""
    if one.vote not in ("left", "right"):
        return str(one.vote)
    chosen = one.left if one.vote == "left" else one.right
    return "win" if chosen == pairs[one.item][0] else "loss"


def _scores(pairs: Pairs, identical: Sequence[str], votes: Votes) -> list[Fraction]:
    """Each prompt's score, raters averaged first."""
    found = []
    for item in sorted(pairs):
        given = [SCORE[of_rater[item]] for of_rater in votes.values() if item in of_rater]
        found.append(SCORE["tie"] if item in identical else sum(given, Fraction(0)) / len(given))
    return found


def _win_rate(scores: Sequence[Fraction]) -> dict[str, Any]:
    """The mean over prompts with its 95 % t interval, cut to [0, 1]."""
    if not scores:
        return {"value": None, "ci": [None, None]}
    if len(scores) < 2:
        return {"value": _rounded(float(scores[0])), "ci": [None, None]}
    middle, low, high = paired_interval(scores)
    return {"value": _rounded(middle), "ci": [_rounded(max(0.0, low)), _rounded(min(1.0, high))]}


def _sign(scores: Sequence[Fraction]) -> dict[str, Any]:
    """The exact two-sided sign test over prompts; those at one half do not count."""
    wins, losses = (sum(score > SCORE["tie"] for score in scores), sum(score < SCORE["tie"] for score in scores))
    p = float(f"{mcnemar_exact(losses, wins):.9g}") if scores else None
    return {"wins": wins, "losses": losses, "p": p}


def _verdict(scores: Sequence[Fraction]) -> str | None:
    """`preferred` or `not preferred` by the sign test at 0.05, else `not told apart`."""
    if not scores:
        return None
    found = _sign(scores)
    if found["p"] >= LEVEL:
        return "not told apart"
    return "preferred" if found["wins"] > found["losses"] else "not preferred"


def needed(prompts: int) -> dict[str, Any] | None:
    """Of so many prompts without a tie: how many wins a p below 0.05 takes, its p, and that of one win fewer.

    None for fewer than 6, of which no number is enough.
    """
    for wins in range(prompts // 2 + 1, prompts + 1):
        p = mcnemar_exact(prompts - wins, wins)
        if p < LEVEL:
            short = mcnemar_exact(prompts - wins + 1, wins - 1)
            return {"wins": wins, "losses": prompts - wins, "p": _rounded(p), "p_short": _rounded(short)}
    return None


def _left(first: Sequence[Rating]) -> dict[str, Any]:
    """How often the left side was chosen among all votes for a side: half of the answers stood on either."""
    sided = [one for one in first if one.vote in ("left", "right")]
    left = sum(one.vote == "left" for one in sided)
    if not sided:
        return {"left": 0, "of": 0, "share": None, "ci": [None, None], "p": None}
    return {
        "left": left,
        "of": len(sided),
        "share": _rounded(left / len(sided)),
        "ci": [_rounded(bound) for bound in wilson(left, len(sided))],
        "p": float(f"{mcnemar_exact(left, len(sided) - left):.9g}"),
    }


def _consistency(kept: Sequence[Rating]) -> dict[str, int]:
    """How many of the pairs that were shown again, sides swapped, got the same vote."""
    before = {(one.rater, one.item): _chosen(one) for one in kept if one.repeat_of is None}
    again = [one for one in kept if one.repeat_of is not None and (one.rater, one.item) in before]
    return {"same": sum(before[one.rater, one.item] == _chosen(one) for one in again), "of": len(again)}


def _chosen(one: Rating) -> str:
    """The answer that was chosen, or `tie` or `bad`."""
    return {"left": one.left, "right": one.right}.get(str(one.vote), str(one.vote))


def _length(items: Mapping[str, Any], pairs: Pairs, first: Sequence[Rating]) -> dict[str, Any]:
    """By how many characters our answers are longer, on average over prompts; and how often the longer one was chosen
    by those who chose a side, where one is longer."""
    change = [Fraction(entry["chars"][0] - entry["chars"][1]) for entry in items.values()]
    ci: list[float | None] = [None, None]
    if len(change) > 1:
        _, low, high = paired_interval(change)
        ci = [_rounded(low), _rounded(high)]
    longer = of = 0
    for one in first:
        ours, theirs = items[one.item]["chars"]
        if one.vote in ("left", "right") and ours != theirs:
            of += 1
            longer += (_outcome(one, pairs) == "win") == (ours > theirs)
    value = _rounded(float(sum(change, Fraction(0)) / len(change))) if change else None
    return {"diff": value, "ci": ci, "longer_chosen": longer, "of": of}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, DIGITS)
