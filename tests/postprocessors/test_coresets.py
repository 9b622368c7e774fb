"""Nearest neighbours in a coreset."""

from __future__ import annotations

import numpy as np
import pytest
from literal_scores import make_case, unit

from openood_multimodal.arrays import Embeddings
from openood_multimodal.errors import UserError
from openood_multimodal.postprocessors.knn_variants import KNNCoreset, farthest_first


def test_farthest_first_is_greedy() -> None:
    points = np.random.default_rng(0).standard_normal((30, 3))
    expected = [0]
    while len(expected) < 12:
        nearest = [min(np.linalg.norm(x - points[i]) for i in expected) for x in points]
        expected.append(int(np.argmax(nearest)))
    assert farthest_first(points, 12).tolist() == expected
    assert sorted(farthest_first(np.ones((5, 2)), 5)) == [0, 1, 2, 3, 4]  # duplicates: each row once


def test_the_distance_is_to_the_coreset() -> None:
    problem = make_case("more_rows_than_columns")  # 24 columns: no projection
    score = KNNCoreset(ratio=0.2, K=2).fit(problem.train, None, problem.head)
    bank = unit(problem.train.features)
    bank = bank[farthest_first(bank, 20)]
    expected = [-np.sort(np.square(bank - x).sum(axis=1))[1] for x in unit(problem.test.features)]
    np.testing.assert_allclose(score.score(problem.test).conf, expected, rtol=1e-9)


def test_a_wide_coreset_is_the_seed_s() -> None:
    problem = make_case("fewer_rows_than_columns")
    wide = [np.hstack([each.features] * 3) for each in (problem.train, problem.test)]  # 180 columns
    train, test = (
        Embeddings(x, each.labels, x @ np.ones((180, 4)))
        for x, each in zip(wide, (problem.train, problem.test), strict=True)
    )
    found = [KNNCoreset(seed=seed).fit(train).score(test).conf for seed in (0, 0, 1)]
    np.testing.assert_array_equal(found[0], found[1])
    assert not np.array_equal(found[0], found[2])


def test_more_neighbours_than_the_coreset_has_rows() -> None:
    problem = make_case("more_rows_than_columns")
    with pytest.raises(
        UserError, match=r"K=11 exceeds the 10 rows of the coreset; set a smaller K, or a larger"
    ):
        KNNCoreset(K=11).fit(problem.train, None, problem.head)
