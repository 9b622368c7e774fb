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


def unit_rows_in(rows: NDArray[Any], norms: Floats, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return `unit_rows` in ``dtype``; float32 is made of float32 where norms are far from the ends of its range."""
    ordinary = bool(norms.max(initial=1e-15) < 1e15 and norms.min(initial=1.0) > 1e-15)
    if dtype == np.float32 and rows.dtype.itemsize <= 4 and ordinary:
        return np.multiply(rows, (1.0 / norms).astype(np.float32)[:, None], dtype=np.float32)
    return unit_rows(rows, norms).astype(dtype, copy=False)


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
