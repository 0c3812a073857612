"""Near-duplicates: all pairs of texts whose Levenshtein distance is below a share of the longer one's length. Exact.

Texts are sorted by length and compared in blocks, each with the texts that are short enough less. Of a block against
another, one matrix product counts the pairs of neighbouring characters (bigrams) that two texts do not share; an edit
changes at most four, so most pairs need no more. What is left is measured by rapidfuzz. Time grows with the square of
the number of texts of like length, whatever they say; memory does not grow beyond the texts and a block.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

from bbjspec.bbj.parallel import usable_cpus

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Matrix = NDArray[np.float32]

ROWS, COLUMNS = 4096, 1024
"""Texts that are compared with others at once: a product of both takes 4 bytes × ROWS × COLUMNS, 16 MB."""
CHARACTERS = 1 << 21
"""Of one block at most, unless one text is longer."""
_STEP, _WIDEST = 128, 4096
"""Bits of a sketch: a multiple of the first, about three times a text's length, at most the second."""
_FACTORS = (2654435761, 2246822519)
"""Odd, to spread the codes of characters over 32 bits. Which bits bigrams share changes the time, never the result."""


def near_duplicates(texts: Sequence[str], share: float = 0.1) -> list[tuple[int, int]]:
    """All pairs i < j of indexes, sorted, of different texts with a distance below `share` × the longer's length.

    The distance is Levenshtein's, in code points. Equal texts are no near-duplicates of each other, but each of them
    has the near-duplicates of all: what stands n times is compared once and reported n times. `share` is taken as it is
    written (0.1 is a tenth), above 0 and at most 1; raises ValueError otherwise.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share is above 0 and at most 1, not {share}")
    places: dict[str, list[int]] = defaultdict(list)
    for index, text in enumerate(texts):
        places[text].append(index)
    distinct = sorted(places, key=len)
    return sorted(
        (min(i, j), max(i, j))
        for a, b in _near(distinct, Fraction(str(float(share))))
        for i in places[distinct[a]]
        for j in places[distinct[b]]
    )


def is_near(one: str, other: str, share: float = 0.1) -> bool:
    """Whether two texts are different and near-duplicates: `near_duplicates` for a single pair."""
    from rapidfuzz.distance import Levenshtein

    limit = math.ceil(Fraction(str(float(share))) * max(len(one), len(other))) - 1
    return one != other and Levenshtein.distance(one, other, score_cutoff=max(limit, 0)) <= limit


def groups(count: int, pairs: Iterable[tuple[int, int]]) -> list[list[int]]:
    """The connected components of 0 … count - 1 under `pairs`, each sorted, in the order of their first members."""
    parent = list(range(count))

    def root(member: int) -> int:
        while parent[member] != member:
            parent[member] = parent[parent[member]]
            member = parent[member]
        return member

    for a, b in pairs:
        first, second = sorted((root(a), root(b)))
        parent[second] = first
    members: dict[int, list[int]] = defaultdict(list)
    for member in range(count):
        members[root(member)].append(member)
    return list(members.values())


def _near(texts: list[str], share: Fraction) -> Iterator[tuple[int, int]]:
    """The near pairs of ranks in `texts`, which are distinct and sorted by length: the lower rank, the higher."""
    import numpy as np

    lengths = np.fromiter(map(len, texts), np.int64, len(texts))
    # The largest distance that is near, where the text is the longer one. Equal texts are not here: 0 is none.
    limits = np.array([math.ceil(share * length) - 1 for length in range(len(texts[-1]) + 1)] if texts else [], int)
    first = 0
    while first < len(texts):
        last = _block_end(lengths, first, ROWS)
        if limits[lengths[last - 1]] > 0:
            bits = _bits(int(lengths[last - 1]))
            rows = _sketches(texts[first:last], bits)
            own = limits[lengths[first:last]]
            low = int(np.searchsorted(lengths, min(lengths[first:last] - own)))
            while low < last:
                high = min(_block_end(lengths, low, COLUMNS), last)
                columns = _sketches(texts[low:high], bits)
                shares = _may_be_near(rows, columns, lengths[first:last], lengths[low:high], own)
                above, below = shares[0] + first, shares[1] + low
                before = below < above
                yield from _measured(texts, above[before], below[before], limits[lengths[above[before]]])
                low = high
        first = last


def _block_end(lengths: NDArray[np.int64], first: int, most: int) -> int:
    """Where a block that begins at rank `first` ends: `most` texts, one width of sketch, at most CHARACTERS."""
    length = int(lengths[min(first + most, len(lengths)) - 1])
    return min(first + max(min(most, CHARACTERS // max(length, 1)), 1), len(lengths))


def _bits(length: int) -> int:
    """How wide the sketches of texts of `length` characters are."""
    return min(max(-(-3 * length // _STEP), 1) * _STEP, _WIDEST)


def _sketches(texts: Sequence[str], bits: int) -> Matrix:
    """A row of 0 and 1 for each text: which bigrams it holds, by their hashes."""
    import numpy as np

    codes = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), np.uint32)
    sizes = np.fromiter(map(len, texts), np.int64, len(texts))
    sketches = np.zeros((len(texts), bits), np.float32)
    mixed = (codes[:-1] * np.uint32(_FACTORS[0]) + codes[1:]) * np.uint32(_FACTORS[1]) >> np.uint32(8)
    places = np.repeat(np.arange(len(texts)) * bits, sizes)[:-1] + mixed % np.uint32(bits)
    within = np.ones(len(places), np.bool_)
    ends = np.cumsum(sizes)
    within[ends[(ends > 0) & (ends < len(codes))] - 1] = False  # a bigram across two texts is none
    sketches.ravel()[places[within]] = 1
    return sketches


def _may_be_near(
    rows: Matrix,
    columns: Matrix,
    lengths: NDArray[np.int64],
    others: NDArray[np.int64],
    limits: NDArray[np.int64],
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The pairs of rows and columns whose sketches do not rule out a distance up to the row's limit.

    A substitution takes away two bigrams and brings two, so it changes four bits at most; an insertion or a deletion
    three, and the lengths tell how many of these there are at least. So sketches that differ in more than
    4 × limit - (length - other) bits are of texts too far apart. They differ in |row| + |column| - 2 row·column bits:
    all of it is one product, with two columns more. Whole numbers below 2^24 are exact in 32-bit floats.
    """
    import numpy as np

    left = np.empty((len(rows), rows.shape[1] + 2), np.float32)
    left[:, :-2], left[:, -2], left[:, -1] = 2 * rows, 4 * limits - lengths - rows.sum(axis=1), 1
    right = np.empty((len(columns), columns.shape[1] + 2), np.float32)
    right[:, :-2], right[:, -2], right[:, -1] = columns, 1, others - columns.sum(axis=1)
    found = np.flatnonzero(left @ right.T >= 0)
    return np.divmod(found, len(columns))


def _measured(
    texts: list[str], above: NDArray[np.intp], below: NDArray[np.intp], limits: NDArray[np.int64]
) -> Iterator[tuple[int, int]]:
    """The near ones of pairs of ranks; `limits` are those of `above`, the longer."""
    import numpy as np
    from rapidfuzz.distance import Levenshtein
    from rapidfuzz.process import cpdist

    for limit in np.unique(limits).tolist():
        longer, shorter = above[limits == limit].tolist(), below[limits == limit].tolist()
        distances = cpdist(
            [texts[rank] for rank in longer],
            [texts[rank] for rank in shorter],
            scorer=Levenshtein.distance,
            score_cutoff=limit,
            workers=usable_cpus(),
        )
        for at in np.flatnonzero(distances <= limit).tolist():
            yield shorter[at], longer[at]
