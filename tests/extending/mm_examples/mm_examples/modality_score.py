"""A postprocessor of the modalities' own logits."""

from dataclasses import dataclass

import numpy as np

from openood_multimodal.arrays import Scores
from openood_multimodal.postprocessors import Postprocessor, ScoreInfo


class Agreement(Postprocessor):
    """The probability that all modalities give to the fused prediction, a product over their heads."""

    name = "agreement"
    info = ScoreInfo("Agreement", "An example", "none", 2026, "https://example.org")
    reads_features = False
    reads_modality_logits = True  # without them, one error says how to provide them

    @dataclass(frozen=True)
    class Params(Postprocessor.Params):
        temperature: float = 1.0  # the keys of postprocessor_args.agreement

    def score_rows(self, rows):  # rows.modality_logits [B, M, C]
        logits = rows.modality_logits / self.params.temperature
        log_p = logits - np.logaddexp.reduce(logits, axis=2, keepdims=True)
        of_prediction = np.take_along_axis(log_p, rows.pred[:, None, None], axis=2)
        return Scores(rows.pred, of_prediction.sum(axis=(1, 2)))  # higher: more in-distribution
