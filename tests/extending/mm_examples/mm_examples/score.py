"""A postprocessor of fused logits."""

import numpy as np

from openood_multimodal.arrays import Scores
from openood_multimodal.postprocessors import Postprocessor, ScoreInfo


class Margin(Postprocessor):
    """Difference between the two largest logits."""

    name = "margin"
    info = ScoreInfo("Margin", "An example", "none", 2026, "https://example.org")
    reads_features = False

    def score_rows(self, rows):  # rows.logits [B, C], rows.features [B, D]: float64, read-only
        ordered = np.sort(rows.logits, axis=1)
        second = ordered[:, -2:-1].sum(axis=1)  # 0 where there is one class
        return Scores(rows.pred, ordered[:, -1] - second)
