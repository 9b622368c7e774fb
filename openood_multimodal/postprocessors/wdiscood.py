"""Whitened linear discriminants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..arrays import Scores
from ..linalg.rows import Floats, row_norms
from ..linalg.spectra import EPS, nearest_squared_distance
from ..linalg.whitening import Whitening
from ..registry import POSTPROCESSORS
from .base import Postprocessor
from .params import ScoreInfo, require_number, require_whole
from .rows import Rows

if TYPE_CHECKING:
    from .shared import Shared


@POSTPROCESSORS.register("wdiscood")
class WDiscOOD(Postprocessor):
    """Distances of the whitened feature w: -min_c ‖Gᵀ(w - μ_c)‖ - λ ‖(I - GGᵀ)(w - μ)‖.

    w is x after whitening by the within-class covariance, G its leading discriminants (of the class means around the
    mean μ of all rows), and the second term is what these leave.  At most rank-many discriminants exist, C - 1 as a
    rule: the authors' matrix has more columns, of rounding only.
    """

    name = "wdiscood"
    info = ScoreInfo(
        title="WDiscOOD: Out-of-Distribution Detection via Whitened Linear Discriminant Analysis",
        authors="Yiye Chen, Yunzhi Lin, Ruinian Xu, Patricio A. Vela",
        venue="ICCV",
        year=2023,
        url="https://arxiv.org/abs/2303.07543",
    )
    needs = frozenset({"train"})
    fit_reads_params = True

    @dataclass(frozen=True)
    class Params(Postprocessor.Params):
        """Parameters: ``num_disc``, discriminants at most, and ``res_dist_weight``, λ (1000, 5: the authors')."""

        num_disc: int = 1000
        res_dist_weight: float = 5.0

        def __post_init__(self) -> None:
            require_whole("num_disc", self.num_disc, 1)
            require_number("res_dist_weight", self.res_dist_weight, 0.0)

    params: Params
    whitening: Whitening
    discriminants: Floats
    """Float64 ``[r, k]``, orthonormal."""

    def learn(self, shared: Shared) -> None:
        """Take the whitening and the discriminants from the training rows.

        Raises:
            UserError: for a label outside the classes, or a class without a row.
        """
        self.whitening = shared.whitening()
        centres = self.whitening.exact_rows(shared.class_means.means)
        self._middle = self.whitening.exact_rows(shared.mean[None])[0]
        _, singular, vectors = np.linalg.svd(centres - self._middle, full_matrices=False)
        kept = singular > max(centres.shape) * EPS * max(singular.max(initial=0.0), row_norms(centres).max())
        self.discriminants = vectors[kept][: self.params.num_disc].T
        self._centres = (centres - self._middle) @ self.discriminants

    def score_rows(self, rows: Rows) -> Scores:
        """Return minus the weighted distances."""
        about = rows.whitened(self.whitening) - self._middle
        inside = about @ self.discriminants
        near = np.sqrt(nearest_squared_distance(inside, self._centres))
        rest = row_norms(about - inside @ self.discriminants.T)
        return Scores(rows.pred, -near - self.params.res_dist_weight * rest)
