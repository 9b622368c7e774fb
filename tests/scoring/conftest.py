"""A small problem on which every score runs."""

from pathlib import Path
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


@pytest.fixture
def folder(arrays: Arrays, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with these arrays as files."""
    for name in ("train", "val", "test"):
        features, labels = getattr(arrays, name)
        np.savez(tmp_path / f"{name}.npz", features=features, labels=labels)
    for name, features in arrays.ood.items():
        np.savez(tmp_path / f"{name}.npz", features=features)
    np.savez(tmp_path / "head.npz", weight=arrays.head[0], bias=arrays.head[1])
    monkeypatch.chdir(tmp_path)
    return tmp_path
