"""Options, threads, devices; and torch's products beside BLAS's."""

from __future__ import annotations

import os
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info

from openood_multimodal.errors import UserError
from openood_multimodal.linalg import threads as module
from openood_multimodal.linalg.arithmetic import Arithmetic, mirror, values_below
from openood_multimodal.linalg.threads import computing
from openood_multimodal.linalg.torch_arithmetic import arithmetic_for
from openood_multimodal.postprocessors.options import ScoringOptions


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"threads": 0}, "threads must be at least 1"),
        ({"threads": 1.5}, "threads must be a whole number"),
        ({"chunk_rows": 0}, "chunk_rows must be at least 1"),
        ({"precision": "float23"}, "precision is 'float23'. Did you mean 'float32'"),
        ({"device": "gpu"}, "device is 'gpu'; write cpu, cuda or cuda:0"),
        ({"device": "cpu:1"}, "device is 'cpu:1'"),
        ({"device": "cuda:x"}, "device is 'cuda:x'"),
    ],
)
def test_options_are_checked(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        ScoringOptions(**change)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_cuda_device_that_is_not_there_is_one_error() -> None:
    with pytest.raises(
        UserError, match=r"device is 'cuda', and torch sees no CUDA device here; use device=.cpu."
    ):
        arithmetic_for("cuda")


def _threads() -> tuple[int, set[int]]:
    return torch.get_num_threads(), {each["num_threads"] for each in threadpool_info()}


def test_threads_are_restored_also_after_an_error() -> None:
    with computing(2):
        before = _threads()
        assert before == (2, {2})
        with computing(1):
            assert _threads() == (1, {1})
        assert _threads() == before
        with computing(None):
            assert _threads() == before
    outside = _threads()
    with pytest.raises(RuntimeError, match="stop"), computing(2):
        raise RuntimeError("stop")
    assert _threads() == outside


def test_torch_does_not_shorten_float32() -> None:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with computing(None):
            assert torch.get_float32_matmul_precision() == "highest"
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)


def test_sums_of_squares(arithmetic: Arithmetic) -> None:
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((50, 17))
    rows.flags.writeable = False
    total = arithmetic.zeros(17)
    for part in (rows[:20], rows[20:]):
        total = arithmetic.add_gram(total, arithmetic.put(part, np.float64))
    left, right = rng.standard_normal((2, 17, 4))
    whole = arithmetic.symmetric(arithmetic.add_outer(total, left, right))
    np.testing.assert_array_equal(whole, whole.T)
    np.testing.assert_allclose(whole, rows.T @ rows + left @ right.T + right @ left.T, atol=1e-12)


def test_factors_and_triangular_solves(arithmetic: Arithmetic) -> None:
    rng = np.random.default_rng(1)
    root = rng.standard_normal((30, 9))
    matrix = root.T @ root
    factor = arithmetic.cholesky(matrix)
    lower = arithmetic.get(factor)
    np.testing.assert_allclose(np.tril(lower) @ np.tril(lower).T, matrix, rtol=1e-12, atol=1e-12)
    rows = rng.standard_normal((5, 9))
    solved = arithmetic.get(arithmetic.solve(factor, arithmetic.put(rows.copy(), np.float64)))
    np.testing.assert_allclose(solved @ np.tril(lower).T, rows, rtol=1e-9)
    assert 1 / np.linalg.cond(matrix, 1) == pytest.approx(
        arithmetic.reciprocal_condition(matrix, factor), rel=0.9
    )
    assert arithmetic.cholesky(np.diag([1.0, -1.0])) is None


@pytest.mark.parametrize("count", [1, 5, 40, 60])
def test_the_smallest_of_each_row(arithmetic: Arithmetic, count: int) -> None:
    values = np.random.default_rng(2).standard_normal((7, 40)).astype(np.float32)
    found, columns = arithmetic.smallest(arithmetic.put(values, np.float32), count)
    np.testing.assert_array_equal(np.take_along_axis(values, columns, axis=1), found)
    np.testing.assert_array_equal(np.sort(found, axis=1), np.sort(values, axis=1)[:, :count])


def test_values_below_a_bound() -> None:
    values = np.random.default_rng(3).standard_normal((50, 30)).astype(np.float32)
    bound = np.full(50, -1.0, dtype=np.float32)
    bound[7] = -10.0
    found = values_below(values, bound, 30)
    assert found is not None
    kept, columns = found
    for row in range(50):
        there = np.isfinite(kept[row])
        np.testing.assert_array_equal(kept[row, there], values[row, values[row] < bound[row]])
        np.testing.assert_array_equal(values[row, columns[row, there]], kept[row, there])
    assert values_below(values, bound, 2) is None
    none = values_below(values, np.full(50, -10.0, dtype=np.float32), 2)
    assert none is not None
    assert none[0].shape == (50, 0)


@pytest.mark.parametrize("order", [3, 11])
def test_mirror(order: int) -> None:
    matrix = np.random.default_rng(4).standard_normal((order, order))
    expected = np.tril(matrix) + np.tril(matrix, -1).T
    mirror(matrix, step=4)
    np.testing.assert_array_equal(matrix, expected)


def test_torch_loaded_late_gets_the_threads_in_force(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    monkeypatch.delitem(module.sys.modules, "torch")
    calls: list[int] = []

    class Late:
        @staticmethod
        def get_num_threads() -> int:
            return 7

        set_num_threads = staticmethod(calls.append)
        get_float32_matmul_precision = staticmethod(lambda: "highest")

    late = SimpleNamespace(import_module=lambda name: module.sys.modules.setdefault(name, Late))
    with computing(1):
        monkeypatch.setattr(module, "importlib", late)
        assert module.load_torch() is Late
        assert calls == [1]
    assert calls == [1, 7]
    monkeypatch.setitem(module.sys.modules, "torch", torch)
    assert torch.get_num_threads() == before


IN_A_PROCESS = """
import sys
from threadpoolctl import threadpool_info, threadpool_limits
from openood_multimodal.postprocessors.options import ScoringOptions
from openood_multimodal.linalg.threads import computing, load_faiss, load_torch

threadpool_limits(2)
threads = lambda: {each["num_threads"] for each in threadpool_info()}
before = threads()
try:
    with computing(2), computing(1):
        torch, faiss = load_torch(), load_faiss()
        assert threads() == {1}, threads()
        assert torch.get_num_threads() == faiss.omp_get_max_threads() == 1
        raise ValueError("as a score may")
except ValueError:
    pass
assert torch.get_num_threads() == 2 and faiss.omp_get_max_threads() == 2, threads()
backend = torch.backends.cuda.matmul
set_by, value = sys.argv[1].split("=")
if set_by == "old":
    torch.set_float32_matmul_precision(value)
    state = torch.get_float32_matmul_precision
else:
    if not hasattr(backend, "fp32_precision"):
        sys.exit()
    (backend if set_by == "backend" else torch.backends).fp32_precision = value
    state = lambda: (torch.backends.fp32_precision, backend.fp32_precision)
found = state()
with computing(None):
    assert state() == "highest" if set_by == "old" else backend.fp32_precision == "ieee"
assert state() == found
"""


@pytest.mark.parametrize("torch_precision", ["old=high", "backend=tf32", "all=tf32"])
def test_nothing_is_left_changed(torch_precision: str) -> None:
    pytest.importorskip("faiss")
    words = [sys.executable, "-c", IN_A_PROCESS, torch_precision]
    two = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "2")
    done = subprocess.run(words, capture_output=True, text=True, env={**os.environ, **two}, check=False)
    assert done.returncode == 0, done.stderr
