"""KNN as a score: approximate only when asked for, and then measured."""

from __future__ import annotations

import pickle
import sys
from typing import Any

import numpy as np
import pytest

from openood_multimodal.arrays import Embeddings, LinearHead
from openood_multimodal.errors import UserError
from openood_multimodal.postprocessors import KNN


def fitted(make_problem: Any, **params: Any) -> tuple[KNN, Any]:
    problem = make_problem(rows=600, test_rows=80)
    return KNN(**params).fit(problem.train, None, problem.head), problem


@pytest.mark.parametrize("index", ["ivf", "hnsw"])
def test_an_approximate_index_is_measured_and_noted(make_problem: Any, index: str) -> None:
    pytest.importorskip("faiss")
    exact, problem = fitted(make_problem, K=10)
    score, _ = fitted(make_problem, K=10, index=index)
    assert score.parameters == {"K": 10, "index": index}
    (note,) = score.notes
    assert f"knn: approximate search ({index}); recall@10 is " in note
    assert "on 256 training rows" in note
    recall = float(note.split(" is ")[1].split(",")[0])
    assert 0.5 < recall <= 1.0
    close = score.score(problem.test).conf
    right = exact.score(problem.test).conf
    assert (close <= right + 1e-5).all()  # what is found is never nearer than the nearest
    assert np.corrcoef(close, right)[0, 1] > 0.9


def test_the_recall_is_that_of_the_index(make_problem: Any) -> None:
    pytest.importorskip("faiss")
    from openood_multimodal.linalg.indexes import ApproximateIndex

    train = make_problem(rows=600).train.features
    index = ApproximateIndex("hnsw", train, 10)
    assert index.recall(train, 10) == (1.0, 256)

    class Blind:
        def search(self, queries: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray]:
            return np.zeros((len(queries), rank), "f4"), np.full((len(queries), rank), -1)

    index._index = Blind()
    assert index.recall(train, 10) == (0.0, 256)
    np.testing.assert_array_equal(index.squared_distance(train[:3].astype(float), 10), 4.0)


def test_exact_search_is_no_parameter(make_problem: Any) -> None:
    score, _ = fitted(make_problem, K=10)
    assert score.parameters == {"K": 10}
    assert score.notes == []
    with pytest.raises(UserError, match=r"knn.index is 'hsnw'. Did you mean 'hnsw'"):
        KNN(index="hsnw")


def test_without_faiss_an_approximate_index_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    assert KNN(index="flat").params.index == "flat"
    with pytest.raises(UserError, match=r'needs faiss .*pip install "openood-multimodal\[faiss\]"'):
        KNN(index="ivf")


def test_a_pickled_score_finds_the_same(make_problem: Any) -> None:
    score, problem = fitted(make_problem, K=10)
    right = score.score(problem.test).conf
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(score)).score(problem.test).conf, right)


def test_head_is_not_needed_for_the_distance(make_problem: Any) -> None:
    problem = make_problem()
    logits = problem.head.logits(problem.test.features)
    test = Embeddings(problem.test.features, problem.test.labels, logits)
    with_head = KNN(K=5).fit(problem.train, None, problem.head).score(test)
    without = KNN(K=5).fit(problem.train, None, None).score(test)
    np.testing.assert_array_equal(with_head.conf, without.conf)
    assert isinstance(problem.head, LinearHead)


def test_an_approximate_index_follows_a_k_that_is_set_later(make_problem: Any) -> None:
    pytest.importorskip("faiss")
    score, problem = fitted(make_problem, K=200, index="hnsw")
    score.args_dict = {"K_list": [5]}
    score.set_hyperparam([5])
    fresh, _ = fitted(make_problem, K=5, index="hnsw")
    assert score.notes == fresh.notes
    assert "recall@5 is" in score.notes[0]
    np.testing.assert_array_equal(score.score(problem.test).conf, fresh.score(problem.test).conf)
    assert not KNN().fit_reads_params
