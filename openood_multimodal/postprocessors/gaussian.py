"""Gaussian densities: one component a class, and the directions of least variance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..arrays import Scores
from ..linalg.rows import Floats, row_norms
from ..linalg.spectra import EPS, smallest_eigenvectors, squared_distances
from ..linalg.whitening import Whitening
from ..registry import POSTPROCESSORS
from .base import Postprocessor
from .params import ScoreInfo, require_number
from .rows import Rows
from .unit_norm import unit_moments

if TYPE_CHECKING:
    from .shared import Shared


@POSTPROCESSORS.register("gmm")
class GMM(Postprocessor):
    """Log density of a Gaussian mixture: log Σ_c π_c exp(-½ d_c²), one component a class, one covariance for all.

    π_c is the class's share of the training rows and d_c `mds`'s Mahalanobis distance.  (OpenOOD's `gmm` clusters
    inner layers; it can't run on embeddings.)
    """

    name = "gmm"
    info = ScoreInfo(
        title="Deep Deterministic Uncertainty: A New Simple Baseline",
        authors="Jishnu Mukhoti, Andreas Kirsch, Joost van Amersfoort, Philip H. S. Torr, Yarin Gal",
        venue="CVPR",
        year=2023,
        url="https://arxiv.org/abs/2102.11582",
    )
    needs = frozenset({"train"})

    whitening: Whitening

    def learn(self, shared: Shared) -> None:
        """Take class means, shares and the whitening of the shared covariance.

        Raises:
            UserError: for a label outside the classes, or a class without a row.
        """
        self.whitening = shared.whitening()
        means, counts = shared.class_means
        self._centres = self.whitening.exact_rows(means)
        self._log_shares = np.log(counts / counts.sum())

    def score_rows(self, rows: Rows) -> Scores:
        """Return each row's log density, up to a constant."""
        distances = squared_distances(rows.whitened(self.whitening), self._centres)
        return Scores(rows.pred, np.logaddexp.reduce(self._log_shares - 0.5 * distances, axis=1))


@POSTPROCESSORS.register("low_variance")
class LowVariance(Postprocessor):
    """Minus the whitened norm of x̂ - m in the directions that together hold the least ``variance`` of training rows.

    x̂ = x / ‖x‖, m their training mean, and the covariance is Ledoit and Wolf's shrunk one.  All directions of equal
    variance are taken, or none: with fewer rows than columns many are equal, and which come first is arbitrary.
    """

    name = "low_variance"
    info = ScoreInfo(
        title="Modeling the Distribution of Normal Data in Pre-Trained Deep Features for Anomaly Detection",
        authors="Oliver Rippel, Patrick Mertens, Dorit Merhof",
        venue="ICPR",
        year=2021,
        url="https://arxiv.org/abs/2005.14140",
    )
    needs = frozenset({"train"})
    fit_reads_params = True

    @dataclass(frozen=True)
    class Params(Postprocessor.Params):
        """Parameters: ``variance``, the share kept, above 0 to 1 (0.005: that of modality-aware virtual logits)."""

        variance: float = 0.005

        def __post_init__(self) -> None:
            require_number("variance", self.variance, 0.0, 1.0, above=True)

    params: Params

    def learn(self, shared: Shared) -> None:
        """Take the directions of least variance from the training rows, divided by their norms."""
        moments = unit_moments(shared)
        amount = moments.shrinkage

        def shrunk(values: Floats) -> Floats:
            values = np.where(values > len(values) * EPS * values.max(initial=0.0), values, 0.0)
            return np.asarray((1.0 - amount) * values + amount * values.mean())

        def wanted(values: Floats) -> int:
            values = shrunk(values)
            held = np.cumsum(values) / (values.sum() + SLACK)
            last = values[min(int(np.searchsorted(held, self.params.variance)), len(values) - 1)]
            return int(np.searchsorted(values, last * (1.0 + 1e-9), side="right"))

        values, vectors = smallest_eigenvectors(moments.covariance, wanted)
        self._map = vectors / np.sqrt(shrunk(values)[: vectors.shape[1]] + SLACK)
        self._middle = moments.mean @ self._map

    def distances(self, rows: Rows) -> Floats:
        """Return ``[B]``, the whitened norms."""
        return row_norms(rows.unit_products(self._map) - self._middle)

    def score_rows(self, rows: Rows) -> Scores:
        """Return minus the whitened norms."""
        return Scores(rows.pred, -self.distances(rows))


SLACK = 1e-6
"""Added to variances, which are of rows of norm 1; the authors' of modality-aware virtual logits."""
