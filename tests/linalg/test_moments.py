"""Sums of outer products, against NumPy in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from openood_multimodal.linalg import moments
from openood_multimodal.linalg.arithmetic import Arithmetic
from openood_multimodal.linalg.moments import MomentSum, leading_directions, quadratic_forms
from openood_multimodal.linalg.torch_arithmetic import TorchArithmetic

BOTH = pytest.mark.parametrize("arithmetic", [Arithmetic(), TorchArithmetic("cpu")], ids=["blas", "torch"])


def decaying(rows: int, dim: int, decay: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    turn, _ = np.linalg.qr(np.random.default_rng(99).standard_normal((dim, dim)))
    values = rng.standard_normal((rows, dim)) * np.arange(1, dim + 1) ** -decay
    return (values @ turn).astype(np.float32)


@BOTH
@pytest.mark.parametrize("blocks", [1, 3, 7])
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 2e-7), (np.float64, 1e-15)])
def test_the_sum(
    arithmetic: Arithmetic, dtype: Any, tolerance: float, blocks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moments, "FLUSH_ROWS", 100)
    rows = decaying(700, 80, 1.0)
    literal = rows.T.astype(float) @ rows.astype(float)
    for directions in (None, leading_directions(rows[::3])):
        moment = MomentSum(80, arithmetic, dtype, directions)
        for part in np.array_split(rows, blocks):
            moment.add(part.astype(dtype))
        probes = np.random.default_rng(5).standard_normal((4, 80))
        if dtype is np.float32:
            np.testing.assert_allclose(moment.forms(probes), quadratic_forms(rows, probes), rtol=1e-5)
        left, right = np.random.default_rng(6).standard_normal((2, 80, 3))
        total = moment.total(left, right) - left @ right.T - right @ left.T
        np.testing.assert_allclose(total, literal, atol=tolerance * np.trace(literal))


def test_taking_out_directions_earns_digits() -> None:
    rows = decaying(3000, 256, 1.3)
    literal = rows.T.astype(float) @ rows.astype(float)
    values, vectors = np.linalg.eigh(literal)
    white = vectors / np.sqrt(values)
    errors = []
    for directions in (None, leading_directions(rows[:600])):
        moment = MomentSum(256, Arithmetic(), np.float32, directions)
        moment.add(rows)
        errors.append(np.abs(white.T @ (moment.total() - literal) @ white).max())
    assert errors[1] < 0.05 * errors[0]
    assert errors[1] < 1e-5


@pytest.mark.parametrize("count", [100, 400])
def test_leading_directions(count: int) -> None:
    rows = decaying(count, 128, 2.0)
    directions = leading_directions(rows)
    assert directions is not None
    assert directions.dtype == np.float32
    assert directions.shape == (128, 16)
    np.testing.assert_allclose(directions.T @ directions, np.eye(16), atol=1e-4)
    left = rows - rows @ directions @ directions.T
    assert np.square(left).sum() < 1e-3 * np.square(rows).sum()
    assert leading_directions(rows[:20]) is None
    assert leading_directions(rows[:, :50]) is None
    assert leading_directions(np.zeros((100, 100), dtype=np.float32)) is None


def test_quadratic_forms() -> None:
    rows, probes = np.random.default_rng(0).standard_normal((2, 6, 4))
    np.testing.assert_allclose(quadratic_forms(rows, probes), np.diag(probes @ rows.T @ rows @ probes.T))
