"""Directed sparsification."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..arrays import Scores
from ..linalg.rows import Floats, largest
from ..registry import POSTPROCESSORS
from .base import Postprocessor
from .params import ScoreInfo, require_number
from .rows import Rows
from .softmax import logsumexp

if TYPE_CHECKING:
    from .shared import Shared


@POSTPROCESSORS.register("dice")
class DICE(Postprocessor):
    """Energy of logits for which only the head's weights of the largest mean contributions count.

    A weight W_cj contributes W_cj · mean(x_j) over the training rows; those at or below the ``p``-th percentile of
    all C · D contributions are set to 0.  (OpenOOD's class keeps its first mask, so its sweep over ``p`` changes
    nothing; here it does.)
    """

    name = "dice"
    info = ScoreInfo(
        title="DICE: Leveraging Sparsification for Out-of-Distribution Detection",
        authors="Yiyou Sun, Yixuan Li",
        venue="ECCV",
        year=2022,
        url="https://arxiv.org/abs/2111.09805",
    )
    needs = frozenset({"train"})
    needs_head = True
    sweep = {"p_list": (90,)}  # noqa: RUF012

    @dataclass(frozen=True)
    class Params(Postprocessor.Params):
        """Parameters: ``p``, the percentage of weights that are dropped (90: OpenOOD's)."""

        p: float = 90

        def __post_init__(self) -> None:
            require_number("p", self.p, 0.0, 100.0)

    params: Params
    contributions: Floats
    """Float64 ``[C, D]``."""

    def learn(self, shared: Shared) -> None:
        """Take the contributions from the head and the training rows' mean."""
        assert shared.head is not None  # needs_head
        self._weight = shared.head.weight.astype(np.float64)
        self._bias = shared.head.bias.astype(np.float64)
        self.contributions = self._weight * shared.mean

    def score_rows(self, rows: Rows) -> Scores:
        """Return the energy of the sparse head's logits, and their predictions."""
        kept = self.contributions > np.percentile(self.contributions, self.params.p)
        logits = rows.features @ np.where(kept, self._weight, 0.0).T + self._bias
        return Scores(largest(logits), logsumexp(logits))
