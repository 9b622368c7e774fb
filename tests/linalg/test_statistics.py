"""Order statistics against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from openood_multimodal.linalg import rows as rows_module
from openood_multimodal.linalg import statistics as stats


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
    for limit, sample in ((2**28, 1), (8, 1), (0, 1)):  # a copy, from a sample's bounds, digit by digit
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(stats, "COPY_BYTES", limit)
            patch.setattr(stats, "SAMPLE", sample)
            assert stats.percentile(array, percent) == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_percentile_in_blocks_and_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows_module, "BLOCK_BYTES", 8 * 11 * 3)  # three rows a block
    monkeypatch.setattr(stats, "COPY_BYTES", 0)
    array = np.random.default_rng(0).standard_normal((50, 11)).astype(np.float32)
    assert stats.percentile(array, 87.5, slice(3, 9)) == pytest.approx(
        np.percentile(array[:, 3:9].astype(float), 87.5), rel=1e-12
    )


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
@pytest.mark.parametrize("percent", [0, 50, 87.5, 99.9, 100])
def test_copies_and_digits_agree(dtype: str, percent: float, monkeypatch: pytest.MonkeyPatch) -> None:
    array = np.random.default_rng(1).standard_normal((300, 7)).astype(dtype)
    copied = stats.percentile(array, percent, slice(1, 6))
    monkeypatch.setattr(stats, "COPY_BYTES", 0)
    for chunk_rows in (None, 11):
        assert stats.percentile(array, percent, slice(1, 6), chunk_rows) == copied
    assert copied == pytest.approx(np.percentile(array[:, 1:6].astype(float), percent), rel=1e-12)


@pytest.mark.parametrize("kind", ["normal", "mostly zeros", "sorted", "constant"])
@pytest.mark.parametrize("percent", [0, 3, 50, 90, 99.99, 100])
def test_bounds_from_a_sample(kind: str, percent: float, monkeypatch: pytest.MonkeyPatch) -> None:
    array = np.random.default_rng(2).standard_normal((5000, 3)).astype(np.float32)
    if kind == "mostly zeros":
        array = np.maximum(array, 0)
    if kind == "sorted":
        array = np.sort(array, axis=0)
    if kind == "constant":
        array[:] = 3.0
    monkeypatch.setattr(stats, "SAMPLE", 600)
    monkeypatch.setattr(stats, "COPY_BYTES", array.nbytes - 1)
    digits = []
    original = stats._order_statistic
    monkeypatch.setattr(stats, "_order_statistic", lambda *given: digits.append(1) or original(*given))
    expected = np.percentile(array.astype(float), percent)
    for chunk_rows in (None, 77):
        assert stats.percentile(array, percent, slice(None), chunk_rows) == pytest.approx(expected, rel=1e-12)
    assert not digits
    monkeypatch.setattr(stats, "COPY_BYTES", 0)
    assert stats.percentile(array, percent) == pytest.approx(expected, rel=1e-12)
