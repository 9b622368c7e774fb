"""Activation and logit scaling: SCALE and LTS."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..arrays import Scores
from ..linalg.rows import Floats, largest
from ..registry import POSTPROCESSORS
from .ash import activation_ratio, largest_activations
from .base import Postprocessor
from .params import ScoreInfo, require_number
from .rows import Rows
from .softmax import logsumexp


@POSTPROCESSORS.register("scale")
class Scale(Postprocessor):
    """SCALE: energy of the logits of x · exp(r), r = Σ x / Σ of the largest activations of x."""

    name = "scale"
    info = ScoreInfo(
        title="Scaling for Training Time and Post-hoc Out-of-distribution Detection Enhancement",
        authors="Kai Xu, Rongyu Chen, Gianni Franchi, Angela Yao",
        venue="ICLR",
        year=2024,
        url="https://arxiv.org/abs/2310.00227",
    )
    needs_head = True
    sweep = {"percentile_list": (65, 70, 75, 80, 85, 90, 95)}  # noqa: RUF012

    @dataclass(frozen=True)
    class Params(Postprocessor.Params):
        """Parameters: ``percentile`` of activations that the second sum leaves out, 0 to 100 (85: OpenOOD's)."""

        percentile: float = 85

        def __post_init__(self) -> None:
            require_number("percentile", self.percentile, 0.0, 100.0)

    params: Params

    def score_rows(self, rows: Rows) -> Scores:
        """Return the energy of each row's logits after scaling, and their predictions."""
        logits = rows.head_logits(rows.at_hand, self._shape)
        return Scores(largest(logits), logsumexp(logits))

    def _shape(self, features: Floats) -> Floats:
        kept = np.where(largest_activations(features, self.params.percentile, self.name), features, 0.0)
        return np.asarray(features * np.exp(activation_ratio(features, kept))[:, None])


@POSTPROCESSORS.register("lts")
class LTS(Postprocessor):
    """Logit scaling: energy of z · r², r = Σ x⁺ / Σ of the largest activations of x⁺ = max(x, 0)."""

    name = "lts"
    info = ScoreInfo(
        title="Logit Scaling for Out-of-Distribution Detection",
        authors="Andrija Djurisic, Rosanne Liu, Mladen Nikolic",
        venue="Machine Vision and Applications",
        year=2025,
        url="https://arxiv.org/abs/2409.01175",
    )

    @dataclass(frozen=True)
    class Params(Postprocessor.Params):
        """Parameters: ``p``, the share of activations in the second sum, above 0 to 1 (0.05: the authors')."""

        p: float = 0.05

        def __post_init__(self) -> None:
            require_number("p", self.p, 0.0, 1.0, above=True)

    params: Params

    def score_rows(self, rows: Rows) -> Scores:
        """Return the energy of each row's scaled logits."""
        active = np.maximum(rows.features, 0.0)
        dim = active.shape[1]
        count = max(1, dim - round(dim * (1.0 - self.params.p)))
        kept = np.partition(active, dim - count, axis=1)[:, dim - count :]
        logits = rows.logits * np.square(activation_ratio(active, kept))[:, None]
        return Scores(rows.pred, logsumexp(logits))
