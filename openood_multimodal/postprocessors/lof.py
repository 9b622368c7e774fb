"""Local outlier factor on embeddings of unit norm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..arrays import Scores
from ..errors import UserError
from ..linalg.neighbours import Found, Neighbours
from ..linalg.rows import Floats
from ..registry import POSTPROCESSORS
from .base import Postprocessor
from .params import ScoreInfo, require_whole
from .rows import Rows

if TYPE_CHECKING:
    from .shared import Shared

LEAST_REACH = 1e-10
"""Added to the mean distance, so that duplicates have a density; scikit-learn's."""


@POSTPROCESSORS.register("lof")
class LOF(Postprocessor):
    """Minus the local outlier factor of x / ‖x‖ with respect to the training rows.

    A row's density is 1 over the mean of max(d, r) over its ``neighbors``, d their distance and r that of each to its
    own last neighbour; the factor is the mean density of the neighbours over the row's.  Training features are kept,
    not copied.
    """

    name = "lof"
    info = ScoreInfo(
        title="LOF: Identifying Density-Based Local Outliers",
        authors="Markus M. Breunig, Hans-Peter Kriegel, Raymond T. Ng, Jörg Sander",
        venue="SIGMOD",
        year=2000,
        url="https://doi.org/10.1145/342009.335388",
    )
    needs = frozenset({"train"})
    grows = "2 `neighbors` numbers a training row, while it is fitted"
    fit_reads_params = True

    @dataclass(frozen=True)
    class Params(Postprocessor.Params):
        """Parameters: ``neighbors``, fewer than the training rows (20: scikit-learn's)."""

        neighbors: int = 20

        def __post_init__(self) -> None:
            require_whole("neighbors", self.neighbors, 1)

    params: Params

    neighbours: Neighbours

    def learn(self, shared: Shared) -> None:
        """Take radii and densities of the training rows.

        Raises:
            UserError: where there are too few of them.
        """
        train, count = shared.train_set, self.params.neighbors
        if len(train) <= count:
            raise UserError(
                f"lof: neighbors={count} must be below the {len(train)} training rows; set a smaller lof.neighbors."
            )
        self.neighbours = Neighbours(train.features, shared.norms, shared.arithmetic)

        neighbours = self.neighbours

        def others(rows: Rows) -> Found:
            found = neighbours.nearest(rows.stored, rows.norms, count + 1)
            return without_itself(found, np.arange(rows.where.start, rows.where.stop))

        parts = shared.of_blocks(others, train)
        squared, rows = (np.concatenate(each) for each in zip(*parts, strict=True))
        self._radii = np.sqrt(squared[:, -1])
        self._densities = self._densities_of(Found(squared, rows))

    def _densities_of(self, found: Found) -> Floats:
        reach = np.maximum(np.sqrt(found.squared), self._radii[found.rows])
        return np.asarray(1.0 / (reach.mean(axis=1) + LEAST_REACH))

    def score_rows(self, rows: Rows) -> Scores:
        """Return minus each row's factor."""
        found = self.neighbours.nearest(rows.stored, rows.norms, self.params.neighbors)
        return Scores(rows.pred, -self._densities[found.rows].mean(axis=1) / self._densities_of(found))


def without_itself(found: Found, rows: NDArray[np.int64]) -> Found:
    """Return the neighbours but the row itself; but the last where it is not among them, for its duplicates are."""
    itself = found.rows == rows[:, None]
    itself[~itself.any(axis=1), -1] = True
    shape = (len(rows), found.rows.shape[1] - 1)
    return Found(found.squared[~itself].reshape(shape), found.rows[~itself].reshape(shape))
