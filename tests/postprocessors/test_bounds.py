"""Bounds by which a score leaves out what can't change it."""

from __future__ import annotations

import numpy as np
import pytest

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
