"""The linear map after which a covariance is the identity: Mahalanobis distances become Euclidean ones.

Where the covariance has full rank, the map is L⁻¹ of its Cholesky factor, applied by a triangular solve over
the rows; otherwise its eigenvectors on the numerical range (see `spectra`), so that distances are those of the
pseudo-inverse, as scikit-learn's `EmpiricalCovariance` gives them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arithmetic import Arithmetic, Floats
from .rows import of_float64_parts
from .spectra import EPS, Eigen, eigen_of_matrix, nearest_squared_distance


class Whitening:
    """A map of rows ``[B, D]`` to ``[B, r]``, r the covariance's rank.

    Attributes:
        rank: r.
        origin: float64 ``[D]``, what is subtracted first; distances don't depend on it.
    """

    def __init__(self, origin: Floats, rank: int) -> None:
        self.origin = origin
        self.rank = rank

    def exact_rows(self, features: NDArray[Any]) -> Floats:
        """Return the mapped rows, float64 ``[B, r]``."""
        raise NotImplementedError

    def centres(self, rows: Floats) -> Floats:
        """Return points ``[C, D]`` in the form that `nearest_squared_distance` takes."""
        return self.exact_rows(rows)

    def nearest_squared_distance(self, features: NDArray[Any], centres: Floats) -> Floats:
        """Return float64 ``[B]``, the squared Mahalanobis distances of rows ``[B, D]`` to the nearest centre."""
        return nearest_squared_distance(self.exact_rows(features), centres)


class EigenWhitening(Whitening):
    """The map of a covariance of any rank."""

    def __init__(self, eigen: Eigen, origin: Floats) -> None:
        super().__init__(origin, len(eigen.values))
        self.matrix = eigen.vectors / np.sqrt(eigen.values)

    def exact_rows(self, features: NDArray[Any]) -> Floats:
        """Return float64 ``[B, r]``."""
        return np.asarray((features - self.origin) @ self.matrix)


class FactorWhitening(Whitening):
    """The map of a covariance of full rank, apart from columns that are constant within every class.

    Args:
        factor: Cholesky factor, of the arithmetic's device.
        columns: the columns that vary, or None for all.
        origin: ``[D]``.
        arithmetic: where to compute.
        condition: LAPACK's estimate of the reciprocal condition of the covariance.
    """

    def __init__(
        self,
        factor: Any,
        columns: NDArray[np.int64] | None,
        origin: Floats,
        arithmetic: Arithmetic,
        condition: float,
    ) -> None:
        super().__init__(origin, int(factor.shape[0]))
        self.condition = condition
        self._factor = factor
        self._columns = columns
        self._arithmetic = arithmetic

    def exact_rows(self, features: NDArray[Any]) -> Floats:
        """Return float64 ``[B, r]``."""
        return self.linear(np.subtract(features, self.origin, dtype=np.float64))

    def linear(self, about: Floats) -> Floats:
        """Return float64 ``[B, r]`` of rows from which the origin has been subtracted; they may be overwritten."""
        arithmetic = self._arithmetic
        varying = about if self._columns is None else about[:, self._columns]
        return np.asarray(arithmetic.get(arithmetic.solve(self._factor, arithmetic.put(varying, np.float64))))


def whitening_of(covariance: Floats, degrees: int, origin: Floats, arithmetic: Arithmetic) -> Whitening:
    """Return the whitening of a covariance.

    Args:
        covariance: symmetric ``[D, D]``.
        degrees: its degrees of freedom: N, less the number of means that were subtracted.
        origin: ``[D]``, see `Whitening`.
        arithmetic: where to compute.
    """
    variances = np.diag(covariance)
    columns = None if (variances > 0.0).all() else np.flatnonzero(variances > 0.0)
    matrix = covariance if columns is None else covariance[np.ix_(columns, columns)]
    factor = arithmetic.cholesky(matrix) if degrees >= len(matrix) > 0 else None
    # the estimate is of the 1-norm's condition, which is above the 2-norm's that the cutoff is about
    limit = 10.0 * len(covariance) * EPS
    condition = 0.0 if factor is None else arithmetic.reciprocal_condition(matrix, factor)
    if condition < limit:
        return EigenWhitening(eigen_of_matrix(covariance), origin)
    return FactorWhitening(factor, columns, origin, arithmetic, condition)


WELL_CONDITIONED = 1e-7
"""Reciprocal condition from which on `updated` loses no digit that counts."""


class UpdatedWhitening(Whitening):
    """The map of S + BᵀB, made of that of S, which has full rank, and of few rows B.

    With y = L⁻¹ x, and U σ from the singular vectors and values of L⁻¹ Bᵀ: y - U (1 - 1 / √(1 + σ²)) Uᵀ y.

    Args:
        base: the map of S.
        rows: B, ``[k, D]``.
        origin: ``[D]``.
    """

    def __init__(self, base: FactorWhitening, rows: Floats, origin: Floats) -> None:
        super().__init__(origin, base.rank)
        self.base = base
        _, singular, directions = np.linalg.svd(base.linear(rows), full_matrices=False)
        self._directions: Floats = directions.T
        self._lost = 1.0 - 1.0 / np.sqrt(1.0 + np.square(singular))
        self._middle = base.exact_rows(origin[None])

    def exact_rows(self, features: NDArray[Any]) -> Floats:
        """Return float64 ``[B, r]``."""
        return self.updated(self.base.exact_rows(features))

    def updated(self, mapped: Floats) -> Floats:
        """Return the same from what ``base`` makes of the rows."""
        out = np.empty_like(mapped)

        def update(where: slice, part: Floats) -> None:
            about = np.subtract(part, self._middle, out=out[where])
            inside = about @ self._directions
            inside *= self._lost
            about -= inside @ self._directions.T

        of_float64_parts(mapped, update)
        return out


def updated(base: Whitening, rows: Floats, origin: Floats) -> UpdatedWhitening | None:
    """Return the map of S + BᵀB from ``base``, that of S, and B ``[k, D]``; None where digits would get lost."""
    if not isinstance(base, FactorWhitening) or base.condition < WELL_CONDITIONED or base.rank < len(origin):
        return None
    return UpdatedWhitening(base, rows, origin)
