"""What the fitted scores read off the training features: class means, scatters, order statistics.

All in float64 and a block of rows at a time.  Scatters take a second pass around their own centre: one pass
with the means subtracted afterwards loses everything where the classes are far apart and tight, as they are
in a well-trained network.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from ..errors import UserError
from .rows import Floats, block_slices, check_labels, feature_blocks


class ClassMeans(NamedTuple):
    """``means`` float64 ``[C, D]`` and ``counts`` int64 ``[C]``."""

    means: Floats
    counts: NDArray[np.int64]


def class_means(features: NDArray[Any], labels: NDArray[np.int64], num_classes: int) -> ClassMeans:
    """Return the mean of every class of ``features`` ``[N, D]``.

    Raises:
        UserError: for a label outside the classes, or a class without a row.
    """
    check_labels(labels, num_classes)
    counts = np.bincount(labels, minlength=num_classes).astype(np.int64)
    if not counts.all():
        missing = int(np.flatnonzero(counts == 0)[0])
        raise UserError(
            f"class {missing} of {num_classes} has 0 of the {len(labels)} training rows; "
            "its mean can't be estimated."
        )
    sums = np.zeros((num_classes, features.shape[1]))
    for where, block in feature_blocks(features):
        size = len(block)
        member = sparse.csr_matrix(
            (np.ones(size), (labels[where], np.arange(size))), shape=(num_classes, size)
        )
        sums += member @ block
    return ClassMeans(sums / counts[:, None], counts)


def mean(features: NDArray[Any]) -> Floats:
    """Return the float64 mean ``[D]`` of ``features`` ``[N, D]``."""
    total = np.zeros(features.shape[1])
    for _, block in feature_blocks(features):
        total += block.sum(axis=0)
    return total / len(features)


class Centred:
    """The rows of ``features`` ``[N, D]`` minus a centre each, never held all at once unless asked for.

    Args:
        features: ``[N, D]``.
        centres: ``[K, D]``.
        which: int64 ``[N]``, the centre of every row; None: all rows take the only one.
    """

    def __init__(
        self, features: NDArray[Any], centres: Floats, which: NDArray[np.int64] | None = None
    ) -> None:
        self.features = features
        self.centres = centres
        self.which = which

    @property
    def shape(self) -> tuple[int, int]:
        """(N, D)."""
        return len(self.features), int(self.features.shape[1])

    def blocks(self) -> Iterator[tuple[slice, Floats]]:
        """Yield ``(slice, centred block)``."""
        for where, block in feature_blocks(self.features):
            yield where, block - (self.centres if self.which is None else self.centres[self.which[where]])

    def rows(self) -> Floats:
        """Return all of them, ``[N, D]``."""
        out = np.empty(self.shape)
        for where, block in self.blocks():
            out[where] = block
        return out

    def scatter(self) -> Floats:
        """Return their second moment, ``[D, D]``: the mean outer product."""
        count, dim = self.shape
        total = np.zeros((dim, dim))
        for _, block in self.blocks():
            total += block.T @ block
        return total / count


def percentile(array: NDArray[Any], percent: float, columns: slice = slice(None)) -> float:
    """Return the ``percent``-th percentile of ``array[:, columns]``, as `numpy.percentile` does (linear).

    The order statistics are found digit by digit (16 bits a pass over the rows), so that the array may be
    a memory map of any length: memory is one block and one table of 65 536 counts.

    Args:
        array: ``[N, D]``; floats of other widths than 32 and 64 bits are read as float64.
        percent: 0 to 100.
        columns: the columns meant.
    """
    width = array[:1, columns].shape[1]
    count = len(array) * width
    position = percent / 100.0 * (count - 1)
    below = int(np.floor(position))
    low = _order_statistic(array, columns, below)
    weight = position - below
    if weight == 0.0:
        return low
    high = _order_statistic(array, columns, below + 1)
    return low + (high - low) * weight


def _order_statistic(array: NDArray[Any], columns: slice, rank: int) -> float:
    """Return the value of 0-based ``rank`` in ascending order of ``array[:, columns]``."""
    value_type = np.float32 if array.dtype == np.float32 else np.float64
    bits = np.dtype(value_type).itemsize * 8
    prefix = 0
    for shift in range(bits - 16, -1, -16):
        counts = np.zeros(1 << 16, dtype=np.int64)
        for where in block_slices(len(array), array.shape[1]):
            keys = _ordered_keys(array[where, columns].astype(value_type, copy=False))
            if shift + 16 < bits:  # only values that begin with the digits found so far
                keys = keys[(keys >> np.asarray(shift + 16, keys.dtype)) == prefix]
            digits = (keys >> np.asarray(shift, keys.dtype)) & np.asarray(0xFFFF, keys.dtype)
            counts += np.bincount(digits.astype(np.int64), minlength=1 << 16)
        cumulative = np.cumsum(counts)
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
