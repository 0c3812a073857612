"""Digests name results for ever: they must see every difference that matters and none that does not."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bbjspec.digest import FileHashes, canonical, digest, sha256_file

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@given(st.dictionaries(st.text(), JSON, max_size=5))
def test_key_order_does_not_matter(value: dict[str, object]) -> None:
    assert digest(value) == digest(dict(reversed(list(value.items()))))


def test_number_formats_are_one_number() -> None:
    assert digest({"lr": 1e-4}) == digest({"lr": 0.0001})
    assert digest({"r": 32}) != digest({"r": 32.0}), "an int field is never dumped as a float: the models see to it"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_json_lacks_are_refused(value: float) -> None:
    with pytest.raises(ValueError):
        canonical(value)


def test_the_memo_saves_hashing_and_notices_a_change(tmp_path: Path) -> None:
    corpus, memo = tmp_path / "corpus", tmp_path / "memo.json"
    corpus.write_bytes(b"one")
    hashes = FileHashes(memo)
    first = hashes(corpus)
    hashes.save()
    assert first == sha256_file(corpus)
    assert FileHashes(memo)(corpus) == first
    corpus.write_bytes(b"three")
    assert FileHashes(memo)(corpus) == sha256_file(corpus) != first


@pytest.mark.parametrize("garbage", [b"", b"{", b"[]", b'{"x": [1]}', b"\xff"])
def test_a_broken_memo_only_costs_time(tmp_path: Path, garbage: bytes) -> None:
    corpus, memo = tmp_path / "corpus", tmp_path / "memo.json"
    corpus.write_bytes(b"one")
    memo.write_bytes(garbage)
    assert FileHashes(memo)(corpus) == sha256_file(corpus)
