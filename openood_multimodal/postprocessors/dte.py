"""Diffusion time estimation, in closed form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..arrays import Scores
from ..errors import UserError
from ..linalg.neighbours import RowNeighbours
from ..registry import POSTPROCESSORS
from .base import Postprocessor
from .params import ScoreInfo, require_whole
from .rows import Rows

if TYPE_CHECKING:
    from .shared import Shared


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
    neighbours: RowNeighbours

    @property
    def limits(self) -> dict[str, int]:
        """At most as many neighbours as there are training rows."""
        return {"K": len(self.neighbours)} if self.fitted else {}

    def learn(self, shared: Shared) -> None:
        """Take the training rows.

        Raises:
            UserError: where K exceeds their number.
        """
        self.neighbours = shared.neighbours(min(self.params.K, len(shared.train_set)))
        self._check_size()

    def _check_size(self) -> None:
        if len(self.neighbours) < self.params.K:
            raise UserError(
                f"dte_np: K={self.params.K} exceeds the {len(self.neighbours)} training rows; set a smaller dte_np.K."
            )

    def score_rows(self, rows: Rows) -> Scores:
        """Return minus each row's mean squared distance to its nearest neighbours."""
        self._check_size()
        return Scores(rows.pred, -rows.nearest(self.neighbours, self.params.K).mean(axis=1))
