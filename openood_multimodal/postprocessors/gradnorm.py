"""Norm of the gradient of the head's weights."""

from __future__ import annotations

import numpy as np

from ..arrays import Scores
from ..registry import POSTPROCESSORS
from .base import Postprocessor
from .params import ScoreInfo
from .rows import Rows
from .softmax import softmax


@POSTPROCESSORS.register("gradnorm")
class GradNorm(Postprocessor):
    """L1 norm of the gradient of the cross-entropy to uniform targets with respect to the head's weights.

    In closed form: the gradient is (C p - 1) xᵀ, so its norm is Σ_c |C p_c - 1| · ‖x‖₁, with p = softmax(z).  (The
    paper's targets are 1/C, OpenOOD's are 1: a factor C, which leaves the order as it is.)
    """

    name = "gradnorm"
    info = ScoreInfo(
        title="On the Importance of Gradients for Detecting Distributional Shifts in the Wild",
        authors="Rui Huang, Andrew Geng, Yixuan Li",
        venue="NeurIPS",
        year=2021,
        url="https://arxiv.org/abs/2110.00218",
    )

    def score_rows(self, rows: Rows) -> Scores:
        """Return the norm of each row's gradient."""
        p = softmax(rows.logits)
        return Scores(rows.pred, np.abs(p.shape[1] * p - 1.0).sum(axis=1) * np.abs(rows.features).sum(axis=1))
