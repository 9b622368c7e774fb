"""The linear map after which a covariance is the identity: Mahalanobis distances become Euclidean ones.

Where the covariance has full rank, the map is L⁻¹ of its Cholesky factor, applied by a triangular solve over
the rows; otherwise its eigenvectors on the numerical range (see `spectra`), so that distances are those of the
pseudo-inverse, as scikit-learn's `EmpiricalCovariance` gives them.

Float32 is used for the products behind the covariance, and for the solve, only after a sample of the training
rows has been held against float64: the distances' error has to stay below `precision.TOLERANCE` of their spread.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..postprocessors.training import TrainingStatistics
from .arithmetic import Arithmetic, Floats
from .precision import PROBES, TOLERANCE, NeedsFloat64Error, distance_error
from .spectra import EPS, Eigen, eigen_of_matrix, eigen_of_rows, nearest_squared_distance


class Centres(NamedTuple):
    """Points that distances are taken to.

    Attributes:
        rows: float64 ``[C, D]``.
        mapped: float64 ``[C, r]``.
        weights: ``[C, r]`` S⁻¹ (μ - origin) on the device, where rows are mapped in float32; else None.
    """

    rows: Floats
    mapped: Floats
    weights: Any = None


class Whitening:
    """A map of rows ``[B, D]`` to ``[B, r]``, r the covariance's rank.

    Attributes:
        rank: r.
        origin: float64 ``[D]``, what is subtracted first; distances don't depend on it.
        single: whether `nearest_squared_distance` maps in float32.
        notes: what a reader of the results has to know, without the score's name.
    """

    def __init__(self, origin: Floats, rank: int) -> None:
        self.origin = origin
        self.rank = rank
        self.single = False
        self.notes: list[str] = []

    def exact_rows(self, features: Floats) -> Floats:
        """Return ``[B, r]`` float64 mapped rows, in float64 throughout."""
        raise NotImplementedError

    def centres(self, rows: Floats) -> Centres:
        """Return points ``[C, D]`` in the form that `nearest_squared_distance` takes."""
        return Centres(rows, self.exact_rows(rows))

    def nearest_squared_distance(self, features: NDArray[Any], centres: Centres) -> Floats:
        """Return float64 ``[B]``, the squared Mahalanobis distances of rows ``[B, D]`` to the nearest centre."""
        return nearest_squared_distance(self.exact_rows(features), centres.mapped)


class EigenWhitening(Whitening):
    """The map of a covariance of any rank."""

    def __init__(self, eigen: Eigen, origin: Floats) -> None:
        super().__init__(origin, len(eigen.values))
        self.matrix = eigen.vectors / np.sqrt(eigen.values)

    def exact_rows(self, features: Floats) -> Floats:
        """Return float64 ``[B, r]``."""
        return np.asarray((features - self.origin) @ self.matrix)


class FactorWhitening(Whitening):
    """The map of a covariance of full rank, apart from columns that are constant within every class.

    Args:
        factor: Cholesky factor, of the arithmetic's device.
        columns: the columns that vary, or None for all.
        origin: ``[D]``.
        arithmetic: where to compute.
    """

    def __init__(
        self, factor: Any, columns: NDArray[np.int64] | None, origin: Floats, arithmetic: Arithmetic
    ) -> None:
        super().__init__(origin, int(factor.shape[0]))
        self._factor = factor
        self._columns = columns
        self._arithmetic = arithmetic
        self._single: Any = None
        self._basis: Any = None
        self._mapped_basis: Any = None

    def exact_rows(self, features: Floats) -> Floats:
        """Return float64 ``[B, r]``."""
        about = np.asarray(features, dtype=np.float64) - self.origin
        return np.asarray(self._solved(self._factor, self._varying(about), np.float64))

    def centres(self, rows: Floats) -> Centres:
        """Return points ``[C, D]`` in the form that `nearest_squared_distance` takes."""
        mapped = self.exact_rows(rows)
        if not self.single:
            return Centres(rows, mapped)
        arithmetic = self._arithmetic
        weights = arithmetic.solve_transposed(self._factor, arithmetic.put(mapped, np.float64))
        return Centres(rows, mapped, weights)

    def nearest_squared_distance(self, features: NDArray[Any], centres: Centres) -> Floats:
        """Return float64 ``[B]``.

        In float32, what is mapped is the difference to the nearest centre, known beforehand from float64
        products: rounding is then relative to the distance itself, and not to that between the centres.
        """
        if not self.single:
            return super().nearest_squared_distance(features, centres)
        about = self._varying(np.asarray(features, dtype=np.float64) - self.origin)
        products = self._arithmetic.get(self._arithmetic.put(about, np.float64) @ centres.weights.T)
        half = 0.5 * np.einsum("ij,ij->i", centres.mapped, centres.mapped)
        return squared_norms(self._single_rows(_minus_nearest(features, centres.rows, half - products)))

    def use_float32(self, sample: Floats, directions: NDArray[np.float32] | None) -> float:
        """Map in float32 from now on, if that is good enough; return the error of squared norms (see module).

        Args:
            sample: rows minus their class mean, ``[n, D]``, to try it on.
            directions: ``[D, p]`` that carry most of the variance; they are mapped apart, since they would
                drown the rest in rounding.
        """
        exact = self._solved(self._factor, self._varying(sample), np.float64)
        self._single = self._arithmetic.cast(self._factor, np.float32)
        if directions is not None:
            basis = self._varying(directions.T).T
            self._basis = self._arithmetic.put(basis, np.float32)
            mapped = self._solved(self._factor, basis.T.astype(np.float64), np.float64)
            self._mapped_basis = self._arithmetic.put(mapped, np.float32)
        tried = self._single_rows(sample.astype(np.float32))
        error = _relative_error(squared_norms(tried), squared_norms(exact))
        self.single = error <= TOLERANCE
        if not self.single:
            self._single = self._basis = self._mapped_basis = None
        return error

    def _varying(self, rows: NDArray[Any]) -> NDArray[Any]:
        return rows if self._columns is None else np.ascontiguousarray(rows[:, self._columns])

    def _solved(self, factor: Any, rows: NDArray[Any], dtype: Any) -> NDArray[Any]:
        arithmetic = self._arithmetic
        return arithmetic.get(arithmetic.solve(factor, arithmetic.put(rows, dtype)))

    def _single_rows(self, about: NDArray[np.float32]) -> NDArray[Any]:
        arithmetic = self._arithmetic
        block = arithmetic.put(self._varying(about), np.float32)
        if self._basis is None:
            return arithmetic.get(arithmetic.solve(self._single, block))
        inside = block @ self._basis
        rest = arithmetic.solve(self._single, block - inside @ self._basis.T)
        return arithmetic.get(rest + inside @ self._mapped_basis)


def squared_norms(rows: NDArray[Any]) -> Floats:
    """Return float64 ``[B]``, the squared norms of ``[B, r]``, summed in float64."""
    return np.asarray(np.einsum("ij,ij->i", rows, rows, dtype=np.float64))


def _minus_nearest(features: NDArray[Any], centres: Floats, far: Floats) -> NDArray[np.float32]:
    """Return float32 ``features`` minus the centre for which ``far`` ``[B, C]`` is smallest."""
    nearest = far.argmin(axis=1)
    out = np.empty(features.shape, dtype=np.float32)
    step = max(1, 2**17 // max(1, features.shape[1]))  # a megabyte: stays in the cache
    for start in range(0, len(features), step):
        part = slice(start, start + step)
        np.subtract(features[part], centres[nearest[part]], out=out[part], dtype=np.float64, casting="unsafe")
    return out


def _relative_error(found: Floats, right: Floats) -> float:
    spread = float(np.std(right))
    error = float(np.sqrt(np.mean((found - right) ** 2)))
    if not np.isfinite(error):
        return np.inf
    return error / spread if spread > 0.0 else (0.0 if error == 0.0 else np.inf)


def within_class_whitening(found: TrainingStatistics, arithmetic: Arithmetic, single: bool) -> Whitening:
    """Return the whitening of the within-class covariance.

    Args:
        found: with ``within`` or ``residuals``.
        arithmetic: where to compute.
        single: whether float32 may be tried for the rows.

    Raises:
        NeedsFloat64Error: where ``within`` comes from float32 products, and these are too coarse.
    """
    origin = found.means.mean(axis=0)
    if found.residuals is not None:
        return EigenWhitening(eigen_of_rows(found.residuals), origin)
    assert found.within is not None
    coarse = found.moment_type == np.float32
    variances = np.diag(found.within)
    columns = None if (variances > 0.0).all() else np.flatnonzero(variances > 0.0)
    matrix = found.within if columns is None else found.within[np.ix_(columns, columns)]
    factor = None
    if found.count - len(found.counts) >= len(matrix) > 0:
        factor = arithmetic.cholesky(matrix)
    # the estimate is of the 1-norm's condition, which is above the 2-norm's that the cutoff is about
    limit = 10.0 * found.dim * EPS
    if factor is None or arithmetic.reciprocal_condition(matrix, factor) < limit:
        if coarse:
            raise NeedsFloat64Error("the covariance is singular within float32 products' rounding")
        return EigenWhitening(eigen_of_matrix(found.within), origin)
    whitening = FactorWhitening(factor, columns, origin, arithmetic)
    if coarse:
        error = distance_error(found, columns, factor, arithmetic)
        if error > TOLERANCE:
            raise NeedsFloat64Error(
                f"float32 products would move squared distances by {error:.1e} of their spread"
            )
    if single:
        sample = found.sample
        if sample is not None:
            error = whitening.use_float32(sample[: 4 * PROBES], found.directions)
            if not whitening.single:
                whitening.notes.append(
                    f"precision fallback: rows are whitened in float64, since float32 would move squared "
                    f"distances by {error:.1e} of their spread."
                )
    return whitening
