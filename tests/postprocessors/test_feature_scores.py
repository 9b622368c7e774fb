"""react, ash, knn: against slow literal versions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openood_multimodal.arrays import Embeddings
from openood_multimodal.errors import UserError
from openood_multimodal.linalg.indexes import normalised
from openood_multimodal.linalg.unit_rows import unit_rows
from openood_multimodal.postprocessors import ASH, KNN, ReAct
from openood_multimodal.postprocessors.ash import shape_binary
from openood_multimodal.postprocessors.relation import Relation, RelationGraph
from openood_multimodal.postprocessors.softmax import softmax


def energy_of(features: np.ndarray, head: Any) -> np.ndarray:
    logits = features.astype(np.float64) @ head.weight.astype(np.float64).T + head.bias
    return np.log(np.exp(logits).sum(axis=1))


def literal_ash(row: np.ndarray, percent: float) -> np.ndarray:
    kept = len(row) - int(np.round(len(row) * percent / 100))
    order = sorted(range(len(row)), key=lambda j: (-row[j], j))[:kept]
    out = np.zeros(len(row))
    out[order] = row.sum() / kept
    return out


@pytest.mark.parametrize("percent", [0, 65, 90, 95])
def test_ash_is_binary_shaping_then_energy(make_problem: Any, percent: float) -> None:
    problem = make_problem()
    conf = ASH(percentile=percent).fit(head=problem.head).score(problem.test).conf
    shaped = np.stack([literal_ash(row.astype(float), percent) for row in problem.test.features])
    np.testing.assert_allclose(conf, energy_of(shaped, problem.head), rtol=1e-10)


def test_ash_per_modality(make_problem: Any) -> None:
    problem = make_problem()
    score = ASH.from_preset("multiood").fit(head=problem.head)
    columns = [problem.test.features[:, a:b].astype(float) for a, b in problem.test.slices.values()]
    shaped = np.hstack([np.stack([literal_ash(row, 90) for row in part]) for part in columns])
    np.testing.assert_allclose(score.score(problem.test).conf, energy_of(shaped, problem.head), rtol=1e-10)
    assert not np.allclose(
        score.score(problem.test).conf, ASH().fit(head=problem.head).score(problem.test).conf
    )


@given(st.integers(1, 12), st.integers(0, 95), st.integers(0, 10_000))
@settings(max_examples=80, deadline=None)
def test_shaping_with_many_ties(dim: int, percent: int, seed: int) -> None:
    features = np.random.default_rng(seed).integers(0, 3, (4, dim)).astype(float)
    if dim - int(np.round(dim * percent / 100)) < 1:
        with pytest.raises(UserError, match=f"keeps 0 of {dim} activations"):
            shape_binary(features, percent)
        return
    shaped = shape_binary(features, percent)
    np.testing.assert_allclose(shaped, np.stack([literal_ash(row, percent) for row in features]))
    np.testing.assert_allclose(shaped.sum(axis=1), features.sum(axis=1))


def test_react_clips_at_the_percentile_of_validation_features(make_problem: Any) -> None:
    problem = make_problem()
    score = ReAct(percentile=85).fit(problem.train, problem.val, problem.head)
    threshold = np.percentile(problem.val.features.astype(float), 85)
    assert score.thresholds == {"all": pytest.approx(threshold, rel=1e-7)}
    clipped = np.minimum(problem.test.features, threshold)
    np.testing.assert_allclose(score.score(problem.test).conf, energy_of(clipped, problem.head), rtol=1e-6)
    assert score.notes == []


def test_react_without_validation_says_so(make_problem: Any) -> None:
    problem = make_problem()
    score = ReAct().fit(problem.train, None, problem.head)
    assert score.thresholds["all"] == pytest.approx(np.percentile(problem.train.features, 90), rel=1e-6)
    assert "no validation features" in score.notes[0]
    with pytest.raises(UserError, match="needs val"):
        ReAct().fit(None, None, problem.head)


def test_react_per_modality(make_problem: Any) -> None:
    problem = make_problem()
    score = ReAct.from_preset("multiood").fit(None, problem.val, problem.head)
    clipped = problem.test.features.astype(float).copy()
    for start, stop in problem.val.slices.values():
        threshold = np.percentile(problem.val.features[:, start:stop].astype(float), 90)
        clipped[:, start:stop] = np.minimum(clipped[:, start:stop], threshold)
    np.testing.assert_allclose(score.score(problem.test).conf, energy_of(clipped, problem.head), rtol=1e-6)
    assert set(score.thresholds) == {"video", "flow"}


def test_per_modality_needs_slices(make_problem: Any) -> None:
    problem = make_problem()
    bare = Embeddings(problem.val.features, problem.val.labels)
    with pytest.raises(UserError, match="give their slices"):
        ReAct.from_preset("multiood").fit(None, bare, problem.head)
    with pytest.raises(UserError, match="give their slices"):
        ASH.from_preset("multiood").fit(head=problem.head).score(bare)
    short = Embeddings(problem.val.features, problem.val.labels, slices={"video": (0, 5)})
    with pytest.raises(UserError, match="the slices cover 5 columns, but the features have 24"):
        ASH.from_preset("multiood").fit(head=problem.head).score(short)
    other = Embeddings(problem.val.features, problem.val.labels, slices={"audio": (0, 24)})
    with pytest.raises(UserError, match="was fitted on the slices"):
        ReAct.from_preset("multiood").fit(None, problem.val, problem.head).score(other)


def test_knn_is_the_squared_distance_to_the_kth_neighbour(make_problem: Any) -> None:
    problem = make_problem()
    unit = [
        x.features.astype(float) / np.linalg.norm(x.features.astype(float), axis=1, keepdims=True)
        for x in (problem.train, problem.test)
    ]
    distances = np.square(unit[1][:, None] - unit[0][None]).sum(axis=2)
    for k in (1, 10, 90):
        conf = KNN(K=k).fit(problem.train, None, problem.head).score(problem.test).conf
        np.testing.assert_allclose(conf, -np.sort(distances, axis=1)[:, k - 1], atol=2e-6)


def test_knn_with_more_neighbours_than_rows_names_both(make_problem: Any) -> None:
    problem = make_problem(rows=30)
    with pytest.raises(UserError, match="K=50 exceeds the 30 training rows"):
        KNN().fit(problem.train, None, problem.head)
    score = KNN(K=10).fit(problem.train, None, problem.head)
    score.set_hyperparam([31])
    with pytest.raises(UserError, match="K=31 exceeds the 30"):
        score.score(problem.test)


def test_normalising_is_openoods() -> None:
    features = np.random.default_rng(0).standard_normal((6, 8)).astype(np.float32)
    theirs = features / np.linalg.norm(features, axis=-1, keepdims=True) + 1e-10
    np.testing.assert_allclose(normalised(features), theirs, rtol=3e-7)
    np.testing.assert_array_equal(normalised(np.zeros((1, 8))), np.float32(1e-10))


def test_knn_of_a_row_of_zeros_is_finite(make_problem: Any) -> None:
    problem = make_problem()
    zeros = Embeddings(np.zeros((2, 24), "f4"), np.array([-1, -1]))
    conf = KNN(K=5).fit(problem.train, None, problem.head).score(zeros).conf
    np.testing.assert_allclose(conf, -1.0, atol=1e-5)


def test_relations_in_float32_are_those_in_float64(
    make_problem: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = make_problem()
    rows = problem.train.features.astype(np.float64)
    expected = Relation().fit(problem.train, None, problem.head).score(problem.test).conf
    monkeypatch.setattr("openood_multimodal.postprocessors.relation.SMALL", 0)
    p = softmax(problem.head.logits(rows))
    graphs = [RelationGraph(each, p, np.linalg.norm(each.astype(float), axis=1))
              for each in (problem.train.features, (rows * 1e-30).astype(np.float32), rows * 1e60)]  # fmt: skip
    assert np.count_nonzero(expected) > 10
    q, unit = softmax(problem.head.logits(problem.test.features)), unit_rows(problem.test.features)
    for graph in graphs:
        found = np.zeros(len(expected))
        for where, _, relation in graph.relations(unit, q):
            assert relation.dtype == np.float32
            found[where] += relation.sum(axis=1)
        np.testing.assert_allclose(found, expected, rtol=1e-5)
