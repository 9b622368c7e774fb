"""Symmetric solvers that stay right with fewer samples than dimensions and with bad conditioning.

Tolerance, everywhere: an eigenvalue counts when it exceeds D · 2.2e-16 times the largest one, D being the
width of the features.  It is `scipy.linalg.pinvh`'s cutoff for a D × D covariance in float64, which is also
what scikit-learn's `EmpiricalCovariance` takes its precision from.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import linalg

from .rows import Floats
from .statistics import Centred

EPS = float(np.finfo(np.float64).eps)

DOMINANT = 1e6
"""A squared offset this many times the total variance is factored rather than squared."""


class Whitening(NamedTuple):
    """``matrix`` ``[D, r]`` with ``matrix @ matrix.T`` the pseudo-inverse of a second moment of rank r."""

    matrix: Floats
    eigenvalues: Floats

    @property
    def rank(self) -> int:
        """r, the numerical rank."""
        return len(self.eigenvalues)


def whitening(centred: Centred) -> Whitening:
    """Return the whitening of the second moment of ``centred`` rows.

    With N <= D it comes from a singular value decomposition of the rows, which needs no D × D matrix and
    doesn't square their condition; with N > D from the symmetric eigendecomposition of the scatter.
    """
    count, dim = centred.shape
    if count <= dim:
        _, singular, right = linalg.svd(
            centred.rows(), full_matrices=False, overwrite_a=True, check_finite=False
        )
        eigenvalues, vectors = singular**2 / count, right.T
    else:
        eigenvalues, vectors = linalg.eigh(centred.scatter(), overwrite_a=True, check_finite=False)
    kept = eigenvalues > dim * EPS * eigenvalues.max()
    return Whitening(vectors[:, kept] / np.sqrt(eigenvalues[kept]), eigenvalues[kept])


class Subspace(NamedTuple):
    """Orthonormal ``basis`` ``[D, k]``, falling ``eigenvalues`` ``[k]``, mean squared norm ``scale``."""

    basis: Floats
    eigenvalues: Floats
    scale: float

    def rank(self, dim: int) -> int:
        """Return how many of the directions carry anything, among features of width ``dim``."""
        return int((self.eigenvalues > dim * EPS * self.eigenvalues.max(initial=0.0)).sum())


def leading_subspace(about_mean: Centred, offset: Floats, size: int) -> Subspace:
    """Return the ``size`` leading eigenvectors of the second moment of the rows plus ``offset``.

    Args:
        about_mean: rows minus their mean.
        offset: ``[D]``, mean minus the origin that the second moment is taken around.
        size: below D.

    A huge offset (the origin of a nearly singular head is far away) would drown the rest of the spectrum
    in the rounding of D × D sums; the factor of the matrix is then decomposed instead of the matrix.
    """
    count, dim = about_mean.shape
    squared_offset = float(offset @ offset)
    if count <= dim:
        rows = about_mean.rows()
        rows += offset
        _, singular, right = linalg.svd(rows, full_matrices=False, overwrite_a=True, check_finite=False)
        eigenvalues, vectors = singular**2 / count, right.T
        return Subspace(vectors[:, :size], eigenvalues[:size], float(eigenvalues.sum()))
    covariance = about_mean.scatter()
    scale = float(np.trace(covariance)) + squared_offset
    if squared_offset > DOMINANT * np.trace(covariance):
        values, vectors = linalg.eigh(covariance, overwrite_a=True, check_finite=False)
        factor = np.vstack([np.sqrt(np.maximum(values, 0.0))[:, None] * vectors.T, offset])
        _, singular, right = linalg.svd(factor, full_matrices=False, overwrite_a=True, check_finite=False)
        return Subspace(right[:size].T, singular[:size] ** 2, scale)
    covariance += np.outer(offset, offset)
    values, vectors = linalg.eigh(
        covariance, overwrite_a=True, check_finite=False, subset_by_index=[dim - size, dim - 1]
    )
    return Subspace(vectors[:, ::-1], values[::-1], scale)


def nearest_squared_distance(points: Floats, centres: Floats) -> Floats:
    """Return ``[B]``: squared distances of ``points`` ``[B, r]`` to the nearest of ``centres`` ``[C, r]``.

    The products expand the square to find the nearest; its distance is then taken from the difference
    itself, as is that of every centre within the expansion's rounding, so that nothing cancels.
    """
    size = points.shape[1]
    point_norms = np.einsum("ij,ij->i", points, points)
    centre_norms = np.einsum("ij,ij->i", centres, centres)
    expanded = point_norms[:, None] - 2.0 * (points @ centres.T) + centre_norms[None, :]
    slack = 4.0 * EPS * (size + 4) * (point_norms + centre_norms.max(initial=0.0))
    close = expanded <= (expanded.min(axis=1) + slack)[:, None]
    best = np.full(len(points), np.inf)
    rows, columns = np.nonzero(close)
    for start in range(0, len(rows), max(1, len(points))):
        row, column = rows[start : start + len(points)], columns[start : start + len(points)]
        difference = points[row] - centres[column]
        np.minimum.at(best, row, np.einsum("ij,ij->i", difference, difference))
    return best
