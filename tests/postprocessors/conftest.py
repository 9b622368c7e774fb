"""Fixtures for the scores' tests: the golden cases' inputs, and small random problems."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np
import pytest
from by_path import load

from openood_multimodal.arrays import Embeddings, LinearHead

GOLDEN = Path(__file__).parent.parent / "golden"


@pytest.fixture(scope="session")
def golden_inputs() -> ModuleType:
    return load(GOLDEN / "make_scores.py")


class Problem(NamedTuple):
    train: Embeddings
    val: Embeddings
    test: Embeddings
    head: LinearHead


def read_only(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array


@pytest.fixture
def make_problem() -> Callable[..., Problem]:
    def make(
        rows: int = 90, dim: int = 24, classes: int = 3, test_rows: int = 40, seed: int = 0, dtype: str = "f4"
    ) -> Problem:
        rng = np.random.default_rng(seed)
        centres = 1.5 * rng.standard_normal((classes, dim))
        slices = {"video": (0, dim // 3), "flow": (dim // 3, dim)}

        def draw(count: int, spread: float) -> Embeddings:
            labels = np.arange(count) % classes
            values = np.maximum(centres[labels] + spread * rng.standard_normal((count, dim)), 0)
            return Embeddings(read_only(values.astype(dtype)), read_only(labels), slices=slices)

        train, val, test = draw(rows, 0.7), draw(30, 0.7), draw(test_rows, 1.2)
        weight = rng.standard_normal((classes, dim)).astype(dtype)
        bias = rng.standard_normal(classes).astype(dtype)
        return Problem(train, val, test, LinearHead(read_only(weight), read_only(bias)))

    return make
