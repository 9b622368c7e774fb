"""Parts of an array worked on by several threads."""

from __future__ import annotations

import threading
from contextlib import nullcontext

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from openood_multimodal.arrays import LinearHead
from openood_multimodal.linalg import threads
from openood_multimodal.linalg.rows import block_slices, row_norms
from openood_multimodal.postprocessors.rows import float64_logits

PARTS = list(block_slices(40, 1, 5))


def test_logits_and_norms_do_not_depend_on_the_threads() -> None:
    rng = np.random.default_rng(0)
    features = rng.standard_normal((600, 4352), dtype=np.float32)
    head = LinearHead(
        rng.standard_normal((65, 4352), dtype=np.float32), rng.standard_normal(65, dtype=np.float32)
    )
    found = []
    for count in (1, 2):
        with threadpool_limits(count, user_api="blas"):
            found.append((float64_logits(head, features), row_norms(features)))
    (logits, norms), others = found
    np.testing.assert_array_equal(others[0], logits)
    np.testing.assert_array_equal(others[1], norms)
    literal = features.astype(np.float64)
    np.testing.assert_allclose(logits, literal @ head.weight.T.astype(np.float64) + head.bias, rtol=1e-10)
    np.testing.assert_allclose(norms, np.sqrt((literal**2).sum(axis=1)), rtol=1e-14)


def test_a_thread_takes_one_of_the_blas_and_the_callers_error_state() -> None:
    seen = list[tuple[int, str, set[int]]]()

    def look(where: slice) -> None:
        limits = {each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"}
        inside = list[slice]()
        threads.each(PARTS, inside.append)  # another call inside: in turn
        assert inside == PARTS
        seen.append((threading.get_ident(), np.geterr()["over"], limits))

    with threadpool_limits(2, user_api="blas"), np.errstate(over="raise"):
        threads.each(PARTS, look)
        assert {each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"} == {2}
    assert len(seen) == len(PARTS)
    assert threading.get_ident() not in {thread for thread, _, _ in seen}
    assert {limit for _, _, limits in seen for limit in limits} == {1}
    if int(np.__version__.split(".")[0]) >= 2:  # before, it belonged to the thread
        assert {over for _, over, _ in seen} == {"raise"}


def test_an_error_in_a_thread_is_the_callers() -> None:
    done = list[int]()

    def fail(where: slice) -> None:
        done.append(where.start)
        raise ValueError(f"row {where.start}")

    with threadpool_limits(2, user_api="blas"):
        for _ in range(2):  # it left nothing locked
            with pytest.raises(ValueError, match="row 0"):
                threads.each(PARTS, fail)
        assert {each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"} == {2}
    assert sorted(done) == sorted(2 * [part.start for part in PARTS])


def test_parts_are_worked_on_in_turn_where_another_thread_limits_the_blas(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Library:
        num_threads = 2

    class Controller:
        lib_controllers = (Library(),)

        def limit(self, limits: int) -> nullcontext[None]:
            return nullcontext()

    monkeypatch.setattr(threads, "_blas", Controller)
    seen = set[int]()
    threads.each(PARTS, lambda where: seen.add(threading.get_ident()))
    assert seen == {threading.get_ident()}
