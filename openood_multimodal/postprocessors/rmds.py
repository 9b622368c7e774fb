"""Relative Mahalanobis distance."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..arrays import Scores
from ..linalg.rows import Floats
from ..linalg.spectra import nearest_squared_distance
from ..linalg.whitening import Whitening
from ..registry import POSTPROCESSORS
from .mds import MDS
from .params import ScoreInfo
from .rows import Rows

if TYPE_CHECKING:
    from .shared import Shared


@POSTPROCESSORS.register("rmds")
class RMDS(MDS):
    """Squared Mahalanobis distance to all training data less that to the nearest class: d₀² - min_c d_c².

    d_c is `mds`'s distance; d₀ is the distance to the mean of all training rows under the covariance of all of
    them, inverted on its numerical range likewise.
    """

    name = "rmds"
    info = ScoreInfo(
        title="A Simple Fix to Mahalanobis Distance for Improving Near-OOD Detection",
        authors="Jie Ren, Stanislav Fort, Jeremiah Liu, Abhijit Guha Roy, Shreyas Padhy, Balaji Lakshminarayanan",
        venue="arXiv",
        year=2021,
        url="https://arxiv.org/abs/2106.09022",
    )

    background: Whitening
    _middle: Floats

    def learn(self, shared: Shared) -> None:
        """Take class means and both whitenings.

        Raises:
            UserError: as `mds`.
        """
        super().learn(shared)
        self.background = shared.total_whitening()
        self._middle = self.background.centres(shared.mean[None])

    def score_rows(self, rows: Rows) -> Scores:
        """Return the background's squared distance less the nearest class's."""
        found = super().score_rows(rows)
        whole = nearest_squared_distance(rows.whitened(self.background), self._middle)
        return Scores(found.pred, whole + found.conf)
