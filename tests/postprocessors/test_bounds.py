"""Bounds by which a score leaves out what can't change it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from openood_multimodal.postprocessors import rpo
from openood_multimodal.postprocessors.igeood import least_distances


@pytest.mark.parametrize("scale", [1e-6, 0.3, 1.0, 30.0, 1e60])
def test_fisher_rao_distances_are_above_their_bounds(scale: float) -> None:
    random = np.random.default_rng(0)
    points, others = scale * random.standard_normal((40, 60)), scale * random.standard_normal((7, 60))
    points[0], points[1, 3], points[2] = others[2], 1e3 * scale, 0.0
    exact = 8.0 * np.square(np.arcsinh(points[:, None] - others)).sum(axis=2)
    bound = least_distances(points, others)
    assert (bound <= exact).all()
    if scale <= 1.0:  # far apart, the bound is loose, and right
        assert np.median(bound[3:] / exact[3:]) > 0.8


def test_a_bound_that_overflows_says_nothing() -> None:
    points = np.array([[1e150, 0.0], [1.0, 2.0]])
    bound = least_distances(points, np.array([[0.0, 0.0], [1e150, 1.0]]))
    assert bound[0].tolist() == [0.0, 0.0]
    assert 0.0 < bound[1, 0] <= 8.0 * np.square(np.arcsinh([1.0, 2.0])).sum()


def test_projections_held_a_few_at_a_time_are_the_same(
    make_problem: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = make_problem()
    whole = rpo.RPO(projections=50).fit(problem.train, problem.val, problem.head)
    monkeypatch.setattr(rpo, "HELD_BYTES", 8 * len(problem.train) * 7)
    parts = rpo.RPO(projections=50).fit(problem.train, problem.val, problem.head)
    np.testing.assert_allclose(parts.score(problem.test).conf, whole.score(problem.test).conf, rtol=1e-12)
