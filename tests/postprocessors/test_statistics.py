"""Class means, scatters, order statistics and nearest distances against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from openood_multimodal.errors import UserError
from openood_multimodal.postprocessors import rows as rows_module
from openood_multimodal.postprocessors import statistics as stats
from openood_multimodal.postprocessors.spectra import nearest_squared_distance


@given(
    st.sampled_from([np.float16, np.float32, np.float64]).flatmap(
        lambda dtype: hnp.arrays(
            dtype,
            st.tuples(st.integers(1, 7), st.integers(1, 5)),
            elements=st.floats(-1000, 1000, width=np.dtype(dtype).itemsize * 8),
        )
    ),
    st.one_of(st.sampled_from([0, 50, 90, 100]), st.floats(0, 100)),
)
@settings(max_examples=150, deadline=None)
def test_percentile_is_numpys(array: np.ndarray, percent: float) -> None:
    expected = np.percentile(array.astype(np.float64), percent)
    assert stats.percentile(array, percent) == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_percentile_in_blocks_and_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows_module, "BLOCK_BYTES", 8 * 11 * 3)  # three rows a block
    array = np.random.default_rng(0).standard_normal((50, 11)).astype(np.float32)
    assert stats.percentile(array, 87.5, slice(3, 9)) == pytest.approx(
        np.percentile(array[:, 3:9].astype(float), 87.5), rel=1e-12
    )


def test_class_means_and_scatter_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows_module, "BLOCK_BYTES", 8 * 6 * 4)
    rng = np.random.default_rng(0)
    features, labels = rng.standard_normal((31, 6)).astype(np.float32), rng.permutation(np.arange(31) % 5)
    means, counts = stats.class_means(features, labels, 5)
    for c in range(5):
        np.testing.assert_allclose(means[c], features[labels == c].astype(float).mean(axis=0), rtol=1e-12)
        assert counts[c] == (labels == c).sum()
    centred = features - means[labels]
    source = stats.Centred(features, means, labels)
    np.testing.assert_allclose(source.rows(), centred, atol=1e-15)
    np.testing.assert_allclose(source.scatter(), centred.T @ centred / 31, atol=1e-14)
    np.testing.assert_allclose(stats.mean(features), features.astype(float).mean(axis=0), atol=1e-15)


def test_labels_are_checked() -> None:
    features = np.zeros((4, 2))
    with pytest.raises(UserError, match="label 7 at training row 2 is none of the head's 3 classes"):
        stats.class_means(features, np.array([0, 1, 7, 2]), 3)
    with pytest.raises(UserError, match="label -1 at training row 0"):
        stats.class_means(features, np.array([-1, 1, 1, 2]), 3)
    with pytest.raises(UserError, match="class 1 of 3 has 0 of the 4 training rows"):
        stats.class_means(features, np.array([0, 2, 2, 0]), 3)


@pytest.mark.parametrize("spread", [1.0, 1e6])
def test_nearest_distance_does_not_cancel(spread: float) -> None:
    rng = np.random.default_rng(0)
    centres = spread * rng.standard_normal((7, 9))
    points = centres[np.arange(40) % 7] + 1e-3 * rng.standard_normal((40, 9))
    literal = np.square(points[:, None] - centres[None]).sum(axis=2).min(axis=1)
    np.testing.assert_allclose(nearest_squared_distance(points, centres), literal, rtol=1e-12)


def test_nearest_distance_of_equal_points_is_zero() -> None:
    centres = np.full((129, 5), 1e5)
    np.testing.assert_array_equal(nearest_squared_distance(centres[:3], centres), 0.0)
