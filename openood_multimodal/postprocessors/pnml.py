"""Regret of the predictive normalized maximum likelihood learner."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..arrays import Scores
from ..linalg.whitening import Whitening
from ..registry import POSTPROCESSORS
from .base import Postprocessor
from .params import ScoreInfo
from .rows import Rows
from .softmax import log_softmax

if TYPE_CHECKING:
    from .shared import Shared


@POSTPROCESSORS.register("pnml")
class PNML(Postprocessor):
    """Minus the regret log Σ_c p_c / (p_c + (1 - p_c) p_c^κ) of a single layer that learns the sample too.

    κ = g / (1 + g), g = x̂ᵀ (X̂ᵀX̂)⁺ x̂ with unit rows x̂ and the training rows' X̂; p = softmax(W x̂ + b), the head's
    of the unit row, as in the authors' code.  A sample outside the training rows' span has the g of its part inside.
    """

    name = "pnml"
    info = ScoreInfo(
        title="Single Layer Predictive Normalized Maximum Likelihood for Out-of-Distribution Detection",
        authors="Koby Bibas, Meir Feder, Tal Hassner",
        venue="NeurIPS",
        year=2021,
        url="https://arxiv.org/abs/2110.09246",
    )
    needs = frozenset({"train"})
    needs_head = True

    def learn(self, shared: Shared) -> None:
        """Take the second moment of the training rows, divided by their norms."""
        self.whitening: Whitening = shared.unit.second_whitening()
        self._count = len(shared.train_set)

    def score_rows(self, rows: Rows) -> Scores:
        """Return minus the logarithm of each row's regret."""
        mapped = rows.of_unit.whitened(self.whitening)
        leverage = np.einsum("ij,ij->i", mapped, mapped) / self._count
        power = (leverage / (1.0 + leverage))[:, None]
        log_p = log_softmax(rows.head_logits(rows.unit))
        # p / (p + (1 - p) p^κ) = 1 / (1 + (1 - p) p^(κ - 1))
        with np.errstate(divide="ignore"):
            others = np.log(-np.expm1(np.minimum(log_p, 0.0))) + (power - 1.0) * log_p
        terms = -np.logaddexp(0.0, others)
        return Scores(rows.pred, -np.logaddexp.reduce(terms, axis=1))
