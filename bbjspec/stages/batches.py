"""Which rows each optimizer step sees: drawn at random for the whole step, sorted by length inside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch


class GlobalBatches(torch.utils.data.Sampler[int]):  # type: ignore[misc]  # untyped to mypy
    """Indices of one epoch, `size` at a time one optimizer step's rows.

    Rows are drawn without replacement, anew in each epoch. A step's rows come longest first, so that the batches that
    a device takes of them hold rows of like length: little padding, and the step's gradient is that of the same rows
    whatever the size of those batches and the number of devices. (Grouping rows of like length across steps, as
    `group_by_length` does, saves little more and makes some steps all long and others all short.)

    `lengths` are tokens a row. The order is a function of seed and epoch alone, so a resumed run has no order to load.

    The last step of an epoch is filled to a multiple of `multiple` with the index of a blank row, which is one behind
    the last: several devices need equally many batches, and would be given rows of the epoch's beginning again.
    """

    def __init__(self, lengths: Sequence[int], size: int, seed: int, multiple: int = 1) -> None:
        self._lengths, self._size, self._seed, self._epoch = lengths, size, seed, 0
        self.blanks = -len(lengths) % multiple

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order comes next, counted from 0."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._lengths) + self.blanks

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed((self._seed * 1_000_003 + self._epoch) % 2**63)
        order = torch.randperm(len(self._lengths), generator=generator).tolist()
        for start in range(0, len(order), self._size):
            yield from sorted(order[start : start + self._size], key=lambda row: (-self._lengths[row], row))
        yield from [len(order)] * self.blanks
