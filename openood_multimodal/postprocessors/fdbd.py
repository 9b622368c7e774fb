"""Fast decision-boundary based detection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..arrays import Scores
from ..errors import UserError
from ..linalg.rows import Floats, row_norms
from ..registry import POSTPROCESSORS
from .base import Postprocessor
from .params import ScoreInfo
from .rows import Rows

if TYPE_CHECKING:
    from .shared import Shared

LEAST_NORM = 1e-150
"""What a norm of 0 is divided by in its place, so that a confidence stays finite."""


@POSTPROCESSORS.register("fdbd")
class FDBD(Postprocessor):
    """Sum of the distances from x to its prediction's decision boundaries, over ‖x - μ‖.

    Σ_{c ≠ ŷ} |z_ŷ - z_c| / ‖w_ŷ - w_c‖, μ the mean of the training rows.  Classes whose weights equal the
    prediction's have no boundary with it and are left out (OpenOOD divides by 0 there).
    """

    name = "fdbd"
    info = ScoreInfo(
        title="Fast Decision Boundary based Out-of-Distribution Detector",
        authors="Litian Liu, Yao Qin",
        venue="ICML",
        year=2024,
        url="https://arxiv.org/abs/2312.11536",
    )
    needs = frozenset({"train"})
    needs_head = True
    sweep = {"distance_as_normalizer_list": (True, False)}  # noqa: RUF012

    @dataclass(frozen=True)
    class Params(Postprocessor.Params):
        """Parameters: ``distance_as_normalizer``: divide by ‖x - μ‖ (OpenOOD's, the paper's), else by ‖x‖."""

        distance_as_normalizer: bool = True

        def __post_init__(self) -> None:
            if not isinstance(self.distance_as_normalizer, bool | np.bool_):
                raise UserError(
                    f"distance_as_normalizer must be true or false, got {self.distance_as_normalizer!r}."
                )

    params: Params
    mean: Floats
    inverse_distances: Floats
    """Float64 ``[C, C]`` 1 / ‖w_a - w_b‖; 0 where the weights are equal."""

    def learn(self, shared: Shared) -> None:
        """Take the training rows' mean, and the distances between the head's weights."""
        assert shared.head is not None  # needs_head
        self.mean = shared.mean
        weight = shared.head.weight.astype(np.float64)
        apart = np.stack([row_norms(weight - each) for each in weight])
        self.inverse_distances = np.where(apart > 0.0, 1.0 / np.where(apart > 0.0, apart, 1.0), 0.0)

    def score_rows(self, rows: Rows) -> Scores:
        """Return the summed distances over the norm."""
        gaps = rows.logits.max(axis=1, keepdims=True) - rows.logits
        distances = np.einsum("ij,ij->i", gaps, self.inverse_distances[rows.pred])
        norms = rows.norms_about(self.mean) if self.params.distance_as_normalizer else rows.norms
        return Scores(rows.pred, distances / np.maximum(norms, LEAST_NORM))
