"""Class means, and order statistics of arrays of any length."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .rows import Floats, block_slices

COPY_BYTES = 256 * 2**20
"""Size of a copy that is still sorted in memory."""

SAMPLE = 2**20
"""Values of a sample that bounds order statistics."""


Summed = Callable[[Callable[[NDArray[Any]], Any], Callable[[Any, Any], Any]], Any]
"""A function of a block of rows, and the sum of two of its results → the sum over all blocks of an array."""


class ClassMeans(NamedTuple):
    """``means`` float64 ``[C, D]`` and ``counts`` int64 ``[C]``."""

    means: Floats
    counts: NDArray[np.int64]


def percentile(
    array: NDArray[Any],
    percent: float,
    columns: slice = slice(None),
    chunk_rows: int | None = None,
    summed: Summed | None = None,
) -> float:
    """Return the ``percent``-th percentile of ``array[:, columns]``, as `numpy.percentile` does (linear).

    A copy of up to 256 MB is partitioned.  Above that, the array may be a memory map of any length: a sample
    says between which values the order statistics lie, and one pass collects what is there (at most so much
    again); where that fails, they are found digit by digit, 16 bits a pass over the rows.

    Args:
        array: ``[N, D]``; floats of other widths than 32 and 64 bits are read as float64.
        percent: 0 to 100.
        columns: the columns meant.
        chunk_rows: rows a block, or None to let the width decide.
        summed: makes the passes elsewhere; here only a sample is read then.
    """
    width = array[:1, columns].shape[1]
    count = len(array) * width
    position = percent / 100.0 * (count - 1)
    below = int(np.floor(position))
    weight = position - below
    above = below + 1 if weight else below
    value_type = np.float32 if array.dtype == np.float32 else np.float64
    if summed is None and count * np.dtype(value_type).itemsize <= COPY_BYTES:
        values = np.array(array[:, columns], dtype=value_type, order="C").reshape(-1)
        values.partition([below, above])
        low, high = float(values[below]), float(values[above])
    else:

        def here(function: Callable[[NDArray[Any]], Any], add: Callable[[Any, Any], Any]) -> Any:
            blocks = block_slices(len(array), array.shape[1], chunk_rows)
            return reduce(add, (function(array[where]) for where in blocks))

        over = summed or here
        found = _between_bounds(array, columns, (below, above), over)
        if found is None:
            found = tuple(_order_statistic(value_type, columns, rank, over) for rank in (below, above))
        low, high = found
    return low + (high - low) * weight


class _Part(NamedTuple):
    """``counts`` of values below, at the lower and at the upper bound, and the size of those between in bytes; these
    values, or None where they are too many.
    """

    counts: NDArray[np.int64]
    inside: list[NDArray[Any]] | None

    def plus(self, other: _Part) -> _Part:
        """Return the sum of two."""
        counts = self.counts + other.counts
        fits = self.inside is not None and other.inside is not None and counts[-1] <= COPY_BYTES
        return _Part(counts, [*(self.inside or ()), *(other.inside or ())] if fits else None)


def _between_bounds(
    array: NDArray[Any], columns: slice, ranks: tuple[int, int], over: Summed
) -> tuple[float, ...] | None:
    """Return the values of two neighbouring ranks, or None if a sample's bounds don't hold them."""
    value_type = np.float32 if array.dtype == np.float32 else np.float64
    width = array[:1, columns].shape[1]
    total = len(array) * width
    chosen = np.linspace(0, len(array) - 1, min(len(array), max(64, SAMPLE // width))).astype(np.int64)
    sample = np.sort(np.asarray(array[chosen][:, columns], dtype=value_type), axis=None)
    size = len(sample)
    share = ranks[0] / total
    # values of one row go together, so a sample of rows is less sure than as many values would be
    slack = 2 + int(10.0 * np.sqrt(size * share * (1.0 - share) * min(width, 16)))
    first, last = int(share * size) - slack, int(share * size) + 1 + slack
    low = sample[first] if first >= 0 else value_type(-np.inf)
    high = sample[last] if last < size else value_type(np.inf)

    def of_block(block: NDArray[Any]) -> _Part:
        values = np.asarray(block[:, columns], dtype=value_type).reshape(-1)
        above_low = values > low
        below_low = int(np.count_nonzero(values < low))
        at_low = values.size - int(np.count_nonzero(above_low)) - below_low
        at_high = int(np.count_nonzero(values == high)) if high > low else 0
        inside = values[above_low & (values < high)]
        return _Part(np.array([below_low, at_low, at_high, inside.nbytes]), [inside])

    counts, inside = over(of_block, _Part.plus)
    if inside is None:
        return None
    below, at_low, at_high, _ = counts.tolist()
    middle = np.sort(np.concatenate(inside))
    found = []
    for rank in ranks:
        place = rank - below - at_low
        if rank < below or place >= len(middle) + at_high:
            return None
        found.append(float(low if place < 0 else middle[place] if place < len(middle) else high))
    return tuple(found)


def _order_statistic(value_type: type[np.floating[Any]], columns: slice, rank: int, over: Summed) -> float:
    """Return the value of 0-based ``rank`` in ascending order of the values in ``columns``."""
    bits = np.dtype(value_type).itemsize * 8
    prefix = 0
    for shift in range(bits - 16, -1, -16):

        def of_block(block: NDArray[Any], shift: int = shift, prefix: int = prefix) -> NDArray[np.int64]:
            keys = _ordered_keys(block[:, columns].astype(value_type, copy=False))
            if shift + 16 < bits:  # only values that begin with the digits found so far
                keys = keys[(keys >> np.asarray(shift + 16, keys.dtype)) == prefix]
            digits = (keys >> np.asarray(shift, keys.dtype)) & np.asarray(0xFFFF, keys.dtype)
            return np.bincount(digits.astype(np.int64), minlength=1 << 16)

        cumulative = np.cumsum(over(of_block, np.add))
        digit = int(np.searchsorted(cumulative, rank, side="right"))
        rank -= int(cumulative[digit - 1]) if digit else 0
        prefix = (prefix << 16) | digit
    return _value_of_key(prefix, value_type)


def _ordered_keys(values: NDArray[Any]) -> NDArray[Any]:
    """Return unsigned integers in the order of the float ``values``, flat."""
    unsigned = np.uint32 if values.dtype == np.float32 else np.uint64
    raw = np.ascontiguousarray(values).reshape(-1).view(unsigned)
    sign = np.asarray(1, unsigned) << np.asarray(8 * raw.itemsize - 1, unsigned)
    # negative floats count downwards: all their bits turn; positive ones go above them
    return np.where(raw & sign, np.bitwise_not(raw), raw | sign)


def _value_of_key(key: int, value_type: type[np.floating[Any]]) -> float:
    bits = np.dtype(value_type).itemsize * 8
    sign = 1 << (bits - 1)
    raw = key ^ sign if key & sign else key ^ ((1 << bits) - 1)
    return float(np.asarray(raw, dtype=f"u{bits // 8}").view(value_type))
