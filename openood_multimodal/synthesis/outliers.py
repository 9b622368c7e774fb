"""What a synthesis returns."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Outliers(NamedTuple):
    """Synthesised outliers, one a class, and how each was made.

    Attributes:
        embeddings: ``[C, D]``, without gradient; row c is ``lam[c] * Z1 + (1 - lam[c]) * Z2`` with
            ``Z1 = bank.embeddings[c, rows[c, 0]]``, ``Z2 = bank.embeddings[neighbours[c], rows[c, 1]]``.
        neighbours: int64 ``[C]``, the class that class c was mixed with; never c itself.
        lam: ``[C]`` in [0, 1], the weight of class c's own row, in the embeddings' dtype.
        rows: int64 ``[C, 2]``, slots in the bank: of class c, and of its neighbour.
    """

    embeddings: Tensor
    neighbours: Tensor
    lam: Tensor
    rows: Tensor
