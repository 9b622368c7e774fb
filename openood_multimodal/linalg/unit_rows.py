"""Rows divided by their norms, made as they are read."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .rows import Floats, row_norms


def unit_rows(rows: NDArray[Any], norms: Floats | None = None) -> Floats:
    """Return float64 ``[B, D]`` rows of norm 1; a row of zeros stays one."""
    values = np.asarray(rows, dtype=np.float64)
    norms = row_norms(values) if norms is None else norms
    return np.asarray(values / np.where(norms > 0.0, norms, 1.0)[:, None])


class UnitRows:
    """An array ``[N, D]`` whose rows are those of ``features``, divided by their norms when they are asked for.

    It answers what code that reads features a block at a time asks: ``len``, ``shape``, ``ndim``, ``dtype``
    (float64) and indexing by slices or row numbers.  Nothing of the size of ``features`` is made.
    """

    ndim = 2
    dtype = np.dtype(np.float64)

    def __init__(self, features: NDArray[Any]) -> None:
        self._features = features
        self.shape = features.shape

    def __len__(self) -> int:
        return len(self._features)

    def __getitem__(self, which: Any) -> Floats:
        return unit_rows(np.atleast_2d(self._features[which]))
