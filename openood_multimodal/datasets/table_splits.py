"""Train, validation and test rows, and class partitions: pure functions of a table's classes and groups."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Split:
    """Rows of the three in-distribution sets, each int64, ascending, disjoint."""

    train: Rows
    val: Rows
    test: Rows


def contiguous_runs(class_names: Sequence[str] | NDArray[np.str_]) -> NDArray[np.int64]:
    """Return the number of the run of one class that each row belongs to: int64 ``[N]``, from 0."""
    names = np.asarray(class_names)
    if not len(names):
        return np.zeros(0, dtype=np.int64)
    return np.concatenate([[0], np.cumsum(names[1:] != names[:-1])]).astype(np.int64)


def rounded_share(count: int, percent: int) -> int:
    """Return ``percent`` of ``count``, rounded half up, in integer arithmetic."""
    return (percent * count + 50) // 100


def grouped_runs(
    class_names: Sequence[str] | NDArray[np.str_],
    classes: Sequence[str],
    rotation: int,
    val_percent: int = 15,
) -> Split:
    """Split without windows of one recording on both the training and the test side.

    The contiguous runs of a class stand for its recordings.  Of a class with R runs, run ``rotation mod R``
    is the test set; the others train, but for the last ``val_percent`` of each (at least one row), which
    validate.  Consecutive rotations visit every run.  All classes rotate together, because runs at the same
    place in the file may come from one session.

    Args:
        class_names: the class of each row, ``[N]``.
        classes: the in-distribution classes.
        rotation: 0, 1, ....
        val_percent: share of each training run that validates.

    Raises:
        UserError: when a class has fewer than two runs, or a training run fewer than two rows.
    """
    names = np.asarray(class_names)
    runs = contiguous_runs(names)
    train, val, test = [], [], []
    for name in classes:
        of_class = _rows_of(names, name)
        numbers = np.unique(runs[of_class])
        if len(numbers) < 2:
            raise UserError(
                f"class '{name}' has {len(numbers)} run of rows; the grouped split needs at least 2, one to "
                "test on."
            )
        held_out = numbers[rotation % len(numbers)]
        test.append(of_class[runs[of_class] == held_out])
        for number in numbers[numbers != held_out]:
            rows = of_class[runs[of_class] == number]
            last = max(1, rounded_share(len(rows), val_percent))
            if last >= len(rows):
                raise UserError(
                    f"class '{name}' has a training run of {len(rows)} row (row {rows[0]}); the grouped "
                    "split needs at least 2, one to validate on."
                )
            train.append(rows[:-last])
            val.append(rows[-last:])
    return Split(*(_ordered(part) for part in (train, val, test)))


def ordered_rows(
    class_names: Sequence[str] | NDArray[np.str_],
    classes: Sequence[str],
    val_percent: int = 15,
    test_percent: int = 15,
) -> Split:
    """Split each class in file order: first the training rows, then validation, then test.

    Raises:
        UserError: when a class has too few rows for one row in each set.
    """
    names = np.asarray(class_names)
    train, val, test = [], [], []
    for name in classes:
        rows = _rows_of(names, name)
        n_val, n_test = rounded_share(len(rows), val_percent), rounded_share(len(rows), test_percent)
        n_train = len(rows) - n_val - n_test
        if min(n_train, n_val, n_test) < 1:
            raise UserError(
                f"class '{name}' has {len(rows)} rows; the ordered split ({100 - val_percent - test_percent}/"
                f"{val_percent}/{test_percent} %) needs more, at least one a set."
            )
        train.append(rows[:n_train])
        val.append(rows[n_train : n_train + n_val])
        test.append(rows[n_train + n_val :])
    return Split(*(_ordered(part) for part in (train, val, test)))


def draw_partitions(
    classes: Sequence[str], sizes: Sequence[int], count: int, seed: int
) -> list[tuple[tuple[str, ...], ...]]:
    """Draw distinct partitions of ``classes`` into parts of the given ``sizes``, in a seeded order.

    Every part keeps the order of ``classes``.  With two parts this is a random order of all
    ``C(len(classes), sizes[0])`` choices, cut after ``count``.

    Raises:
        ValueError: when the sizes don't add up, or there are fewer partitions than ``count``.
    """
    if sum(sizes) != len(classes):
        raise ValueError(f"parts of {sizes} don't add up to {len(classes)} classes.")
    every = list(_partitions(tuple(range(len(classes))), tuple(sizes)))
    if count > len(every):
        raise ValueError(f"{count} partitions asked for, there are {len(every)}.")
    order = np.random.default_rng(seed).permutation(len(every))[:count]
    return [tuple(tuple(classes[i] for i in part) for part in every[k]) for k in order]


def _partitions(items: tuple[int, ...], sizes: tuple[int, ...]) -> list[tuple[tuple[int, ...], ...]]:
    if not sizes:
        return [()]
    result = []
    for part in itertools.combinations(items, sizes[0]):
        rest = tuple(i for i in items if i not in part)
        result += [(part, *others) for others in _partitions(rest, sizes[1:])]
    return result


def _rows_of(names: NDArray[np.str_], name: str) -> Rows:
    return np.flatnonzero(names == name).astype(np.int64)


def _ordered(parts: list[Rows]) -> Rows:
    return np.sort(np.concatenate(parts)) if parts else np.zeros(0, dtype=np.int64)
