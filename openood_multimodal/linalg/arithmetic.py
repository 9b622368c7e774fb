"""The few dense products behind scores, written against `Arithmetic`: SciPy's BLAS here, torch on a GPU.

The heavy steps (sums of squares over the training rows, one factorisation, triangular solves, neighbour
products) take an `Arithmetic`, of `torch_arithmetic.arithmetic_for`; everything else is NumPy on the CPU.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import scipy  # its parts are imported when they are first used: scores of logits use none
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Arithmetic:
    """Dense products on the CPU.  What methods take and return as ``Any`` belongs to the device."""

    device = "cpu"

    def put(self, array: NDArray[Any], dtype: Any) -> Any:
        """Return ``array`` on the device, contiguous, as ``dtype`` (a NumPy type)."""
        return np.ascontiguousarray(array, dtype=dtype)

    def get(self, array: Any) -> NDArray[Any]:
        """Return a device array in NumPy's memory."""
        return np.asarray(array)

    def zeros(self, dim: int) -> Any:
        """Return a float64 ``[dim, dim]`` sum for `add_gram`."""
        return np.zeros((dim, dim), order="F")

    def add_gram(self, total: Any, rows: Any) -> Any:
        """Return ``total + rowsᵀ rows``, in place; of ``[D, D]`` the lower triangle at least."""
        return scipy.linalg.blas.dsyrk(1.0, rows.T, beta=1.0, c=total, lower=1, overwrite_c=1)

    def add_outer(self, total: Any, left: Floats, right: Floats) -> Any:
        """Return ``total + left rightᵀ + right leftᵀ`` of a sum of `add_gram`, in place."""
        return scipy.linalg.blas.dsyr2k(1.0, left, right, beta=1.0, c=total, lower=1, overwrite_c=1)

    def symmetric(self, total: Any) -> Floats:
        """Return a sum of `add_gram` whole, in NumPy's memory; it may be ``total`` itself."""
        mirror(total)
        return np.asarray(total)

    def cholesky(self, matrix: Floats) -> Any | None:
        """Return the lower factor of a symmetric matrix on the device, or None where it isn't definite."""
        factor, failed = scipy.linalg.lapack.dpotrf(matrix, lower=1, clean=1, overwrite_a=0)
        return None if failed else factor

    def solve(self, factor: Any, rows: Any) -> Any:
        """Return float64 ``[B, D]`` L⁻¹ x for every row x of ``rows``, which may be overwritten."""
        return scipy.linalg.blas.dtrsm(1.0, factor, rows.T, lower=1, overwrite_b=1).T

    def smallest(
        self, values: Any, count: int, below: NDArray[np.float32] | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return the ``count`` smallest values of every row of ``[B, M]``, in no order, and their columns.

        Args:
            values: float32 ``[B, M]``.
            count: at most so many are returned of each row, and fewer where there are fewer.
            below: ``[B]``; values that aren't below it may be left out, or be infinite.
        """
        if below is not None:
            few = values_below(values, below, count)
            if few is not None:
                return few
        if count >= values.shape[1]:
            columns = np.broadcast_to(np.arange(values.shape[1]), values.shape)
            return np.asarray(values), np.asarray(columns, dtype=np.int64)
        torch = sys.modules.get("torch")
        if torch is not None:  # several times faster on CPUs without AVX-512, and on all cores
            kept, columns = torch.topk(torch.from_numpy(values), count, dim=1, largest=False, sorted=False)
            return kept.numpy(), columns.numpy()
        columns = np.argpartition(values, count - 1, axis=1)[:, :count]
        return np.take_along_axis(values, columns, axis=1), columns

    def reciprocal_condition(self, matrix: Floats, factor: Any) -> float:
        """Return LAPACK's estimate of 1 / (‖A‖₁ ‖A⁻¹‖₁) from a Cholesky factor in NumPy's memory."""
        norm = scipy.linalg.norm(matrix, 1, check_finite=False)
        estimate, _ = scipy.linalg.lapack.dpocon(np.asfortranarray(self.get(factor)), norm, uplo="L")
        return float(estimate)


def values_below(values: Any, below: Any, most: int) -> tuple[NDArray[np.float32], NDArray[np.int64]] | None:
    """Return the values of each row below its bound, padded with infinity; None where a row has too many.

    Args:
        values: ``[B, M]``, an array or a tensor on the CPU.
        below: ``[B]`` of the same kind.
        most: at most so many of a row.
    """
    rows, columns = np.divmod(np.flatnonzero(np.asarray(values < below[:, None])), values.shape[1])
    counts = np.bincount(rows, minlength=len(values))
    width = int(counts.max(initial=0))
    if width > most:
        return None
    place = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    kept = np.full((len(values), width), np.inf, dtype=np.float32)
    where = np.zeros((len(values), width), dtype=np.int64)
    found = values[rows, columns]
    kept[rows, place] = found if isinstance(found, np.ndarray) else found.float().numpy()
    where[rows, place] = columns
    return kept, where


def mirror(matrix: NDArray[Any], step: int = 512) -> None:
    """Copy the lower triangle of a square matrix onto the upper one, in place, a tile at a time."""
    for start in range(0, len(matrix), step):
        stop = start + step
        matrix[start:stop, stop:] = matrix[stop:, start:stop].T
        tile = matrix[start:stop, start:stop]
        tile[...] = np.tril(tile) + np.tril(tile, -1).T
