"""A few clips in each layout, made once."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import pytest

from openood_multimodal.moving_shapes import Generated, generate

NUMBERS = {"frames": 12, "classes": 2, "near": 1, "far": 1, "val": 1, "train_recordings": 1}


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Generated]:
    """Return the dataset in a layout; tests must not change it."""

    @lru_cache
    def make(layout: str) -> Generated:
        return generate(tmp_path_factory.mktemp(layout) / "data", layout, seed=3, **NUMBERS)

    return make


@pytest.fixture
def small(tmp_path: Path) -> Callable[..., Generated]:
    """Return a function that makes the smallest dataset in ``tmp_path / "data"``."""

    def make(**changes: object) -> Generated:
        numbers = {**NUMBERS, "frames": 6, "clips": 1, **changes}
        return generate(tmp_path / "data", **numbers)

    return make
