"""Maximum softmax probability."""

from __future__ import annotations

from ..arrays import Scores
from ..registry import POSTPROCESSORS
from .base import Postprocessor
from .params import ScoreInfo
from .rows import Rows
from .softmax import max_log_odds


@POSTPROCESSORS.register("msp")
class MSP(Postprocessor):
    """Maximum softmax probability p, given as its log-odds log(p / (1 - p)).

    The order is that of p; the log-odds don't round to one value where p rounds to 1.
    """

    name = "msp"
    info = ScoreInfo(
        title="A Baseline for Detecting Misclassified and Out-of-Distribution Examples in Neural Networks",
        authors="Dan Hendrycks, Kevin Gimpel",
        venue="ICLR",
        year=2017,
        url="https://arxiv.org/abs/1610.02136",
    )
    reads_features = False

    def score_rows(self, rows: Rows) -> Scores:
        """Return the log-odds of each row's largest softmax probability."""
        return Scores(rows.pred, max_log_odds(rows.logits))
