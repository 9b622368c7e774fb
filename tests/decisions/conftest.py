"""Files of a small problem: in-distribution sets, a batch that is half OOD, a head."""

import numpy as np
import pytest

CLASSES, DIM = 3, 12


@pytest.fixture
def folder(tmp_path, monkeypatch):
    rng = np.random.default_rng(4)
    centres = 0.8 * rng.standard_normal((CLASSES, DIM))

    def draw(count):
        labels = np.arange(count) % CLASSES
        return (centres[labels] + rng.standard_normal((count, DIM))).astype("f4"), labels

    for name, count in (("train", 300), ("val", 600), ("small", 15), ("clean", 400)):
        features, labels = draw(count)
        np.savez(tmp_path / f"{name}.npz", features=features, labels=labels)
    mixed = np.concatenate([draw(200)[0], (0.1 * rng.standard_normal((200, DIM))).astype("f4")])
    np.savez(tmp_path / "new.npz", features=mixed)
    np.savez(tmp_path / "head.npz", weight=centres.astype("f4"), bias=-0.5 * (centres**2).sum(axis=1))
    monkeypatch.chdir(tmp_path)
    return tmp_path
