"""Variational rectified activations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..arrays import Scores
from ..errors import UserError
from ..linalg.rows import Floats, largest
from ..registry import POSTPROCESSORS
from .base import Postprocessor
from .params import ScoreInfo, require_number
from .rows import Rows
from .softmax import logsumexp

if TYPE_CHECKING:
    from .shared import Shared


@POSTPROCESSORS.register("vra")
class VRA(Postprocessor):
    """VRA-P: energy of the logits of features that are 0 below α, and β above β.

    α and β are percentiles of all validation features.  As in the paper and its authors' code, small activations
    are set to 0; OpenOOD's class raises them to α, so its figures differ.
    """

    name = "vra"
    info = ScoreInfo(
        title="VRA: Variational Rectified Activation for Out-of-distribution Detection",
        authors="Mingyu Xu, Zheng Lian, Bin Liu, Jianhua Tao",
        venue="NeurIPS",
        year=2023,
        url="https://arxiv.org/abs/2302.11716",
    )
    needs = frozenset({"val"})
    needs_head = True
    fit_reads_params = True
    sweep = {"percentile_high_list": (85, 90, 95, 99), "percentile_low_list": (1, 5, 10, 15)}  # noqa: RUF012

    @dataclass(frozen=True)
    class Params(Postprocessor.Params):
        """Parameters: ``percentile_high`` and ``percentile_low``, 0 to 100 (90 and 10: OpenOOD's)."""

        percentile_high: float = 90
        percentile_low: float = 10

        def __post_init__(self) -> None:
            require_number("percentile_high", self.percentile_high, 0.0, 100.0)
            require_number("percentile_low", self.percentile_low, 0.0, 100.0)
            if self.percentile_low > self.percentile_high:
                raise UserError(
                    f"percentile_low is {self.percentile_low}, above percentile_high = {self.percentile_high}."
                )

    params: Params
    low: float
    high: float

    def learn(self, shared: Shared) -> None:
        """Take both thresholds from the validation set, or from the training set where there is none."""
        chosen = shared.validation_set(self, "both thresholds")
        self.low = shared.percentile(chosen, self.params.percentile_low)
        self.high = shared.percentile(chosen, self.params.percentile_high)

    def score_rows(self, rows: Rows) -> Scores:
        """Return the energy of each row's logits after rectification, and their predictions."""
        logits = rows.head_logits(rows.at_hand, self._shape)
        return Scores(largest(logits), logsumexp(logits))

    def _shape(self, features: Floats) -> Floats:
        return np.where(features < self.low, 0.0, np.minimum(features, self.high))
