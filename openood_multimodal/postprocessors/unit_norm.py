"""Embeddings of unit norm: their moments, and Mahalanobis scores on them: MDS++ and RMDS++."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ..arrays import Scores
from ..linalg.rows import Floats
from ..registry import POSTPROCESSORS
from .base import Postprocessor
from .mds import MDS
from .params import ScoreInfo
from .rmds import RMDS
from .rows import Rows

if TYPE_CHECKING:
    from .shared import Shared

PLUS_PLUS = ScoreInfo(
    title="Mahalanobis++: Improving OOD Detection via Feature Normalization",
    authors="Maximilian Müller, Matthias Hein",
    venue="ICML",
    year=2025,
    url="https://arxiv.org/abs/2505.18032",
)


@dataclass(frozen=True)
class UnitMoments:
    """Moments of the training rows, divided by their norms.

    Attributes:
        mean: float64 ``[D]``.
        covariance: float64 ``[D, D]``, divided by N.
        shrinkage: Ledoit and Wolf's, 0 to 1.
    """

    mean: Floats
    covariance: Floats
    shrinkage: float


def unit_moments(shared: Shared) -> UnitMoments:
    """Return the moments of the training rows, divided by their norms.  They are shared, and not to be changed."""
    return shared.once("unit moments", lambda: _moments(shared.unit))


def _moments(unit: Shared) -> UnitMoments:
    covariance, mean = unit.covariance(), unit.mean
    count, dim = unit.train_set.features.shape

    def fourth_of(rows: Rows) -> float:
        about = rows.features - mean
        return float(np.square(np.einsum("ij,ij->i", about, about)).sum())

    fourth = unit.summed(fourth_of, unit.train_set)
    # Ledoit and Wolf (2004): how far the covariance is from a multiple of the identity, and how uncertain it is
    squared = float(np.einsum("ij,ij->", covariance, covariance))
    spread = squared / dim - (float(np.trace(covariance)) / dim) ** 2
    noise = (fourth / count - squared) / (dim * count)
    shrinkage = min(max(noise, 0.0), spread) / spread if spread > 0.0 else 0.0
    return UnitMoments(mean, covariance, shrinkage)


class OnUnitRows(Postprocessor):
    """A score on the embeddings x / ‖x‖₂; a row of zeros stays one.  Predictions are the head's, on x itself."""

    needs = frozenset({"train"})
    inner: ClassVar[type[Postprocessor]]
    _score: Postprocessor

    def learn(self, shared: Shared) -> None:
        """Fit the score to the training embeddings, divided by their norms as they are read.

        Raises:
            UserError: as the score's.
        """
        self._score = self.inner()
        self._score.name = self.name
        shared.unit.fit(self._score)
        self.notes += self._score.notes

    def score_rows(self, rows: Rows) -> Scores:
        """Return the score of the rows divided by their norms."""
        return Scores(rows.pred, self._score.score_rows(rows.of_unit).conf)


@POSTPROCESSORS.register("mds_pp")
class MDSPlusPlus(OnUnitRows):
    """MDS++: `mds` on embeddings divided by their norms."""

    name = "mds_pp"
    info = PLUS_PLUS
    inner = MDS


@POSTPROCESSORS.register("rmds_pp")
class RMDSPlusPlus(OnUnitRows):
    """RMDS++: `rmds` on embeddings divided by their norms."""

    name = "rmds_pp"
    info = PLUS_PLUS
    inner = RMDS
