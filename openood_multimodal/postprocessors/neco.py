"""Neural-collapse based detection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..arrays import Scores
from ..errors import UserError
from ..linalg.rows import Floats, row_norms
from ..linalg.spectra import leading_eigenpairs
from ..registry import POSTPROCESSORS
from .base import Postprocessor
from .params import ScoreInfo, require_whole
from .rows import Rows

if TYPE_CHECKING:
    from .shared import Shared


@POSTPROCESSORS.register("neco")
class NECO(Postprocessor):
    """Share of the standardised feature's norm in the principal subspace, times the largest logit: max z · ‖Pᵀs‖ / ‖s‖.

    s is x minus the training mean, divided by each column's standard deviation (a constant column by 1); P holds the
    leading eigenvectors of the training rows' correlations.
    """

    name = "neco"
    info = ScoreInfo(
        title="NECO: NEural Collapse Based Out-of-distribution detection",
        authors="Mouïn Ben Ammar, Nacim Belkhir, Sebastian Popescu, Antoine Manzanera, Gianni Franchi",
        venue="ICLR",
        year=2024,
        url="https://arxiv.org/abs/2310.06823",
    )
    needs = frozenset({"train"})
    fit_reads_params = True

    @dataclass(frozen=True)
    class Params(Postprocessor.Params):
        """Parameters: ``dim`` of the subspace, None: C, ours (the authors tune it for each network);
        ``max_logit``: multiply by it (the authors do, but for ResNets).
        """

        dim: int | None = None
        max_logit: bool = True

        def __post_init__(self) -> None:
            if self.dim is not None:
                require_whole("dim", self.dim, 1)

    params: Params
    mean: Floats
    deviations: Floats
    basis: Floats

    def learn(self, shared: Shared) -> None:
        """Take means, deviations and the principal subspace from the training rows.

        Raises:
            UserError: where ``dim`` is above D.
        """
        width = shared.train_set.dim
        dim = min(shared.num_classes, width) if self.params.dim is None else self.params.dim
        if dim > width:
            raise UserError(
                f"neco: dim={dim} is above the features' {width} columns; set a smaller neco.dim."
            )
        self.mean = shared.mean
        correlations = shared.covariance()
        deviations = np.sqrt(np.diag(correlations))
        self.deviations = np.where(deviations > 0.0, deviations, 1.0)
        correlations /= self.deviations
        correlations /= self.deviations[:, None]
        self.basis = leading_eigenpairs(correlations, dim).vectors

    def score_rows(self, rows: Rows) -> Scores:
        """Return the share of the norm, times the largest logit; 0 for a row that equals the mean."""
        standard = (rows.features - self.mean) / self.deviations
        norms = row_norms(standard)
        share = row_norms(standard @ self.basis) / np.where(norms > 0.0, norms, 1.0)
        return Scores(rows.pred, share * rows.logits.max(axis=1) if self.params.max_logit else share)
