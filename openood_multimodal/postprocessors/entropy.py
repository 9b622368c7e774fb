"""Entropy of the softmax, and DOCTOR."""

from __future__ import annotations

import numpy as np

from ..arrays import Scores
from ..registry import POSTPROCESSORS
from .base import Postprocessor
from .params import ScoreInfo
from .rows import Rows
from .softmax import log_entropy, log_generalised_entropy, log_softmax


@POSTPROCESSORS.register("entropy")
class Entropy(Postprocessor):
    """Minus the logarithm of the entropy H = -Σ p log p of p = softmax(z): the order of -H, without its ties."""

    name = "entropy"
    info = ScoreInfo(
        title="Entropy Maximization and Meta Classification for Out-of-Distribution Detection in Semantic "
        "Segmentation",
        authors="Robin Chan, Matthias Rottmann, Hanno Gottschalk",
        venue="ICCV",
        year=2021,
        url="https://arxiv.org/abs/2012.06575",
    )
    reads_features = False

    def score_rows(self, rows: Rows) -> Scores:
        """Return minus the logarithm of each row's entropy."""
        return Scores(rows.pred, -log_entropy(rows.logits))


@POSTPROCESSORS.register("doctor")
class Doctor(Postprocessor):
    """DOCTOR's D_α: log g - log(1 - g), g = Σ p², p = softmax(z).

    The order is that of -(1 - g) / g, D_α of the paper without temperature and perturbation.  (D_β has the order
    of `msp`.)
    """

    name = "doctor"
    info = ScoreInfo(
        title="DOCTOR: A Simple Method for Detecting Misclassification Errors",
        authors="Federica Granese, Marco Romanelli, Daniele Gorla, Catuscia Palamidessi, Pablo Piantanida",
        venue="NeurIPS",
        year=2021,
        url="https://arxiv.org/abs/2106.02395",
    )
    reads_features = False

    def score_rows(self, rows: Rows) -> Scores:
        """Return the log-odds of two draws from p being the same class."""
        same = np.logaddexp.reduce(2.0 * log_softmax(rows.logits), axis=1)
        # 1 - g = Σ p (1 - p), which doesn't cancel
        return Scores(rows.pred, same - log_generalised_entropy(rows.logits, 1.0, None))
