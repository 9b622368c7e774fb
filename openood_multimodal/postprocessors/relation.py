"""Neural relation graph."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..arrays import Scores
from ..linalg.rows import Floats, block_slices
from ..linalg.unit_rows import unit_rows_in
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
"""Rows of the graph, of about the same prediction, that others are held against at once."""

SURE = 0.97
"""A prediction as probable as this has no second one that makes many more relations."""


class RelationGraph:
    """Rows that others have relations to.

    A relation is at most p · p', so features are multiplied only where that is above `LEAST_EDGE` for one of a few rows
    of the graph, taken in the order of their predictions; pairs that are left out have no relation.

    Args:
        features: ``[M, D]`` of any norm; kept, not copied.
        p: ``[M, C]`` their probabilities.
        norms: ``[M]`` their norms.
    """

    def __init__(self, features: NDArray[Any], p: Floats, norms: Floats) -> None:
        self._features, self._norms = features, norms
        self._dtype = np.dtype(np.float64 if features.size <= SMALL else np.float32)
        self._p: NDArray[Any] = p.astype(self._dtype)
        first, places = p.argmax(axis=1), np.arange(len(p))
        others = np.array(p)
        others[places, first] = 0.0
        second = np.where(p[places, first] > SURE, -1, others.argmax(axis=1))
        self._order = np.lexsort((second, first))

    def relations(
        self, unit: Floats, p: Floats
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[Any]]]:
        """Yield the relations max(cos(x, x'), 0) · (p · p') of rows to those of the graph, a block at a time.

        Args:
            unit: ``[N, D]`` features of norm 1.
            p: ``[N, C]`` their probabilities.

        Yields:
            Numbers of rows, of rows of the graph, and their relations: 0 where they are at most `LEAST_EDGE`.
        """
        unit, p = unit.astype(self._dtype), p.astype(self._dtype)
        for part in block_slices(len(self._order), 1, TOGETHER):
            others = np.sort(self._order[part])
            most: NDArray[Any] = p @ self._p[others].T
            kept = np.flatnonzero(most.max(axis=1) > LEAST_EDGE)
            if not len(kept):
                continue
            held = unit_rows_in(np.asarray(self._features[others]), self._norms[others], self._dtype)
            relation: NDArray[Any] = np.maximum(unit[kept] @ held.T, 0.0)
            relation *= most[kept]
            relation[relation <= LEAST_EDGE] = 0.0
            yield kept, others, relation


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
    grows = "C numbers a training row"
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
        probabilities = np.concatenate(list(shared.of_blocks(lambda rows: softmax(rows.logits), train)))
        self._graph = RelationGraph(train.features, probabilities, shared.norms)

    def score_rows(self, rows: Rows) -> Scores:
        """Return the sum of each row's relations."""
        conf = np.zeros(len(rows))
        for where, _, relation in self._graph.relations(rows.unit, softmax(rows.logits)):
            if self.params.pow != 1:
                relation **= self.params.pow
            conf[where] += relation.sum(axis=1, dtype=np.float64)
        return Scores(rows.pred, conf)
