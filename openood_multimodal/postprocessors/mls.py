"""Maximum logit."""

from __future__ import annotations

from ..arrays import Scores
from ..registry import POSTPROCESSORS
from .base import Postprocessor
from .params import ScoreInfo
from .rows import Rows


@POSTPROCESSORS.register("mls")
class MLS(Postprocessor):
    """Maximum logit score, max z."""

    name = "mls"
    info = ScoreInfo(
        title="Scaling Out-of-Distribution Detection for Real-World Settings",
        authors="Dan Hendrycks, Steven Basart, Mantas Mazeika, Andy Zou, Joe Kwon, "
        "Mohammadreza Mostajabi, Jacob Steinhardt, Dawn Song",
        venue="ICML",
        year=2022,
        url="https://arxiv.org/abs/1911.11132",
    )
    reads_features = False

    def score_rows(self, rows: Rows) -> Scores:
        """Return each row's largest logit."""
        return Scores(rows.pred, rows.logits.max(axis=1))
