"""Splits against slow, literal versions."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openood_multimodal.datasets.table_splits import (
    contiguous_runs,
    draw_partitions,
    grouped_runs,
    ordered_rows,
    rounded_share,
)
from openood_multimodal.errors import UserError


@given(st.integers(0, 10_000), st.integers(0, 100))
def test_rounds_half_up(count: int, percent: int) -> None:
    share = rounded_share(count, percent)
    assert -50 <= 100 * share - percent * count <= 50
    if (percent * count) % 100 == 50:
        assert share == math.ceil(percent * count / 100)


def test_runs() -> None:
    assert contiguous_runs(["a", "a", "b", "a", "a"]).tolist() == [0, 0, 1, 2, 2]
    assert contiguous_runs([]).tolist() == []


def literal_grouped(names: list[str], classes: list[str], rotation: int) -> dict[str, list[int]]:
    runs = [
        (name, [i for i, _ in rows]) for name, rows in itertools.groupby(enumerate(names), lambda r: r[1])
    ]
    result: dict[str, list[int]] = {"train": [], "val": [], "test": []}
    for name in classes:
        of_class = [rows for n, rows in runs if n == name]
        held_out = rotation % len(of_class)
        for place, rows in enumerate(of_class):
            if place == held_out:
                result["test"] += rows
                continue
            last = max(1, math.floor(len(rows) * 15 / 100 + 0.5))
            result["train"] += rows[:-last]
            result["val"] += rows[-last:]
    return {key: sorted(rows) for key, rows in result.items()}


run_list = st.lists(st.tuples(st.sampled_from("ab"), st.integers(2, 40)), max_size=6).map(
    lambda runs: [("a", 3), ("c", 2), ("b", 4), *runs, ("a", 2), ("c", 5), ("b", 2), ("a", 2)]
)


@given(run_list, st.integers(0, 50))
def test_grouped_is_the_literal_version(runs: list[tuple[str, int]], rotation: int) -> None:
    names = [name for name, count in runs for _ in range(count)]
    split = grouped_runs(names, ["a", "b"], rotation)
    expected = literal_grouped(names, ["a", "b"], rotation)
    assert {key: getattr(split, key).tolist() for key in expected} == expected
    number = contiguous_runs(names)
    fitted = set(number[split.train]) | set(number[split.val])
    assert not fitted & set(number[split.test])
    assert not set(split.train) & set(split.val)


def test_consecutive_rotations_visit_every_run() -> None:
    names = list("aabbaabbaabb")
    tested = [set(grouped_runs(names, ["a", "b"], rotation).test.tolist()) for rotation in range(3)]
    assert set().union(*tested) == set(range(12))
    assert sum(map(len, tested)) == 12


def test_grouped_needs_runs_and_rows() -> None:
    with pytest.raises(UserError, match="class 'b' has 1 run"):
        grouped_runs(list("aabba"), ["b"], 0)
    with pytest.raises(UserError, match="class 'z' has 0 run"):
        grouped_runs(list("aabba"), ["z"], 0)
    with pytest.raises(UserError, match=r"training run of 1 row \(row 3\)"):
        grouped_runs(list("aaba"), ["a"], 0)


def test_ordered_keeps_the_order_of_the_file() -> None:
    names = ["a", "b"] * 10
    split = ordered_rows(names, ["b"])
    assert split.train.tolist() == [1, 3, 5, 7, 9, 11]  # 10 rows: 1.5 rounds up to 2, twice
    assert split.val.tolist() == [13, 15]
    assert split.test.tolist() == [17, 19]


def test_ordered_of_two_hundred() -> None:
    split = ordered_rows(["a"] * 200, ["a"])
    assert [len(part) for part in (split.train, split.val, split.test)] == [140, 30, 30]


def test_ordered_needs_rows() -> None:
    ordered_rows(["a"] * 4, ["a"])
    with pytest.raises(UserError, match="class 'a' has 3 rows"):
        ordered_rows(["a"] * 3, ["a"])


def test_partitions_are_all_of_them_once() -> None:
    drawn = draw_partitions(list("abcdefg"), [4, 3], 35, seed=1)
    assert set(drawn) == {
        (known, tuple(c for c in "abcdefg" if c not in known))
        for known in itertools.combinations("abcdefg", 4)
    }
    assert len(set(drawn)) == 35
    assert drawn == draw_partitions(list("abcdefg"), [4, 3], 35, seed=1)
    assert drawn != draw_partitions(list("abcdefg"), [4, 3], 35, seed=2)
    assert drawn[:5] == draw_partitions(list("abcdefg"), [4, 3], 5, seed=1)


def test_partitions_of_three_parts() -> None:
    for parts in draw_partitions(list("abcdef"), [3, 2, 1], 20, seed=0):
        assert sorted(itertools.chain(*parts)) == list("abcdef")
        assert [len(part) for part in parts] == [3, 2, 1]
        assert all(list(part) == sorted(part) for part in parts)


def test_partitions_must_fit() -> None:
    with pytest.raises(ValueError, match="add up"):
        draw_partitions(list("abc"), [2, 2], 1, 0)
    with pytest.raises(ValueError, match="there are 3"):
        draw_partitions(list("abc"), [2, 1], 4, 0)


def test_rows_are_int64() -> None:
    assert ordered_rows(["a"] * 8, ["a"]).train.dtype == np.int64
