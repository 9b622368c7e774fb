"""Distance to the K-th nearest training sample."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..arrays import Embeddings, LinearHead, Scores
from ..errors import UserError
from ..registry import POSTPROCESSORS
from .base import OPENOOD_DEFAULTS, Postprocessor, Preset
from .params import ScoreInfo, require_whole
from .rows import Rows, feature_blocks

Floats32 = NDArray[np.float32]


@POSTPROCESSORS.register("knn")
class KNN(Postprocessor):
    """Minus the squared Euclidean distance to the K-th nearest training sample, both of unit norm.

    Exact search, in float32 (faiss's flat index), as OpenOOD's.  Predictions are the head's.
    """

    name = "knn"
    info = ScoreInfo(
        title="Out-of-Distribution Detection with Deep Nearest Neighbors",
        authors="Yiyou Sun, Yifei Ming, Xiaojin Zhu, Yixuan Li",
        venue="ICML",
        year=2022,
        url="https://arxiv.org/abs/2204.06507",
    )
    presets: ClassVar[Mapping[str, Preset]] = {"openood": OPENOOD_DEFAULTS, "multiood": {"K": 10}}
    needs = frozenset({"train"})
    sweep = {"K_list": (50, 100, 200, 500, 1000)}  # noqa: RUF012

    @dataclass(frozen=True)
    class Params(Postprocessor.Params):
        """Parameters: ``K``, the neighbour whose distance counts; at most the number of training rows."""

        K: int = 50

        def __post_init__(self) -> None:
            require_whole("K", self.K, 1)

    params: Params
    index: Any

    def estimate(self, train: Embeddings | None, val: Embeddings | None, head: LinearHead | None) -> None:
        """Index the normalised training features.

        Raises:
            UserError: where K exceeds the number of training rows.
        """
        import faiss  # here, because it takes a second to load and no other score wants it

        assert train is not None
        self._check_size(len(train))
        self.index = faiss.IndexFlatL2(train.dim)
        for _, block in feature_blocks(train.features):
            self.index.add(normalised(block))

    def score_rows(self, rows: Rows) -> Scores:
        """Return minus the squared distance to the K-th neighbour."""
        self._check_size(self.index.ntotal)
        distances, _ = self.index.search(normalised(rows.features), self.params.K)
        return Scores(rows.pred, -distances[:, -1].astype(np.float64))

    def _check_size(self, rows: int) -> None:
        if rows < self.params.K:
            raise UserError(f"knn: K={self.params.K} exceeds the {rows} training rows; set a smaller knn.K.")


def normalised(features: NDArray[Any]) -> Floats32:
    """Return float32 ``x / ‖x‖ + 1e-10`` of ``[B, D]`` features; a row of zeros stays at 1e-10."""
    norms = np.linalg.norm(features, axis=1, keepdims=True)
    return np.ascontiguousarray(features / np.where(norms > 0.0, norms, 1.0) + 1e-10, dtype=np.float32)
