"""Approximate neighbour search by faiss, for those who ask for it; with its recall measured."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arithmetic import Floats
from .rows import feature_blocks, row_norms
from .threads import load_faiss

Floats32 = NDArray[np.float32]

INDEXES = ("flat", "ivf", "hnsw")

RECALL_ROWS = 256
"""Training rows that the recall is measured on."""

_LINKS, _BUILD_DEPTH = 32, 80  # of a row in the HNSW graph, as faiss's own examples have them


def normalised(features: NDArray[Any]) -> Floats32:
    """Return float32 ``x / ‖x‖ + 1e-10`` of ``[B, D]`` features; a row of zeros stays at 1e-10."""
    values = np.asarray(features, dtype=np.float64)
    norms = row_norms(values)[:, None]
    return np.ascontiguousarray(values / np.where(norms > 0.0, norms, 1.0) + 1e-10, dtype=np.float32)


class ApproximateIndex:
    """An index over the normalised training rows, which it holds in float32.

    ``ivf``: 4 √N lists (k-means cells), of which a sixteenth, at least 8, are searched.  ``hnsw``: a graph of
    32 links a row, searched 2 K deep, at least 64.

    Args:
        kind: ``"ivf"`` or ``"hnsw"``.
        features: ``[N, D]``.
        rank: K.
    """

    def __init__(self, kind: str, features: NDArray[Any], rank: int) -> None:
        faiss = load_faiss()

        count, dim = features.shape
        self.kind = kind
        self._index: Any
        if kind == "ivf":
            lists = max(
                1, min(int(4 * np.sqrt(count)), count // 39)
            )  # faiss wants 39 rows a list to train on
            self._index = faiss.IndexIVFFlat(faiss.IndexFlatL2(dim), dim, lists)
            self._index.nprobe = min(lists, max(8, lists // 16))
            chosen = np.linspace(0, count - 1, min(count, 64 * lists)).astype(np.int64)
            self._index.train(normalised(features[chosen]))
        else:
            self._index = faiss.IndexHNSWFlat(dim, _LINKS)
            self._index.hnsw.efConstruction = _BUILD_DEPTH
            self._index.hnsw.efSearch = max(64, 2 * rank)
        for _, block in feature_blocks(features):
            self._index.add(normalised(block))

    def squared_distance(self, features: Floats, rank: int) -> Floats:
        """Return ``[B]``, squared distances to the ``rank``-th of the rows found (the last one found, if fewer)."""
        distances, found = self._index.search(normalised(features), rank)
        missing = (found < 0).sum(axis=1)
        last = np.maximum(rank - 1 - missing, 0)
        values = distances[np.arange(len(distances)), last].astype(np.float64)
        values[missing == rank] = 4.0  # no row found: as far as unit vectors get
        return values

    def recall(self, features: NDArray[Any], rank: int) -> tuple[float, int]:
        """Return the share of the true ``rank`` nearest that the index finds, and the number of rows tried.

        Tried on training rows spread evenly; each one is itself among its neighbours, and isn't counted.
        """
        faiss = load_faiss()

        count = len(features)
        chosen = np.linspace(0, count - 1, min(count, RECALL_ROWS)).astype(np.int64)
        rank = min(rank + 1, count)
        queries = normalised(features[chosen])
        exact = np.full((len(chosen), rank), -1, dtype=np.int64)
        heap = np.full((len(chosen), rank), np.inf, dtype=np.float32)
        for where, block in feature_blocks(features):
            values, columns = faiss.knn(queries, normalised(block), min(rank, len(block)))
            heap = np.concatenate([heap, values], axis=1)
            exact = np.concatenate([exact, columns + where.start], axis=1)
            order = np.argsort(heap, axis=1, kind="stable")[:, :rank]
            heap = np.take_along_axis(heap, order, axis=1)
            exact = np.take_along_axis(exact, order, axis=1)
        _, found = self._index.search(queries, rank)
        hits = total = 0
        for own, right, tried in zip(chosen, exact, found, strict=True):
            wanted = set(right.tolist()) - {int(own)}
            hits += len(wanted & set(tried.tolist()))
            total += len(wanted)
        return (hits / total if total else 1.0), len(chosen)
