"""Optimal feature shaping."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..arrays import Scores
from ..linalg.rows import Floats
from ..registry import POSTPROCESSORS
from .base import Postprocessor
from .params import ScoreInfo, require_number, require_whole
from .rows import Rows
from .softmax import logsumexp

if TYPE_CHECKING:
    from .shared import Shared

NORM = 1000.0
"""Norm of θ, the authors'."""


@POSTPROCESSORS.register("optfs")
class OptFS(Postprocessor):
    """The prediction's logit after shaping, Σ_j W_ŷj θ(x_j) x_j, with θ constant on intervals of the activations.

    θ of an interval is proportional to the mean over training rows of Σ W_ŷj x_j over the activations in it, and 0
    outside the range.
    """

    name = "optfs"
    info = ScoreInfo(
        title="Towards Optimal Feature-Shaping Methods for Out-of-Distribution Detection",
        authors="Qinyu Zhao, Ming Xu, Kartik Gupta, Akshay Asthana, Liang Zheng, Stephen Gould",
        venue="ICLR",
        year=2024,
        url="https://arxiv.org/abs/2402.00865",
    )
    needs = frozenset({"train"})
    needs_head = True
    fit_reads_params = True

    @dataclass(frozen=True)
    class Params(Postprocessor.Params):
        """Parameters: ``bins``, intervals between the ``tail`` and 100 - ``tail`` percentiles of the training
        activations (100 and 0.1: the authors'); ``energy`` of all shaped logits in place of the one.
        """

        bins: int = 100
        tail: float = 0.1
        energy: bool = False

        def __post_init__(self) -> None:
            require_whole("bins", self.bins, 1)
            require_number("tail", self.tail, 0.0, 50.0)

    params: Params
    theta: Floats

    def learn(self, shared: Shared) -> None:
        """Take θ from the training rows and their predictions."""
        train = shared.train_set
        assert shared.head is not None  # needs_head
        self._weight = shared.head.weight.astype(np.float64)
        self._bias = shared.head.bias.astype(np.float64)
        self._low = shared.percentile(train, self.params.tail)
        high = shared.percentile(train, 100.0 - self.params.tail)
        self._width = (high - self._low) / self.params.bins

        def sums_of(rows: Rows) -> Floats:
            contributions = self._weight[rows.pred] * rows.features
            bins = self._bins(rows.features).ravel()
            return np.bincount(bins, contributions.ravel(), self.params.bins + 2).astype(np.float64)

        sums = shared.summed(sums_of, train)
        sums[[0, -1]] = 0.0
        size = np.linalg.norm(sums)
        self.theta = sums * (NORM / size) if size > 0.0 else sums
        if size == 0.0:
            self.notes.append("optfs: the training activations are constant, so every score is equal.")

    def _bins(self, features: Floats) -> NDArray[np.int64]:
        """Return the interval of each activation, 1 to ``bins``; 0 below them and ``bins`` + 1 above."""
        if self._width == 0.0:
            return np.zeros(features.shape, dtype=np.int64)
        place = np.floor((features - self._low) / self._width)
        return np.clip(place, -1, self.params.bins).astype(np.int64) + 1

    def score_rows(self, rows: Rows) -> Scores:
        """Return each prediction's logit after shaping."""
        shaped = self.theta[self._bins(rows.features)] * rows.features
        if self.params.energy:
            return Scores(rows.pred, logsumexp(shaped @ self._weight.T + self._bias))
        return Scores(rows.pred, np.einsum("ij,ij->i", self._weight[rows.pred], shaped))
