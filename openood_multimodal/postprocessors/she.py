"""Simplified Hopfield energy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..arrays import Scores
from ..errors import UserError
from ..linalg.rows import Floats, row_norms
from ..naming import did_you_mean
from ..registry import POSTPROCESSORS
from .base import Postprocessor
from .params import ScoreInfo
from .rows import Rows

if TYPE_CHECKING:
    from .shared import Shared

METRICS = ("inner_product", "euclidean", "cosine")


@POSTPROCESSORS.register("she")
class SHE(Postprocessor):
    """Similarity of x to its predicted class's stored pattern: x · s_ŷ.

    The pattern s_c is the mean of the training rows of class c that are predicted as c.  Where no row of a class
    is, its pattern is the mean of all of its rows, and a note says so (OpenOOD's confidences are NaN then).
    """

    name = "she"
    info = ScoreInfo(
        title="Out-of-Distribution Detection based on In-Distribution Data Patterns Memorization with Modern "
        "Hopfield Energy",
        authors="Jinsong Zhang, Qiang Fu, Xu Chen, Lun Du, Zelin Li, Gang Wang, Xiaoguang Liu, Shi Han, "
        "Dongmei Zhang",
        venue="ICLR",
        year=2023,
        url="https://openreview.net/forum?id=KkazG4lgKL",
    )
    needs = frozenset({"train"})

    @dataclass(frozen=True)
    class Params(Postprocessor.Params):
        """Parameters: ``metric``: ``inner_product`` (OpenOOD's, the paper's), ``euclidean`` or ``cosine``."""

        metric: str = "inner_product"

        def __post_init__(self) -> None:
            if self.metric not in METRICS:
                raise UserError(f"she.metric is '{self.metric}'.{did_you_mean(str(self.metric), METRICS)}")

    params: Params
    patterns: Floats
    """Float64 ``[C, D]``."""

    def learn(self, shared: Shared) -> None:
        """Take the patterns from the training rows that are predicted right.

        Raises:
            UserError: for a label outside the classes, or a class without a row.
        """
        means = shared.class_means.means
        classes = len(means)

        def patterns_of(rows: Rows, own: NDArray[Any]) -> Floats:
            """Return ``[C, D + 1]``, the sums of rows predicted right, and how many they are."""
            sums = np.zeros((classes, rows.features.shape[1] + 1))
            right = rows.pred == own
            for label in np.unique(own[right]):
                known = rows.features[right & (own == label)]
                sums[label] = *known.sum(axis=0), len(known)
            return sums

        found = shared.summed(patterns_of, shared.train_set, labels=np.asarray(shared.train_set.labels))
        sums, counts = found[:, :-1], found[:, -1]
        never = np.flatnonzero(counts == 0)
        if len(never):
            self.notes.append(
                f"she: no training row of class {', '.join(map(str, never))} is predicted right; the pattern is "
                "the mean of all rows of the class."
            )
        self.patterns = np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], means)

    def score_rows(self, rows: Rows) -> Scores:
        """Return each row's similarity to its predicted class's pattern."""
        pattern = self.patterns[rows.pred]
        if self.params.metric == "euclidean":
            return Scores(rows.pred, -row_norms(rows.features - pattern))
        inner = np.einsum("ij,ij->i", rows.features, pattern)
        if self.params.metric == "cosine":
            lengths = rows.norms * row_norms(pattern)
            inner = inner / np.where(lengths > 0.0, lengths, 1.0)
        return Scores(rows.pred, inner)
