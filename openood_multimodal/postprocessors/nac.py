"""Neuron activation coverage of the last layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy
from numpy.typing import NDArray

from ..arrays import Embeddings, Scores
from ..linalg.rows import Floats
from ..registry import POSTPROCESSORS
from .base import Postprocessor
from .params import ScoreInfo, require_number, require_whole
from .rows import Rows
from .softmax import softmax

if TYPE_CHECKING:
    from .shared import Shared


@POSTPROCESSORS.register("nac")
class NAC(Postprocessor):
    """Mean over columns of how well training rows cover the state's interval: min(count / O, 1).

    A column's state is sigmoid(α · x · ∂KL(u ‖ p)/∂x), in closed form x · Wᵀ(p - u), u uniform.  Of the ``M``
    boundaries most are near ½, as in the authors' code.
    """

    name = "nac"
    info = ScoreInfo(
        title="Neuron Activation Coverage: Rethinking Out-of-distribution Detection and Generalization",
        authors="Yibing Liu, Chris Xing Tian, Haoliang Li, Lei Ma, Shiqi Wang",
        venue="ICLR",
        year=2024,
        url="https://arxiv.org/abs/2306.02879",
    )
    needs = frozenset({"train"})
    needs_head = True
    fit_reads_params = True

    @dataclass(frozen=True)
    class Params(Postprocessor.Params):
        """Parameters: ``O``, ``M``, ``sig_alpha`` and ``valid_num``, training rows that are counted, evenly spaced
        (50, 50, 100 and 1000: the authors', ResNet on CIFAR-10).
        """

        O: int = 50  # noqa: E741 - the authors' name
        M: int = 50
        sig_alpha: float = 100.0
        valid_num: int = 1000

        def __post_init__(self) -> None:
            require_whole("O", self.O, 1)
            require_whole("M", self.M, 4)
            require_number("sig_alpha", self.sig_alpha, 0.0, above=True)
            require_whole("valid_num", self.valid_num, 1)

    params: Params
    coverage: Floats
    """Float64 ``[D, M - 1]``, of each column's intervals."""

    def learn(self, shared: Shared) -> None:
        """Count the states of training rows."""
        train = shared.train_set
        assert shared.head is not None  # needs_head
        self._weight = shared.head.weight.astype(np.float64)
        self._inner = boundaries(self.params.M)[1:-1]
        chosen = np.linspace(0, len(train) - 1, min(len(train), self.params.valid_num)).astype(np.int64)
        logits = None if train.logits is None else np.asarray(train.logits)[chosen]
        some = Embeddings(np.asarray(train.features[chosen]), np.asarray(train.labels)[chosen], logits)
        counts = np.zeros((train.dim, self.params.M - 1))
        columns = np.arange(train.dim)
        for rows in shared.rows(some):
            for state in self._states(rows):
                counts[columns, state] += 1.0
        self.coverage = np.minimum(counts / self.params.O, 1.0)

    def _states(self, rows: Rows) -> NDArray[np.int64]:
        """Return the interval ``[B, D]`` of each column's state."""
        p = softmax(rows.logits)
        gradient = (p - 1.0 / p.shape[1]) @ self._weight
        state = scipy.special.expit(self.params.sig_alpha * rows.features * gradient)
        return np.searchsorted(self._inner, state, side="right")

    def score_rows(self, rows: Rows) -> Scores:
        """Return the mean coverage of each row's states."""
        return Scores(
            rows.pred, self.coverage[np.arange(rows.features.shape[1]), self._states(rows)].mean(axis=1)
        )


def boundaries(count: int) -> Floats:
    """Return ``[count]`` rising boundaries of the states in [0, 1]: dense around ½, where most states are."""
    half = np.log(np.linspace(1.0, np.sqrt(1e3), count // 2)) / np.log(1e3)
    inside = np.concatenate([half[:-1], (1.0 - half)[::-1]])
    inside[-1] = 1.01
    return np.append(inside, 1.2)
