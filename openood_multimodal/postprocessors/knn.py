"""Distance to the K-th nearest training sample."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from numpy.typing import NDArray

from ..arrays import Scores
from ..errors import UserError
from ..linalg.indexes import INDEXES, ApproximateIndex
from ..linalg.neighbours import Neighbours
from ..linalg.rows import Floats
from ..linalg.threads import load_faiss
from ..naming import did_you_mean
from ..registry import POSTPROCESSORS
from .base import OPENOOD_DEFAULTS, Postprocessor, Preset
from .msp import MSP
from .params import ScoreInfo, require_whole
from .rows import Rows
from .sharded import squared_distances_of_shards

if TYPE_CHECKING:
    from .options import ScoringOptions
    from .shared import Shared


@POSTPROCESSORS.register("knn")
class KNN(Postprocessor):
    """Minus the squared Euclidean distance to the K-th nearest training sample, both of unit norm.

    The search is exact (see `neighbours`) unless ``index`` asks for less; the recall of an approximate one is
    measured and noted.  Predictions are the head's.  The training features are kept, not copied: arrays must
    not change between `fit` and `score`, and memory maps stay on the disk.

    >>> import numpy as np
    >>> from openood_multimodal.arrays import Embeddings, LinearHead
    >>> angles = np.linspace(0, 1, 8)
    >>> train = Embeddings(np.stack([np.cos(angles), np.sin(angles)], axis=1), np.zeros(8, dtype=np.int64))
    >>> test = Embeddings(np.array([[1.0, 0.5], [-1.0, 0.0]]), np.array([0, -1]))
    >>> score = KNN(K=2).fit(train, None, LinearHead(np.eye(2), np.zeros(2)))
    >>> score.score(test).conf.round(2).tolist()
    [-0.01, -3.31]
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
        """Parameters: ``K``, the neighbour whose distance counts; at most the number of training rows.

        ``index``: ``"flat"`` (exact), or faiss's approximate ``"ivf"`` or ``"hnsw"``.
        Needs faiss: ``pip install "openood-multimodal[faiss]"``.
        """

        K: int = 50
        index: str = "flat"

        def __post_init__(self) -> None:
            require_whole("K", self.K, 1)
            if self.index not in INDEXES:
                raise UserError(f"knn.index is '{self.index}'.{did_you_mean(str(self.index), INDEXES)}")
            if self.index != "flat":
                load_faiss()  # before anything is read or fitted

    params: Params
    neighbours: Neighbours
    approximate: ApproximateIndex | None

    def __init__(self, params: Params | None = None, **overrides: Any) -> None:
        super().__init__(params, **overrides)
        self.fit_reads_params = (
            self.params.index != "flat"
        )  # an approximate index is made, and measured, for K

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters in force; ``index`` only where the search isn't exact, since it changes results then."""
        found = super().parameters
        if found["index"] == "flat":
            del found["index"]
        return found

    @property
    def limits(self) -> dict[str, int]:
        """At most as many neighbours as there are training rows."""
        return {"K": len(self.neighbours)} if self.fitted else {}

    def learn(self, shared: Shared) -> None:
        """Take the training rows to be searched.

        Raises:
            UserError: where K exceeds the number of training rows.
        """
        train = shared.train_set
        self._check_size(len(train))
        self.neighbours = Neighbours(train.features, shared.norms, shared.arithmetic)
        self.approximate = None
        if self.params.index != "flat":
            self.approximate = ApproximateIndex(self.params.index, train.features, self.params.K)
            recall, rows = self.approximate.recall(train.features, self.params.K)
            self.notes.append(
                f"knn: approximate search ({self.params.index}); recall@{self.params.K} is {recall:.4f}, "
                f"measured on {rows} training rows."
            )

    def score_rows(self, rows: Rows) -> Scores:
        """Return minus the squared distance to the K-th neighbour."""
        self._check_size(len(self.neighbours))
        if self.approximate is not None:
            return Scores(rows.pred, -self.approximate.squared_distance(rows.features, self.params.K))
        distances: Floats = self.neighbours.squared_distance(
            rows.stored, rows.norms, self.params.K, rows.set_rows
        )
        return Scores(rows.pred, -distances)

    def confidences_of_shards(self, features: NDArray[Any], options: ScoringOptions) -> Floats | None:
        """Return minus the squared distances ``[N]``, where the search is exact: workers search shards of the bank."""
        self._check_size(len(self.neighbours))
        if self.predictor() is self:
            return None
        return -squared_distances_of_shards(self.neighbours.features, features, self.params.K, options)

    def predictor(self) -> Postprocessor:
        """Return a score of the same predictions, where the search is exact."""
        own = self.approximate is not None or type(self).score_rows is not KNN.score_rows
        return self if own else MSP().fit(None, None, self.head)

    def _check_size(self, rows: int) -> None:
        if rows < self.params.K:
            raise UserError(f"knn: K={self.params.K} exceeds the {rows} training rows; set a smaller knn.K.")
