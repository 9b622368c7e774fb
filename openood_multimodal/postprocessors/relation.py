"""Neural relation graph."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..arrays import Scores
from ..linalg.rows import Floats, block_slices
from ..linalg.unit_rows import unit_rows
from ..registry import POSTPROCESSORS
from .base import Postprocessor
from .params import ScoreInfo, require_number
from .rows import Rows
from .softmax import softmax

if TYPE_CHECKING:
    from .shared import Shared

LEAST_EDGE = 0.03
"""Relations at or below it don't count."""

SMALL = 10_000_000
"""Training features up to which products are float64; above, float32 is as good for a sum of so many edges."""

TOGETHER = 32
"""Scored rows, of about the same prediction, that are held against the training rows at once."""

BANK_ROWS = 4096
"""Training rows that are held against scored rows at once."""


def dtype_for(features: NDArray[Any]) -> np.dtype[Any]:
    """Return the dtype of products with ``features``: float64 up to `SMALL` values, else float32."""
    return np.dtype(np.float64 if features.size <= SMALL else np.float32)


def relation_blocks(
    unit: Floats,
    p: Floats,
    others: NDArray[Any],
    others_p: Floats,
    norms: Floats,
    dtype: np.dtype[Any],
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[Any]]]:
    """Yield the relations max(cos(x, x'), 0) · (p · p') of rows to other rows, a block at a time.

    A relation is at most p · p', so features are multiplied only where that is above `LEAST_EDGE` for one of a few
    rows, taken in the order of their predictions; pairs that are left out have no relation.

    Args:
        unit: ``[N, D]`` features of norm 1.
        p: ``[N, C]`` their probabilities.
        others: ``[M, D]`` features of any norm.
        others_p: ``[M, C]`` their probabilities.
        norms: ``[M]`` their norms.
        dtype: of the products.

    Yields:
        Numbers of rows, of other rows, and their relations ``[rows, others]``: 0 where they are at most `LEAST_EDGE`.
    """
    unit, p = unit.astype(dtype), p.astype(dtype)
    order = np.argsort(p.argmax(axis=1), kind="stable")
    for bank in block_slices(len(others), others.shape[1], BANK_ROWS):
        weights: NDArray[Any] = others_p[bank].astype(dtype)
        held: NDArray[Any] | None = None
        for part in block_slices(len(unit), 1, TOGETHER):
            where = order[part]
            most = p[where] @ weights.T
            kept = np.flatnonzero(most.max(axis=0) > LEAST_EDGE)
            if not len(kept):
                continue
            if held is None:
                held = unit_rows(np.asarray(others[bank]), norms[bank]).astype(dtype)
            relation: NDArray[Any] = np.maximum(unit[where] @ held[kept].T, 0.0)
            relation *= most[:, kept]
            relation[relation <= LEAST_EDGE] = 0.0
            yield where, kept + bank.start, relation


@POSTPROCESSORS.register("relation")
class Relation(Postprocessor):
    """Sum of a row's relations to the training rows x_t: Σ [max(cos(x, x_t), 0) · (p · p_t)]^pow.

    p is the softmax; relations of 0.03 or less are left out.  Training features are kept, not copied.
    """

    name = "relation"
    info = ScoreInfo(
        title="Neural Relation Graph: A Unified Framework for Identifying Label Noise and Outlier Data",
        authors="Jang-Hyun Kim, Sangdoo Yun, Hyun Oh Song",
        venue="NeurIPS",
        year=2023,
        url="https://arxiv.org/abs/2301.12321",
    )
    needs = frozenset({"train"})
    sweep = {"pow_list": (1, 2, 4, 6, 8)}  # noqa: RUF012

    @dataclass(frozen=True)
    class Params(Postprocessor.Params):
        """Parameters: ``pow``, the exponent, above 0 (1: OpenOOD's)."""

        pow: float = 1

        def __post_init__(self) -> None:
            require_number("pow", self.pow, 0.0, above=True)

    params: Params

    def learn(self, shared: Shared) -> None:
        """Take the training rows and their probabilities."""
        train = shared.train_set
        self._train: NDArray[Any] = train.features
        self._probabilities = np.concatenate(list(shared.of_blocks(lambda rows: softmax(rows.logits), train)))
        self._norms = shared.norms
        self._dtype = dtype_for(train.features)

    def score_rows(self, rows: Rows) -> Scores:
        """Return the sum of each row's relations."""
        conf = np.zeros(len(rows))
        unit, p = rows.unit, softmax(rows.logits)
        blocks = relation_blocks(unit, p, self._train, self._probabilities, self._norms, self._dtype)
        for where, _, relation in blocks:
            if self.params.pow != 1:
                relation **= self.params.pow
            conf[where] += relation.sum(axis=1, dtype=np.float64)
        return Scores(rows.pred, conf)
