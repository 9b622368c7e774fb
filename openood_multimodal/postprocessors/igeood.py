"""Fisher-Rao distances of predictions and of features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..arrays import Scores, check_labels
from ..errors import UserError
from ..linalg.rows import Floats
from ..registry import POSTPROCESSORS
from .base import Postprocessor
from .params import ScoreInfo, require_number
from .rows import Rows
from .softmax import log_softmax

if TYPE_CHECKING:
    from .shared import Shared

PAPER = ScoreInfo(
    title="Igeood: An Information Geometry Approach to Out-of-Distribution Detection",
    authors="Eduardo Dadalto Camara Gomes, Florence Alberge, Pierre Duhamel, Pablo Piantanida",
    venue="ICLR",
    year=2022,
    url="https://arxiv.org/abs/2203.07798",
)


@POSTPROCESSORS.register("igeood")
class Igeood(Postprocessor):
    """Sum over classes of p's Fisher-Rao distance to the class's centroid, Σ_c 2 arccos Σ_j √(p_j q_cj).

    p = softmax(z / T).

    The centroid of a class minimises the mean distance to the predictions of its training rows; here by up to
    1000 of Weiszfeld's steps, in the authors' code by 100 gradient steps from a one-hot start.  Sure predictions are
    far from all centroids but one, so a large sum is in-distribution.
    """

    name = "igeood"
    info = PAPER
    needs = frozenset({"train"})
    reads_features = False
    fit_reads_params = True

    @dataclass(frozen=True)
    class Params(Postprocessor.Params):
        """Parameters: ``temperature`` T, above 0 (1: ours; the authors tune it)."""

        temperature: float = 1.0

        def __post_init__(self) -> None:
            require_number("temperature", self.temperature, 0.0, above=True)

    params: Params
    centroids: Floats
    """Float64 ``[C, C]``: √q of every class, of norm 1."""

    def learn(self, shared: Shared) -> None:
        """Take the centroids from the training rows' predictions.

        Raises:
            UserError: for a label outside the classes, or a class without a row.
        """
        train = shared.train_set
        roots = np.concatenate([self._roots(rows) for rows in shared.rows(train)])
        labels = np.asarray(train.labels)
        check_labels(labels, roots.shape[1], "igeood: training set")
        missing = np.setdiff1d(np.arange(roots.shape[1]), labels)
        if len(missing):
            raise UserError(f"igeood: class {missing[0]} has no training row, so it has no centroid.")
        self.centroids = np.stack([median(roots[labels == c]) for c in range(roots.shape[1])])

    def _roots(self, rows: Rows) -> Floats:
        return np.asarray(np.exp(0.5 * log_softmax(rows.logits / self.params.temperature)))

    def score_rows(self, rows: Rows) -> Scores:
        """Return the sum of each row's distances."""
        return Scores(rows.pred, 2.0 * angles(self._roots(rows), self.centroids).sum(axis=1))


def angles(points: Floats, others: Floats) -> Floats:
    """Return ``[B, C]`` angles between unit vectors ``[B, K]`` and ``[C, K]``, exact where they are small."""
    products = points @ others.T
    far = np.arccos(np.clip(products, -1.0, 1.0))
    rows, columns = np.nonzero(products > 0.9)
    chords = np.linalg.norm(points[rows] - others[columns], axis=1)
    far[rows, columns] = 2.0 * np.arcsin(np.clip(0.5 * chords, 0.0, 1.0))
    return np.asarray(far)


def median(points: Floats, steps: int = 1000, tolerance: float = 1e-12) -> Floats:
    """Return the unit vector ``[K]`` with the least sum of angles to unit vectors ``[n, K]`` (Weiszfeld)."""
    centre = points.mean(axis=0)
    centre /= np.linalg.norm(centre)
    for _ in range(steps):
        step = _weiszfeld_step(points, centre)
        length = float(np.linalg.norm(step))
        if length <= tolerance:
            break
        centre = np.cos(length) * centre + np.sin(length) * step / length
        centre /= np.linalg.norm(centre)
    # steps towards a median that is one of the points never arrive
    nearest = points[int(angles(points, centre[None])[:, 0].argmin())]
    return centre if _weiszfeld_step(points, nearest).any() else nearest


def _weiszfeld_step(points: Floats, centre: Floats) -> Floats:
    """Return the tangent step ``[K]`` from ``centre``; 0 where the points that it equals hold it back."""
    angle = angles(points, centre[None])[:, 0]
    away = angle > 1e-14
    tangent = points[away] - (points[away] @ centre)[:, None] * centre
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    pull = tangent.sum(axis=0)
    size, here = float(np.linalg.norm(pull)), len(points) - int(away.sum())
    if size <= here:
        return np.zeros_like(centre)
    return np.asarray((1.0 - here / size) * pull / (1.0 / angle[away]).sum())


@POSTPROCESSORS.register("igeood_features")
class IgeoodFeatures(Postprocessor):
    """Minus the Fisher-Rao distance of x to the nearest class mean, as means of Gaussians of the same deviations σ.

    The distance of two means is √Σ_j 8 arsinh²(|x_j - μ_j| / (2√2 σ_j)), σ_j the deviation around the class means;
    columns that don't vary are left out.  (The authors combine it with `igeood` and with inner layers by weights that
    they tune.)
    """

    name = "igeood_features"
    info = PAPER
    needs = frozenset({"train"})

    means: Floats
    deviations: Floats

    def learn(self, shared: Shared) -> None:
        """Take class means and deviations from the training rows.

        Raises:
            UserError: for a label outside the classes, or a class without a row.
        """
        self.means = shared.class_means.means
        train = shared.train_set
        labels, start, squares = np.asarray(train.labels), 0, np.zeros(train.dim)
        for block in shared.feature_blocks(train):
            squares += np.square(block - self.means[labels[start : start + len(block)]]).sum(axis=0)
            start += len(block)
        self.deviations = np.sqrt(squares / len(train))
        self._varying = np.flatnonzero(self.deviations > 0.0)
        if not len(self._varying):
            self.notes.append(
                "igeood_features: no class varies in the training features; every score is equal."
            )

    def score_rows(self, rows: Rows) -> Scores:
        """Return minus each row's distance to the nearest class mean."""
        width = 2.0 * np.sqrt(2.0) * self.deviations[self._varying]
        features = rows.features[:, self._varying]
        nearest = np.full(len(rows), np.inf)
        for mean in self.means[:, self._varying]:
            squared = 8.0 * np.square(np.arcsinh((features - mean) / width)).sum(axis=1)
            nearest = np.minimum(nearest, squared)
        return Scores(rows.pred, -np.sqrt(nearest))
