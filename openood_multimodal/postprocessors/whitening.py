"""The linear map after which a covariance is the identity: Mahalanobis distances become Euclidean ones.

Where the covariance has full rank, the map is L⁻¹ of its Cholesky factor, applied by a triangular solve over
the rows; otherwise its eigenvectors on the numerical range (see `spectra`), so that distances are those of the
pseudo-inverse, as scikit-learn's `EmpiricalCovariance` gives them.

Float32 is used for the products behind the covariance, and for the solve, only after a sample of the training
rows has been held against float64: the distances' error has to stay below `TOLERANCE` of their spread.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arithmetic import Arithmetic, Floats
from .moments import MomentSum, quadratic_forms
from .spectra import EPS, Eigen, eigen_of_matrix, eigen_of_rows
from .training import TrainingStatistics

TOLERANCE = 5e-5
"""Admitted error of squared distances, as a share of their standard deviation over rows.

At 5 000 ID and 10 000 OOD rows it moves no more than one row in twenty runs across a 95 % threshold."""

PROBES = 48


class NeedsFloat64Error(ArithmeticError):
    """Float32 products are too coarse for this covariance; the message says by how much."""


class Whitening:
    """A map of rows ``[B, D]`` to ``[B, r]``, r the covariance's rank.

    Attributes:
        rank: r.
        origin: float64 ``[D]``, what is subtracted first; distances don't depend on it.
        single: whether rows are mapped in float32.
        notes: what a reader of the results has to know, without the score's name.
    """

    def __init__(self, origin: Floats, rank: int) -> None:
        self.origin = origin
        self.rank = rank
        self.single = False
        self.notes: list[str] = []

    def rows(self, features: NDArray[Any]) -> NDArray[Any]:
        """Return ``[B, r]`` mapped rows: float32 where `single`, else float64."""
        raise NotImplementedError

    def exact_rows(self, features: Floats) -> Floats:
        """Return ``[B, r]`` float64 mapped rows, in float64 throughout."""
        raise NotImplementedError

    def release(self) -> None:
        """Let go of what only `exact_rows` needs."""


class EigenWhitening(Whitening):
    """The map of a covariance of any rank."""

    def __init__(self, eigen: Eigen, origin: Floats) -> None:
        super().__init__(origin, len(eigen.values))
        self.matrix = eigen.vectors / np.sqrt(eigen.values)

    def rows(self, features: NDArray[Any]) -> NDArray[Any]:
        """Return float64 ``[B, r]``."""
        return self.exact_rows(features)

    def exact_rows(self, features: Floats) -> Floats:
        """Return float64 ``[B, r]``."""
        return np.asarray((features - self.origin) @ self.matrix)


class FactorWhitening(Whitening):
    """The map of a covariance of full rank, apart from columns that are constant within every class.

    Args:
        factor: Cholesky factor, of the arithmetic's device.
        columns: the columns that vary, or None for all.
        origin: ``[D]``; rounded to float32, so that differences to it are the same in both precisions.
        arithmetic: where to compute.
    """

    def __init__(
        self, factor: Any, columns: NDArray[np.int64] | None, origin: Floats, arithmetic: Arithmetic
    ) -> None:
        super().__init__(origin.astype(np.float32).astype(np.float64), int(factor.shape[0]))
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

    def rows(self, features: NDArray[Any]) -> NDArray[Any]:
        """Return ``[B, r]``."""
        if not self.single:
            return self.exact_rows(features)
        return self._single_rows(_difference(features, self.origin))

    def use_float32(self, sample: NDArray[np.float32], directions: NDArray[np.float32] | None) -> float:
        """Map in float32 from now on, if that is good enough; return the error of squared norms (see module).

        Args:
            sample: centred rows ``[n, D]`` to try it on.
            directions: ``[D, p]`` that carry most of the variance; they are mapped apart, since they would
                drown the rest in rounding.
        """
        exact = self._solved(self._factor, self._varying(sample.astype(np.float64)), np.float64)
        self._single = self._arithmetic.cast(self._factor, np.float32)
        if directions is not None:
            basis = self._varying(directions.T).T
            self._basis = self._arithmetic.put(basis, np.float32)
            mapped = self._solved(self._factor, basis.T.astype(np.float64), np.float64)
            self._mapped_basis = self._arithmetic.put(mapped, np.float32)
        right = np.einsum("ij,ij->i", exact, exact)
        tried = self._single_rows(sample).astype(np.float64)
        error = _relative_error(np.einsum("ij,ij->i", tried, tried), right)
        self.single = error <= TOLERANCE
        if not self.single:
            self._single = self._basis = self._mapped_basis = None
        return error

    def release(self) -> None:
        """Let go of the float64 factor where rows are mapped in float32."""
        if self.single:
            self._factor = None

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


def _difference(features: NDArray[Any], origin: Floats) -> NDArray[np.float32]:
    wide = np.float32 if features.dtype.itemsize <= 4 else np.float64
    out = np.empty(features.shape, dtype=np.float32)
    np.subtract(features, origin.astype(wide), out=out, dtype=wide, casting="unsafe")
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
        error = _moment_error(found, columns, factor, arithmetic)
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


def _moment_error(
    found: TrainingStatistics, columns: NDArray[np.int64] | None, factor: Any, arithmetic: Arithmetic
) -> float:
    """Return what float32 products change squared distances by, to first order, as a share of their spread.

    An error E of the covariance S moves the distance of x by -wᵀ E w, w = S⁻¹ x.  E is taken from a sample's
    float32 moment, held against its exact quadratic forms at the w of other rows.
    """
    assert found.sample is not None
    probed, summed = found.sample[:PROBES], found.sample[PROBES:]
    if not len(summed):
        return np.inf
    varying = probed if columns is None else probed[:, columns]
    mapped = arithmetic.solve(factor, arithmetic.put(varying, np.float64))
    distances = arithmetic.get((mapped * mapped).sum(1))
    weights = arithmetic.get(arithmetic.solve_transposed(factor, mapped))
    probes = np.zeros(probed.shape)
    probes[:, slice(None) if columns is None else columns] = weights
    moment = MomentSum(found.dim, arithmetic, np.float32, found.directions)
    moment.add(summed)
    error = (moment.forms(probes) - quadratic_forms(summed, probes)) / len(summed)
    spread = float(np.std(distances))
    # twice: sums over more rows, of which these are a sample, round a little more
    worst = 2.0 * float(np.sqrt(np.mean(error**2)))
    return worst / spread if spread > 0.0 and np.isfinite(worst) else np.inf
