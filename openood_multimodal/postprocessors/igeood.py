"""Fisher-Rao distances of predictions and of features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..arrays import Scores, check_labels, empty_classes, without_empty_classes
from ..errors import UserError
from ..linalg.rows import Floats, block_slices
from ..linalg.spectra import EPS
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


PART_BYTES = 16 * 2**20
"""Features whose distances are bounded at once."""


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
    grows = "C numbers a training row"
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
        roots = np.concatenate(list(shared.of_blocks(self._roots, train)))
        labels = np.asarray(train.labels)
        check_labels(labels, roots.shape[1], "igeood: training set")
        if lacking := empty_classes(labels, roots.shape[1]):
            raise UserError(
                f"igeood: {lacking} no training row, so no centroid; {without_empty_classes(labels, 'rows')}."
            )
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
        self.means = means = shared.class_means.means
        train = shared.train_set
        squares = shared.summed(
            lambda rows, own: np.square(rows.features - means[own]).sum(axis=0),
            train,
            labels=np.asarray(train.labels),
        )
        self.deviations = np.sqrt(squares / len(train))
        self._varying = np.flatnonzero(self.deviations > 0.0)
        if not len(self._varying):
            self.notes.append(
                "igeood_features: no class varies in the training features; every score is equal."
            )

    def score_rows(self, rows: Rows) -> Scores:
        """Return minus each row's distance to the nearest class mean."""
        nearest = np.empty(len(rows))
        step = max(1, PART_BYTES // (8 * max(1, len(self._varying))))
        for where in block_slices(len(rows), 1, step):
            nearest[where] = self._nearest(rows.features[where][:, self._varying])
        return Scores(rows.pred, -np.sqrt(nearest))

    def _nearest(self, features: Floats) -> Floats:
        """Return ``[B]`` squared distances to the nearest mean; only those means' that may be it are computed."""
        rows = np.arange(len(features))
        width = 2.0 * np.sqrt(2.0) * self.deviations[self._varying]
        means = self.means[:, self._varying]
        middle = means.mean(axis=0)
        least = least_distances((features - middle) / width, (means - middle) / width)
        first = least.argmin(axis=1)
        nearest = _squared(features, means[first], width)
        least[rows, first] = np.inf
        left, classes = np.nonzero(least <= (nearest * (1.0 + 1e-9))[:, None])
        for where in block_slices(len(left), 1, max(1, len(features))):
            row, of = left[where], classes[where]
            np.minimum.at(nearest, row, _squared(features[row], means[of], width))
        return nearest


def _squared(points: Floats, means: Floats, width: Floats) -> Floats:
    return np.asarray(8.0 * np.square(np.arcsinh((points - means) / width)).sum(axis=1))


def least_distances(points: Floats, others: Floats) -> Floats:
    """Return ``[B, C]`` lower bounds of Σ_j 8 arsinh² |a_j - b_j| for ``points`` ``[B, K]`` and ``others`` ``[C, K]``.

    With s = (a - b)² and h(s) = arsinh²(√s) / s, the sum is 8 Σ s h(s).  As h is convex (it is a Stieltjes function),
    the mean of h with weights s is at least h at the mean: Σ s h(s) >= A h(B / A), where A = Σ s and B = Σ s² come from
    matrix products.  Both are moved by what rounding may have done to them; a bound that overflows is 0.
    """
    slack = 4.0 * EPS * (points.shape[1] + 8)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        squared, of_others = np.square(points), np.square(others)
        sizes, of_sizes = squared.sum(axis=1)[:, None], of_others.sum(axis=1)
        first = sizes + of_sizes - 2.0 * (points @ others.T) - slack * (sizes + of_sizes)
        second = 6.0 * (squared @ of_others.T) - 4.0 * (points @ (others * of_others).T)
        fourth, of_fourth = np.square(squared).sum(axis=1)[:, None], np.square(of_others).sum(axis=1)
        squared *= points
        second -= 4.0 * (squared @ others.T)
        second += (1.0 + 8.0 * slack) * (fourth + of_fourth)
        root = np.sqrt(np.maximum(second, 0.0) / first)
        bound = 8.0 * first * np.square(np.arcsinh(root) / root)
    return np.where((first > 0.0) & np.isfinite(bound), bound, 0.0)
