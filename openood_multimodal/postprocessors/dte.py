"""Diffusion time estimation, in closed form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..arrays import Scores
from ..errors import UserError
from ..linalg.rows import Floats, block_slices
from ..registry import POSTPROCESSORS
from .base import Postprocessor
from .params import ScoreInfo, require_whole
from .rows import Rows

if TYPE_CHECKING:
    from .shared import Shared

SPARE = 8
"""Candidates beside the K nearest, whose distances are computed again from differences."""


@POSTPROCESSORS.register("dte_np")
class DTENonParametric(Postprocessor):
    """DTE-NP: minus the mean squared distance to the K nearest training rows.

    The posterior of the diffusion time of x is an inverse gamma distribution whose scale is half that mean, so its mode
    and mean grow with it.  Training features are kept, not copied.
    """

    name = "dte_np"
    info = ScoreInfo(
        title="On Diffusion Modeling for Anomaly Detection",
        authors="Victor Livernoche, Vineet Jain, Yashar Hezaveh, Siamak Ravanbakhsh",
        venue="ICLR",
        year=2024,
        url="https://arxiv.org/abs/2305.18593",
    )
    needs = frozenset({"train"})

    @dataclass(frozen=True)
    class Params(Postprocessor.Params):
        """Parameters: ``K``, at most the number of training rows (5: the authors')."""

        K: int = 5

        def __post_init__(self) -> None:
            require_whole("K", self.K, 1)

    params: Params

    @property
    def limits(self) -> dict[str, int]:
        """At most as many neighbours as there are training rows."""
        return {"K": len(self._train)} if self.fitted else {}

    def learn(self, shared: Shared) -> None:
        """Take the training rows, and their mean, around which the products are taken.

        Raises:
            UserError: where K exceeds their number.
        """
        self._train: NDArray[Any] = shared.train_set.features
        self._mean = shared.mean
        self._check_size()

    def _check_size(self) -> None:
        if len(self._train) < self.params.K:
            raise UserError(
                f"dte_np: K={self.params.K} exceeds the {len(self._train)} training rows; set a smaller dte_np.K."
            )

    def score_rows(self, rows: Rows) -> Scores:
        """Return minus each row's mean squared distance to its nearest neighbours."""
        self._check_size()
        about = rows.features - self._mean
        kept = min(len(self._train), self.params.K + SPARE)
        values = np.empty((len(rows), 0))
        places = np.empty((len(rows), 0), dtype=np.int64)
        for bank in block_slices(len(self._train), max(self._train.shape[1], len(rows))):
            others = np.asarray(self._train[bank], dtype=np.float64) - self._mean
            found = np.einsum("ij,ij->i", others, others) - 2.0 * (about @ others.T)
            values = np.concatenate([values, found], axis=1)
            places = np.concatenate(
                [places, np.broadcast_to(np.arange(bank.start, bank.stop), found.shape)], axis=1
            )
            if values.shape[1] > kept:
                best = np.argpartition(values, kept - 1, axis=1)[:, :kept]
                values = np.take_along_axis(values, best, axis=1)
                places = np.take_along_axis(places, best, axis=1)
        return Scores(rows.pred, -self._mean_of_nearest(rows.features, places))

    def _mean_of_nearest(self, features: Floats, places: NDArray[np.int64]) -> Floats:
        found = np.empty(len(features))
        for row, (x, near) in enumerate(zip(features, places, strict=True)):
            squared = np.square(np.asarray(self._train[np.sort(near)], dtype=np.float64) - x).sum(axis=1)
            found[row] = np.partition(squared, self.params.K - 1)[: self.params.K].mean()
        return found
