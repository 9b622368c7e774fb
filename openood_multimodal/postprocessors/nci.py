"""Neural-collapse inspired detection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..arrays import Scores
from ..linalg.rows import Floats, of_float64_parts, row_norms
from ..registry import POSTPROCESSORS
from .base import Postprocessor
from .params import ScoreInfo, require_number
from .rows import Rows

if TYPE_CHECKING:
    from .shared import Shared


@POSTPROCESSORS.register("nci")
class NCI(Postprocessor):
    """Proximity of the centred feature to its prediction's weights, plus its size: w_ŷ · (x - μ) / ‖x - μ‖ + α ‖x‖₁.

    μ is the mean of the training rows; a row that equals it has proximity 0.
    """

    name = "nci"
    info = ScoreInfo(
        title="Detecting Out-of-Distribution Through the Lens of Neural Collapse",
        authors="Litian Liu, Yao Qin",
        venue="CVPR",
        year=2025,
        url="https://arxiv.org/abs/2311.01479",
    )
    needs = frozenset({"train"})
    needs_head = True
    sweep = {"alpha_list": (0.0001, 0.001, 0.01, 0.1)}  # noqa: RUF012

    @dataclass(frozen=True)
    class Params(Postprocessor.Params):
        """Parameters: ``alpha``, the weight of the norm, at least 0 (0.0001: OpenOOD's)."""

        alpha: float = 0.0001

        def __post_init__(self) -> None:
            require_number("alpha", self.alpha, 0.0)

    params: Params
    mean: Floats

    def learn(self, shared: Shared) -> None:
        """Take the training rows' mean and the head's weights."""
        assert shared.head is not None  # needs_head
        self.mean = shared.mean
        self._weight = shared.head.weight.astype(np.float64)

    def score_rows(self, rows: Rows) -> Scores:
        """Return proximity plus weighted size."""
        scores, pred = np.empty(len(rows)), rows.pred  # the latter not by several threads at once

        def part(where: slice, values: Floats) -> None:
            about = values - self.mean
            norms = row_norms(about)
            along = np.einsum("ij,ij->i", self._weight[pred[where]], about)
            scores[where] = along / np.where(norms > 0.0, norms, 1.0)
            scores[where] += self.params.alpha * np.abs(values, out=about).sum(axis=1)

        of_float64_parts(rows.at_hand, part)
        return Scores(pred, scores)
