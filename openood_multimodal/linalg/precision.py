"""Whether float32 products are good enough for what is made of them; a sample of rows is held against float64.

An error E of the covariance S changes a result by wᵀ E v, to first order, with vectors that depend on the result.
E is taken from a sample's float32 moment, held against its exact forms at the vectors of other rows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..postprocessors.training import TrainingStatistics
from .arithmetic import Arithmetic, Floats
from .moments import MomentSum, quadratic_forms
from .spectra import Subspace

TOLERANCE = 5e-5
"""Admitted error of squared distances and of residual norms, as a share of their standard deviation over rows.

At 5 000 ID and 10 000 OOD rows it moves no more than one row in twenty runs across a 95 % threshold."""

PROBES = 48


class NeedsFloat64Error(ArithmeticError):
    """Float32 products are too coarse for this covariance; the message says by how much."""


def distance_error(
    found: TrainingStatistics, columns: NDArray[np.int64] | None, factor: Any, arithmetic: Arithmetic
) -> float:
    """Return what float32 products change squared Mahalanobis distances by, as a share of their spread.

    The distance of x moves by -wᵀ E w, w = S⁻¹ x.
    """
    assert found.sample is not None
    probed = found.sample[:PROBES]
    varying = probed if columns is None else probed[:, columns]
    mapped = arithmetic.solve(factor, arithmetic.put(varying, np.float64))
    distances = arithmetic.get((mapped * mapped).sum(1))
    weights = arithmetic.get(arithmetic.solve_transposed(factor, mapped))
    probes = np.zeros(probed.shape)
    probes[:, slice(None) if columns is None else columns] = weights
    return _share(_errors_at(found, probes, arithmetic), distances)


def require_residuals(
    found: TrainingStatistics, subspace: Subspace, origin: Floats, arithmetic: Arithmetic
) -> None:
    """Check the norms of what a leading subspace leaves of rows, where it comes from float32 products.

    With leading eigenpairs (λᵢ, vᵢ), the squared norm of the residual r of x moves by -2 yᵀ E r,
    y = Σ vᵢ (vᵢ · x) / (λᵢ - λ), where λ stands for the eigenvalues that aren't leading.

    Raises:
        NeedsFloat64Error: where they would move by more than `TOLERANCE`.
    """
    if found.moment_type != np.float32 or subspace.cutoff == 0.0:
        return
    assert found.sample is not None
    assert found.which_sampled is not None
    basis, values = subspace.basis, subspace.values
    about = found.sample[:PROBES] + (found.means - found.mean)[found.which_sampled[:PROBES]]
    inside = about @ basis
    residual = about - inside @ basis.T + subspace.outside
    inside = inside + (found.mean - origin) @ basis
    others = max(0.0, subspace.scale - float(values.sum())) / max(1, found.dim - len(values))
    inside = inside / np.maximum(values - others, 1e-3 * np.maximum(values, subspace.cutoff))
    weights = inside @ basis.T
    sizes, norms = np.linalg.norm(weights, axis=1), np.linalg.norm(residual, axis=1)
    one = weights / np.where(sizes > 0.0, sizes, 1.0)[:, None]
    other = residual / np.where(norms > 0.0, norms, 1.0)[:, None]
    both = _errors_at(found, np.concatenate([one + other, one - other]), arithmetic)
    moved = 0.25 * (both[: len(one)] - both[len(one) :]) * sizes
    error = _share(moved, norms)
    if error > TOLERANCE:
        raise NeedsFloat64Error(f"float32 products would move residual norms by {error:.1e} of their spread")


def _errors_at(found: TrainingStatistics, probes: Floats, arithmetic: Arithmetic) -> Floats:
    """Return ``[k]`` wᵀ E w for the probes w of ``[k, D]``."""
    assert found.sample is not None
    summed = found.sample[PROBES:]
    if not len(summed):
        return np.full(len(probes), np.inf)
    moment = MomentSum(found.dim, arithmetic, np.float32, found.directions)
    moment.add(summed.astype(np.float32))
    return (moment.forms(probes) - quadratic_forms(summed, probes)) / len(summed)


def _share(error: Floats, of: Floats) -> float:
    spread = float(np.std(of))
    # twice: sums over more rows, of which these are a sample, round a little more
    worst = 2.0 * float(np.sqrt(np.mean(error**2)))
    return worst / spread if spread > 0.0 and np.isfinite(worst) else np.inf
