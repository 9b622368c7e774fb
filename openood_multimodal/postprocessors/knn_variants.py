"""Nearest neighbours in a coreset of the training rows, and after whitening."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..arrays import Scores
from ..errors import UserError
from ..linalg.neighbours import Neighbours, RowNeighbours
from ..linalg.rows import Floats, row_norms
from ..linalg.whitening import Whitening
from ..registry import POSTPROCESSORS
from .base import Postprocessor
from .params import ScoreInfo, require_number, require_whole
from .rows import Rows

if TYPE_CHECKING:
    from .shared import Shared

PROJECTED = 128
"""Width of the random projection that a coreset is chosen in, PatchCore's."""


@POSTPROCESSORS.register("knn_coreset")
class KNNCoreset(Postprocessor):
    """Minus the squared distance to the K-th nearest of a coreset of training rows, all of unit norm.

    The coreset is chosen one row after the other, each time the one farthest from those chosen, in a random projection
    to 128 columns, as PatchCore's memory bank is.
    """

    name = "knn_coreset"
    info = ScoreInfo(
        title="Towards Total Recall in Industrial Anomaly Detection",
        authors="Karsten Roth, Latha Pemula, Joaquin Zepeda, Bernhard Schölkopf, Thomas Brox, Peter Gehler",
        venue="CVPR",
        year=2022,
        url="https://arxiv.org/abs/2106.08265",
    )
    needs = frozenset({"train"})
    grows = "`ratio` of the training rows; at most 128 numbers a training row while it is fitted"
    fit_reads_params = True

    @dataclass(frozen=True)
    class Params(Postprocessor.Params):
        """Parameters: ``ratio`` of rows in the coreset and ``K`` (0.1 and 1: PatchCore's), ``seed`` (ours)."""

        ratio: float = 0.1
        K: int = 1
        seed: int = 0

        def __post_init__(self) -> None:
            require_number("ratio", self.ratio, 0.0, 1.0, above=True)
            require_whole("K", self.K, 1)
            require_whole("seed", self.seed, 0)

    params: Params
    neighbours: Neighbours

    def learn(self, shared: Shared) -> None:
        """Choose the coreset of the training rows.

        Raises:
            UserError: where it has fewer than K rows.
        """
        train = shared.train_set
        size = max(1, int(np.ceil(self.params.ratio * len(train))))
        if size < self.params.K:
            raise UserError(
                f"knn_coreset: K={self.params.K} exceeds the {size} rows of the coreset; set a smaller K, or a "
                "larger knn_coreset.ratio."
            )
        random = np.random.default_rng(self.params.seed)
        narrow = min(train.dim, PROJECTED)
        projection = np.eye(train.dim)
        if narrow < train.dim:
            projection = random.standard_normal((train.dim, narrow)) / np.sqrt(narrow)
        blocks = shared.of_blocks(lambda rows: rows.unit @ projection, train)
        chosen = np.sort(farthest_first(np.concatenate(list(blocks)), size))
        rows = np.asarray(train.features[chosen])
        self.neighbours = Neighbours(rows, np.linalg.norm(rows.astype(np.float64), axis=1), shared.arithmetic)

    def score_rows(self, rows: Rows) -> Scores:
        """Return minus the squared distance to the K-th neighbour."""
        found = self.neighbours.squared_distance(rows.stored, rows.norms, self.params.K, rows.set_rows)
        return Scores(rows.pred, -found)


def farthest_first(points: Floats, size: int) -> NDArray[np.int64]:
    """Return int64 ``[size]`` rows of ``points``: the first, then always the one farthest from those before it."""
    chosen = np.zeros(size, dtype=np.int64)
    norms = np.einsum("ij,ij->i", points, points)
    nearest = np.full(len(points), np.inf)
    for place in range(1, size):
        last = chosen[place - 1]
        nearest = np.minimum(nearest, norms - 2.0 * (points @ points[last]) + norms[last])
        nearest[last] = -np.inf  # never again, whatever rounding says of duplicates
        chosen[place] = int(nearest.argmax())
    return chosen


@POSTPROCESSORS.register("knn_whitened")
class KNNWhitened(Postprocessor):
    """Minus the squared Mahalanobis distance to the K-th nearest training row, by the covariance of all of them.

    It is the variance norm's nearest-neighbour distance for vectors, and doesn't depend on the columns' scales.
    """

    name = "knn_whitened"
    info = ScoreInfo(
        title="Dimensionless Anomaly Detection on Multivariate Streams with Variance Norm and Path Signature",
        authors="Zhen Shao, Ryan Sze-Yin Chan, Thomas Cochrane, Peter Foster, Terry Lyons",
        venue="arXiv",
        year=2020,
        url="https://arxiv.org/abs/2006.03487",
    )
    needs = frozenset({"train"})
    grows = "D float32 numbers a training row"

    @dataclass(frozen=True)
    class Params(Postprocessor.Params):
        """Parameters: ``K``, at most the number of training rows (1: the authors')."""

        K: int = 1

        def __post_init__(self) -> None:
            require_whole("K", self.K, 1)

    params: Params
    whitening: Whitening
    neighbours: RowNeighbours

    @property
    def limits(self) -> dict[str, int]:
        """At most as many neighbours as there are training rows."""
        return {"K": len(self.neighbours)} if self.fitted else {}

    def learn(self, shared: Shared) -> None:
        """Take the whitening from the training rows, and keep them, whitened, in float32.

        Raises:
            UserError: where K exceeds their number.
        """
        train = shared.train_set
        if len(train) < self.params.K:
            raise UserError(
                f"knn_whitened: K={self.params.K} exceeds the {len(train)} training rows; set a smaller "
                "knn_whitened.K."
            )
        self.whitening = shared.total_whitening()
        mapped = np.empty((len(train), max(1, self.whitening.rank)), dtype=np.float32)
        start, largest = 0, 0.0
        for block, longest in shared.of_blocks(self._mapped_block, train):
            largest = max(largest, longest)
            mapped[start : start + len(block)] = block
            start += len(block)
        self.neighbours = RowNeighbours(mapped, largest, shared.arithmetic)

    def _mapped_block(self, rows: Rows) -> tuple[NDArray[np.float32], float]:
        """Return the rows, whitened, in float32, and the largest norm."""
        mapped = self._mapped(rows.features)
        return mapped.astype(np.float32), float(row_norms(mapped).max(initial=0.0))

    def _mapped(self, features: Floats) -> Floats:
        mapped = self.whitening.exact_rows(features)
        return mapped if self.whitening.rank else np.zeros((len(features), 1))

    def score_rows(self, rows: Rows) -> Scores:
        """Return minus the squared distance to the K-th neighbour."""
        mapped = rows.whitened(self.whitening) if self.whitening.rank else np.zeros((len(rows), 1))
        found = self.neighbours.smallest_squared_distances(mapped, self.params.K)
        return Scores(rows.pred, -found[:, -1])
