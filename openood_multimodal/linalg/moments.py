"""Sums of outer products over many rows: float32 products where these are good enough, float64 sums.

A float32 product of centred columns i and j is wrong by some 1e-8 σᵢσⱼ, which is nothing beside the large
eigenvalues and everything beside the small ones that a Mahalanobis distance lives on.  So the directions that
carry most of the variance are taken out first, exactly: with V of them (from a pilot sample) and T = Z V,

    ZᵀZ = RᵀR + RᵀT Vᵀ + V TᵀR + V TᵀT Vᵀ,   R = Z - T Vᵀ,

whatever V is.  What float32 squares is then R, whose columns are small and nearly even.  Three products of
width p = 128 cost a few percent, and earn three to four digits where the spectrum decays.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from .arithmetic import Arithmetic, Floats
from .rows import block_slices

DIRECTIONS = 128
"""p, the directions taken out."""

FLUSH_ROWS = 8192
"""Rows summed in float32 before the sum goes to float64."""


def leading_directions(rows: NDArray[Any], size: int = DIRECTIONS) -> NDArray[np.float32] | None:
    """Return float32 ``[D, p]``, roughly the leading right singular vectors of ``rows`` ``[n, D]``.

    p is at most ``size``, n / 4 and D / 8; None where that leaves fewer than 8, or the rows are all 0.
    """
    count, dim = rows.shape
    size = min(size, count // 4, dim // 8)
    if size < 8:
        return None
    values = rows.astype(np.float64)
    wide = count < dim
    order = min(count, dim)
    squares, vectors = linalg.eigh(
        values @ values.T if wide else values.T @ values,
        check_finite=False,
        subset_by_index=[order - size, order - 1],
        overwrite_a=True,
    )
    good = squares > 1e-10 * max(squares[-1], np.finfo(np.float64).tiny)
    if good.sum() < 8:
        return None
    vectors = vectors[:, good]
    if wide:
        vectors = (values.T @ vectors) / np.sqrt(squares[good])
    vectors[~values.any(axis=0)] = 0.0  # a column that is 0 throughout has to stay exactly that
    return np.ascontiguousarray(vectors, dtype=np.float32)


class MomentSum:
    """The sum of x xᵀ over rows x that come a block at a time.

    Args:
        dim: D.
        arithmetic: where to compute.
        dtype: of the products: `numpy.float32` or `numpy.float64`.
        directions: ``[D, p]`` to be taken out (float32 only), or None.
    """

    def __init__(
        self, dim: int, arithmetic: Arithmetic, dtype: Any, directions: NDArray[np.float32] | None = None
    ) -> None:
        self.dtype = np.dtype(dtype)
        self.directions = directions if self.dtype == np.float32 else None
        self._arithmetic = arithmetic
        self._sum = arithmetic.zeros(dim, self.dtype)
        self._total = self._sum if self.dtype == np.float64 else None
        self._waiting = 0
        if self.directions is not None:
            width = self.directions.shape[1]
            self._basis = arithmetic.put(self.directions, np.float32)
            self._inside = np.zeros((width, width))  # TᵀT
            self._across = np.zeros((dim, width))  # RᵀT

    def add(self, rows: NDArray[Any]) -> None:
        """Add ``[B, D]`` rows of the products' type."""
        # several products, so that no float32 sum runs longer than FLUSH_ROWS
        for where in block_slices(len(rows), 1, FLUSH_ROWS):
            self._add(rows[where])

    def _add(self, rows: NDArray[Any]) -> None:
        arithmetic = self._arithmetic
        block = arithmetic.put(rows, self.dtype)
        if self.directions is not None:
            inside = block @ self._basis
            block = block - inside @ self._basis.T
            self._across += arithmetic.get(block.T @ inside)
            exact = arithmetic.get(inside).astype(np.float64)
            self._inside += exact.T @ exact
        self._sum = arithmetic.add_gram(self._sum, block)
        if self.dtype == np.float32:
            self._waiting += len(rows)
            if self._waiting >= FLUSH_ROWS:
                self._flush()

    def _flush(self) -> None:
        if self._total is None:
            self._total = self._arithmetic.zeros(self._sum.shape[0], np.float64)
        self._arithmetic.add(self._total, self._sum)
        self._arithmetic.clear(self._sum)
        self._waiting = 0

    def forms(self, probes: Floats) -> Floats:
        """Return ``[k]`` wᵀ M w of the float32 sum M so far, for the probes w of ``[k, D]``."""
        forms = self._arithmetic.forms(self._sum, probes)
        if self._total is not None and self._total is not self._sum:
            forms = forms + self._arithmetic.forms(self._total, probes)
        if self.directions is not None:
            inside = probes @ self.directions.astype(np.float64)
            forms = forms + 2.0 * np.einsum("ij,ij->i", probes @ self._across, inside)
            forms = forms + np.einsum("ij,ij->i", inside @ self._inside, inside)
        return np.asarray(forms)

    def total(self, left: Floats | None = None, right: Floats | None = None) -> Floats:
        """Return the sum, float64 ``[D, D]``, symmetric; nothing can be added afterwards.

        Args:
            left: ``[D, k]``; ``left rightᵀ + right leftᵀ`` is added at the end.
            right: ``[D, k]``.
        """
        if self.dtype == np.float64:
            self._total = self._sum
        elif self._waiting or self._total is None:
            self._flush()
        pairs = [] if left is None or right is None else [(left, right)]
        if self.directions is not None:
            basis = self.directions.astype(np.float64)
            pairs.append((self._across + 0.5 * (basis @ self._inside), basis))
        if pairs:
            one, other = (np.column_stack(each) for each in zip(*pairs, strict=True))
            self._total = self._arithmetic.add_outer(self._total, one, other)
        total = self._arithmetic.symmetric(self._total)
        del self._sum, self._total
        return total


def quadratic_forms(rows: NDArray[Any], probes: Floats) -> Floats:
    """Return ``[k]`` Σ (x · w)² over ``rows`` x ``[B, D]`` for every probe w of ``[k, D]``, in float64."""
    inside = rows.astype(np.float64) @ probes.T
    return np.einsum("ij,ij->j", inside, inside)
