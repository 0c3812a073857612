"""Which rows are held out: settled on all rows before any filter, exact in size, and nearly blind to other rows.

Rows of one question, and of questions that are nearly the same, are one group and stay on one side. A group's place in
the draw is a hash of the seed and a question: it depends on no other row. The first groups of each stratum are held
out, round(val_size × rows) rows in all, shared among the strata by largest remainder. So adding or removing other rows
moves only what stands at the edge of the draw.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bbjspec.data.kinds import inferred_kind, inferred_topic
from bbjspec.data.near import groups, near_duplicates
from bbjspec.data.rows import Row, normalise


@dataclass(frozen=True)
class Group:
    """Rows that ask (nearly) the same. `place` is the smallest hash of their questions; its row names the stratum."""

    rows: tuple[Row, ...]
    place: str
    stratum: tuple[str, ...]


def same_questions(rows: Sequence[Row]) -> list[list[Row]]:
    """The rows by what they ask, near-duplicates together, in the order of the first row of each."""
    texts = [normalise(row.question) for row in rows]
    at: dict[str, int] = {}
    first = [at.setdefault(text, i) for i, text in enumerate(texts)]
    pairs = {(first[i], first[j]) for i, j in near_duplicates(texts)} | {(f, i) for i, f in enumerate(first) if f != i}
    return [[rows[i] for i in group] for group in groups(len(rows), sorted(pairs))]


def grouped(rows: Sequence[Row], seed: int, stratify_by: Sequence[str]) -> list[Group]:
    """Every row in its group, the groups in the order of the draw."""
    found = []
    for members in same_questions(rows):
        placed = min((_place(row, seed), _stratum(row, stratify_by)) for row in members)
        found.append(Group(tuple(members), *placed))
    return sorted(found, key=lambda group: group.place)


def validation_lines(found: Sequence[Group], val_size: float) -> set[int]:
    """Line numbers of the rows held out: round(val_size × rows) of them, or as near as whole groups allow."""
    strata: dict[tuple[str, ...], list[Group]] = defaultdict(list)
    for group in found:
        strata[group.stratum].append(group)
    sizes = {key: sum(len(group.rows) for group in members) for key, members in strata.items()}
    wanted = round(val_size * sum(sizes.values()))
    held: set[int] = set()
    for key, share in largest_remainder(sizes, wanted).items():
        held |= _draw(strata[key], share)
    # Where a stratum's groups did not add up to its share, the next groups of any stratum fill the rest.
    rest = [group for group in found if group.rows[0].line not in held]
    return held | _draw(rest, wanted - len(held))


def _draw(ordered: Iterable[Group], share: int) -> set[int]:
    held: set[int] = set()
    for group in ordered:
        if len(held) + len(group.rows) <= share:
            held |= {row.line for row in group.rows}
    return held


def _place(row: Row, seed: int) -> str:
    return hashlib.sha256(f"{seed}\0{normalise(row.question)}".encode()).hexdigest()


def _stratum(row: Row, names: Sequence[str]) -> tuple[str, ...]:
    return tuple(json.dumps(value_of(row, name), sort_keys=True) for name in names)


def value_of(row: Row, name: str) -> Any:
    """A field of the row; `kind` and `topic` are told from its text where it has none."""
    if name not in row.fields and name in ("kind", "topic"):
        return (inferred_kind if name == "kind" else inferred_topic)(row.question, row.answer)
    return row.fields.get(name)


def largest_remainder(sizes: Mapping[Any, int], wanted: int) -> dict[Any, int]:
    """`wanted` shared out in proportion to the sizes, in whole numbers (Hamilton's method)."""
    total = sum(sizes.values())
    exact = {key: wanted * size / total for key, size in sizes.items()}
    shares = {key: int(value) for key, value in exact.items()}
    left = wanted - sum(shares.values())
    for key in sorted(exact, key=lambda k: (shares[k] - exact[k], k))[:left]:
        shares[key] += 1
    return shares
