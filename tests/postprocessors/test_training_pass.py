"""The one pass over the training rows, against NumPy in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from openood_multimodal.arrays import Embeddings
from openood_multimodal.errors import UserError
from openood_multimodal.linalg.arithmetic import Arithmetic
from openood_multimodal.postprocessors.options import ScoringOptions
from openood_multimodal.postprocessors.training import TrainingStatistics, class_counts, training_pass


def draw(rows: int, dim: int, classes: int, apart: float = 1.0, dtype: str = "f4") -> Embeddings:
    rng = np.random.default_rng(3)
    centres = apart * rng.standard_normal((classes, dim))
    labels = rng.permutation(np.arange(rows) % classes)
    turn = rng.standard_normal((dim, dim)) / np.sqrt(dim) * np.arange(1, dim + 1)[:, None] ** -0.7
    return Embeddings((centres[labels] + rng.standard_normal((rows, dim)) @ turn).astype(dtype), labels)


def run(train: Embeddings, classes: int | None, products: bool = True, **options: Any) -> TrainingStatistics:
    arithmetic = options.pop("arithmetic", Arithmetic())
    return training_pass(train, products, classes, arithmetic, ScoringOptions(**options))


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
@pytest.mark.parametrize("chunk_rows", [1, 64, None])
def test_everything(arithmetic: Arithmetic, chunk_rows: int | None, dtype: str) -> None:
    train = draw(500, 70, 5, dtype=dtype)
    found = run(train, 5, arithmetic=arithmetic, chunk_rows=chunk_rows)
    x, y = train.features.astype(float), train.labels
    means = np.stack([x[y == c].mean(axis=0) for c in range(5)])
    np.testing.assert_allclose(found.means, means, atol=1e-12)
    np.testing.assert_array_equal(found.counts, np.bincount(y))
    np.testing.assert_allclose(found.mean, x.mean(axis=0), atol=1e-12)
    assert found.norms is not None
    np.testing.assert_allclose(found.norms, np.linalg.norm(x, axis=1), rtol=1e-14)
    centred = x - means[y]
    assert found.within is not None
    np.testing.assert_allclose(found.within, centred.T @ centred / 500, atol=1e-12)
    assert found.residuals is None


def test_nothing_cancels_where_classes_are_tight_and_far_apart() -> None:
    train = draw(600, 40, 6, apart=1e5, dtype="f8")
    found = run(train, 6)
    means = np.stack([train.features[train.labels == c].mean(axis=0) for c in range(6)])
    centred = train.features - means[train.labels]
    assert found.within is not None
    np.testing.assert_allclose(found.within, centred.T @ centred / 600, atol=1e-12)


def test_without_classes_there_is_one_group() -> None:
    train = draw(300, 30, 4)
    train = Embeddings(train.features, np.full(300, -1))
    found = run(train, None)
    x = train.features.astype(float)
    np.testing.assert_allclose(found.means, x.mean(axis=0)[None], atol=1e-13)
    assert found.within is not None
    np.testing.assert_allclose(found.within, np.cov(x.T, bias=True), atol=1e-13)
    assert not found.by_class


@pytest.mark.parametrize("rows", [20, 60])
def test_fewer_rows_than_columns_are_kept_as_rows(rows: int) -> None:
    train = draw(rows, 60, 4)
    found = run(train, 4, chunk_rows=7)
    means = np.stack([train.features[train.labels == c].mean(axis=0, dtype=float) for c in range(4)])
    assert found.within is None
    assert found.residuals is not None
    np.testing.assert_allclose(found.residuals, train.features - means[train.labels], atol=1e-14)


def test_without_products() -> None:
    train = draw(50, 8, 2)
    found, whole = run(train, 2, products=False), run(train, 2)
    assert (found.products, found.within, found.residuals) == (False, None, None)
    assert whole.products
    for name in ("norms", "means", "counts"):
        np.testing.assert_array_equal(getattr(found, name), getattr(whole, name))


def test_a_class_of_one_row_that_the_pilot_would_miss() -> None:
    train = draw(5000, 12, 3)
    labels = train.labels.copy()
    labels[4321] = 3
    features = train.features.copy()
    features[4321] = 1e4
    found = run(Embeddings(features, labels), 4)
    means = np.stack([features[labels == c].mean(axis=0, dtype=float) for c in range(4)])
    centred = features - means[labels]
    assert found.within is not None
    np.testing.assert_allclose(found.within, centred.T @ centred / 5000, atol=1e-10)


def test_values_that_are_no_numbers() -> None:
    features = draw(90, 8, 3).features.copy()
    features[77, 3] = np.nan
    with pytest.raises(UserError, match="features hold nan at row 77, column 3"):
        run(Embeddings(features, np.arange(90) % 3), 3, chunk_rows=10)


def test_labels_are_checked() -> None:
    with pytest.raises(UserError, match="the label 7 in row 2 is none of the 3 classes"):
        class_counts(np.array([0, 1, 7, 2]), 3)
    with pytest.raises(UserError, match="the label -1 in row 0"):
        class_counts(np.array([-1, 1, 1, 2]), 3)
    with pytest.raises(
        UserError, match=r"class 1 of 3 has 0 of the 4 training rows.*renumber the labels .* to 2\.$"
    ):
        class_counts(np.array([0, 2, 2, 0]), 3)
    with pytest.raises(UserError, match=r"no mean; set dataset\.num_classes to 2, or add rows of them\.$"):
        class_counts(np.array([0, 1, 1, 0]), 3)
    np.testing.assert_array_equal(class_counts(np.array([1, 0, 1]), 2), [1, 2])
