"""A small problem on which every score runs."""

from typing import NamedTuple

import numpy as np
import pytest

CLASSES, DIM = 4, 300


class Arrays(NamedTuple):
    train: tuple
    val: tuple
    test: tuple
    ood: dict
    head: tuple


@pytest.fixture
def arrays() -> Arrays:
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((CLASSES, DIM))

    def draw(count, spread=1.0, shift=0.0):
        labels = np.arange(count) % CLASSES
        values = np.maximum(centres[labels] + spread * rng.standard_normal((count, DIM)) + shift, 0)
        return values.astype("f4"), labels

    head = ((0.1 * centres).astype("f4"), rng.standard_normal(CLASSES).astype("f4"))
    ood = {"near": draw(50, 1.5, 0.1)[0], "other": draw(60, 2.0, 0.3)[0]}
    return Arrays(draw(400), draw(40), draw(60), ood, head)
