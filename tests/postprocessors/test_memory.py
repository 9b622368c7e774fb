"""What a score's memory holds of the training rows: `grows` says it, and flat memory is flat."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import sklearn.ensemble
import sklearn.svm  # noqa: F401
import torch._dynamo  # noqa: F401  (optimisers ask for it)

from openood_multimodal.arrays import Embeddings, LinearHead
from openood_multimodal.linalg import neighbours, statistics
from openood_multimodal.postprocessors import rpo
from openood_multimodal.postprocessors.run import all_scores
from openood_multimodal.registry import POSTPROCESSORS

FEW, MANY, DIM, CLASSES = 1000, 2000, 64, 10
A_ROW = 64.0
"""Bytes: a norm, a label, an index and copies of them; an embedding has 256."""

PARAMETERS: dict[str, dict[str, Any]] = {
    "class_centres": {"epochs": 1},
    "dte_c": {"steps": 2},
    "flow": {"epochs": 1, "hidden": 8},
    "heat": {"steps": 2, "hidden": 16},
    "iforest": {"trees": 2},
    "low_variance": {"variance": 0.2},
    "nac": {"valid_num": 200},
    "nl_invariants": {"steps": 1, "layers": 1},
    "nnguide": {"K": 5, "alpha": 0.5},
    "ocsvm": {"rows": 300},
    "residual": {"dim": 8},
    "rpo": {"projections": 20},
    "vim": {"dim": 8},
}


@pytest.fixture(autouse=True)
def small_buffers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Buffers of a fixed size are full with few rows."""
    for name in ("CACHE_BYTES", "SIDE_BYTES", "PRODUCT_BYTES", "FINISH_BYTES", "PART_BYTES"):
        monkeypatch.setattr(neighbours, name, 8 * DIM * 250)
    monkeypatch.setattr(statistics, "COPY_BYTES", 1000)
    monkeypatch.setattr(statistics, "SAMPLE", 1000)
    monkeypatch.setattr(rpo, "HELD_BYTES", 8 * FEW)
    yield
    tracemalloc.stop()


@pytest.fixture(scope="module")
def problem() -> tuple[Any, LinearHead]:
    rng = np.random.default_rng(0)
    centres, halves = 2 * rng.standard_normal((CLASSES, DIM)), {"a": (0, DIM // 2), "b": (DIM // 2, DIM)}
    own = {name: LinearHead(centres[:, a:b] / 8, np.zeros(CLASSES)) for name, (a, b) in halves.items()}

    def draw(count: int) -> Embeddings:
        labels = np.arange(count) % CLASSES
        rows = (centres[labels] + rng.standard_normal((count, DIM))).astype(np.float32)
        return Embeddings(rows, labels, slices=halves)

    return draw, LinearHead(centres / 8, np.zeros(CLASSES), own)


@pytest.mark.parametrize("name", all_scores())
def test_memory_grows_by_the_training_rows_where_the_score_says_so(
    problem: tuple[Any, LinearHead], name: str
) -> None:
    draw, head = problem
    val, test = draw(60), draw(20)

    def peak(train: Embeddings) -> float:
        score = POSTPROCESSORS.get(name)(**PARAMETERS.get(name, {}))
        score.chunk_rows = 100
        tracemalloc.start()
        score.fit(train, val, head).score(test)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    few, many = draw(FEW), draw(MANY)
    peak(draw(100))  # what is loaded and made once
    a_row = (peak(many) - peak(few)) / (MANY - FEW)
    assert (a_row > A_ROW) == bool(POSTPROCESSORS.get(name).grows), f"{a_row:.0f} bytes a training row"
