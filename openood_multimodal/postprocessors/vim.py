"""Virtual-logit matching."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..arrays import Scores
from ..errors import UserError
from ..linalg.rows import Floats, largest
from ..linalg.spectra import EPS
from ..registry import POSTPROCESSORS
from .params import ScoreInfo
from .residual import Residual
from .rows import Rows, sum_of_largest_logits
from .softmax import logsumexp

if TYPE_CHECKING:
    from .shared import Shared


@POSTPROCESSORS.register("vim")
class ViM(Residual):
    """Energy minus α times the norm of what the principal subspace leaves of a feature.

    The origin is u = -W⁺b, the principal subspace is that of the second moment of x - u, and α makes the
    mean residual norm of the training set equal to its mean largest logit.  Logits are the head's.
    """

    name = "vim"
    info = ScoreInfo(
        title="ViM: Out-Of-Distribution with Virtual-logit Matching",
        authors="Haoqi Wang, Zhizhong Li, Litong Feng, Wayne Zhang",
        venue="CVPR",
        year=2022,
        url="https://arxiv.org/abs/2203.10807",
    )
    sweep = {"dim_list": (256, 1000)}  # noqa: RUF012

    @dataclass(frozen=True)
    class Params(Residual.Params):
        """Parameters: ``dim``, dimensions of the principal subspace, below D (256: OpenOOD's)."""

        dim: int = 256

    params: Params
    alpha: float

    def learn(self, shared: Shared) -> None:
        """Take origin, principal subspace and α from the training embeddings and the head.

        Raises:
            UserError: where ``dim`` isn't below D, or leaves nothing of the features.
        """
        super().learn(shared)
        train = shared.train_set

        def sums(rows: Rows) -> Floats:  # in no moment: they take the rows a second time
            return np.array([self.residual_norms(rows.stored).sum(), sum_of_largest_logits(rows)])

        residual, logit = shared.summed(sums, train) / len(train)
        if residual <= train.dim * EPS * np.sqrt(self.subspace.scale):
            raise UserError(
                f"vim: dim={self.params.dim} leaves no residual: the {len(train)} training rows span only "
                f"{self.subspace.rank} dimensions; set a smaller vim.dim."
            )
        self.alpha = float(logit / residual)

    def score_rows(self, rows: Rows) -> Scores:
        """Return energy minus the virtual logit."""
        logits = rows.own_logits
        return Scores(largest(logits), logsumexp(logits) - self.alpha * self.residual_norms(rows.at_hand))
