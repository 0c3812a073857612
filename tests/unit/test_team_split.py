"""The sides of a file like the team's: 9,922 rows with duplicates, near-duplicates and no field but `messages`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from bbjspec.data.near import near_duplicates
from bbjspec.data.rows import Row, load_rows, normalise
from bbjspec.data.sides import grouped, validation_lines, value_of
from tests.planted import ROWS, planted


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    path = tmp_path_factory.mktemp("team") / "dataset.jsonl"
    planted().write(path)
    return load_rows(path, "dataset.jsonl")


@pytest.fixture(scope="module")
def held(rows: list[Row]) -> set[int]:
    return validation_lines(grouped(rows, 42, ["kind"]), 0.1)


def test_the_size_is_exact_and_so_is_each_kind(rows: list[Row], held: set[int]) -> None:
    assert (len(rows) - len(held), len(held)) == (8930, 992)
    sizes = Counter(value_of(row, "kind") for row in rows)
    there = Counter(value_of(row, "kind") for row in rows if row.line in held)
    assert len(sizes) >= 3
    for kind, size in sizes.items():
        assert abs(there[kind] - size * 992 / ROWS) < 3  # groups are whole, so a kind may be a row off


def test_what_is_asked_twice_or_nearly_so_is_on_one_side(rows: list[Row], held: set[int]) -> None:
    sides: dict[str, set[bool]] = {}
    for row in rows:
        sides.setdefault(normalise(row.question), set()).add(row.line in held)
    assert all(len(found) == 1 for found in sides.values())
    near = near_duplicates([normalise(row.question) for row in rows])
    assert near and all((rows[a].line in held) == (rows[b].line in held) for a, b in near)


def test_rows_without_ids_are_told_apart_and_found_again(rows: list[Row]) -> None:
    assert len({row.id for row in rows}) == ROWS
    assert all(row.id.startswith("row-") for row in rows)


def test_five_percent_fewer_rows_move_less_than_one(rows: list[Row], held: set[int]) -> None:
    fewer = [row for row in rows if row.line % 20]
    after = validation_lines(grouped(fewer, 42, ["kind"]), 0.1)
    moved = sum((row.line in held) != (row.line in after) for row in fewer)
    assert moved / len(fewer) < 0.01
