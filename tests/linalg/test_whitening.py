"""Mahalanobis distances against literal ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.covariance import EmpiricalCovariance

from openood_multimodal.arrays import Embeddings, LinearHead
from openood_multimodal.linalg.arithmetic import Arithmetic
from openood_multimodal.linalg.torch_arithmetic import TorchArithmetic
from openood_multimodal.linalg.whitening import UpdatedWhitening
from openood_multimodal.postprocessors import MDS, shared
from openood_multimodal.postprocessors.options import ScoringOptions
from openood_multimodal.postprocessors.plan import fit_all, score_all

CLASSES = 5


def draw(rows: int, dim: int, decay: float, seed: int) -> Embeddings:
    rng = np.random.default_rng(seed)
    turn, _ = np.linalg.qr(np.random.default_rng(1).standard_normal((dim, dim)))
    scale = np.arange(1, dim + 1) ** -decay
    centres = np.random.default_rng(2).standard_normal((CLASSES, dim)) * scale
    labels = np.arange(rows) % CLASSES
    values = (centres[labels] + (1 + 0.1 * seed) * rng.standard_normal((rows, dim)) * scale) @ turn
    return Embeddings(values.astype(np.float32), labels)


def literal(train: Embeddings, test: Embeddings) -> np.ndarray:
    x, y, t = train.features.astype(float), train.labels, test.features.astype(float)
    means = np.stack([x[y == c].mean(axis=0) for c in range(CLASSES)])
    precision = EmpiricalCovariance(assume_centered=False).fit(x - means[y]).precision_
    distances = [np.einsum("ij,jk,ik->i", t - mean, precision, t - mean) for mean in means]
    return -np.min(distances, axis=0)


def mds(train: Embeddings, test: Embeddings, **options: Any) -> tuple[MDS, np.ndarray]:
    head = LinearHead(np.ones((CLASSES, train.dim), "f4"), np.zeros(CLASSES, "f4"))
    score = MDS()
    settings = ScoringOptions(**options)
    fit_all([score], train, None, head, settings)
    return score, score_all([score], {"test": test}, settings)["test"][0].conf


@pytest.mark.parametrize("decay", [0.0, 0.5, 1.0, 1.5, 2.5])
def test_distances_are_scikit_learns(decay: float) -> None:
    train, test = draw(3000, 160, decay, 0), draw(400, 160, decay, 1)
    score, conf = mds(train, test)
    expected = literal(train, test)
    assert score.notes == []
    # the condition takes digits from scikit-learn's inverse too
    assert np.abs(conf - expected).max() < (1e-8 if decay < 2 else 1e-4) * expected.std()


@pytest.mark.parametrize("chunk_rows", [37, 1000])
def test_chunks_do_not_matter(chunk_rows: int) -> None:
    train, test = draw(3000, 160, 1.0, 0), draw(300, 160, 1.0, 1)
    whole = mds(train, test)[1]
    parts = mds(train, test, chunk_rows=chunk_rows)[1]
    np.testing.assert_allclose(parts, whole, atol=1e-9 * whole.std())


@pytest.mark.parametrize("kind", ["few rows", "just above", "dead columns", "twins"])
def test_rank_deficient_covariances_have_scikit_learns_pseudo_inverse(kind: str) -> None:
    rows = {"few rows": 90, "just above": 122}.get(kind, 900)
    train, test = draw(rows, 120, 0.3, 0), draw(80, 120, 0.3, 1)
    rank = 120
    if kind == "few rows":
        rank = rows - CLASSES
    if kind == "just above":
        rank = rows - CLASSES
    if kind in ("dead columns", "twins"):
        rank = 110
        for each in (train, test):
            each.features[:, 50:60] = 0.25 if kind == "dead columns" else each.features[:, 20:30]
    score, conf = mds(train, test)
    assert score.whitening.rank == rank
    assert f"rank {rank} of 120" in score.notes[0]
    expected = literal(train, test)
    np.testing.assert_allclose(conf, expected, rtol=1e-5 if kind != "dead columns" else 1e-4)


def test_dead_columns_cost_no_precision() -> None:
    train, test = draw(2000, 128, 1.0, 0), draw(100, 128, 1.0, 1)
    for each in (train, test):
        each.features[:, 5:9] = 3.0
    score, conf = mds(train, test)
    assert score.notes == [
        "mds: the covariance of 2000 rows has rank 124 of 128; distances are taken within its range "
        "(pseudo-inverse)."
    ]
    expected = literal(train, test)
    assert np.abs(conf - expected).max() < 1e-4 * expected.std()


def test_torch_computes_the_same(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    train, test = draw(2000, 128, 1.0, 0), draw(100, 128, 1.0, 1)
    expected = mds(train, test)[1]
    monkeypatch.setattr(shared, "arithmetic_for", lambda _: TorchArithmetic(device))
    np.testing.assert_allclose(mds(train, test)[1], expected, atol=1e-9 * expected.std())


def test_the_map_whitens() -> None:
    train = draw(3000, 160, 0.7, 0)
    score, _ = mds(train, train)
    about = score.whitening.exact_rows(train.features) - score.whitening.exact_rows(score.means[train.labels])
    np.testing.assert_allclose(about.T @ about / 3000, np.eye(160), atol=1e-9)


@pytest.mark.parametrize("apart", [1e2, 1e4])
def test_nothing_cancels_where_classes_are_tight_and_far_apart(
    apart: float, arithmetic: Arithmetic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared, "arithmetic_for", lambda _: arithmetic)
    shift = apart * np.random.default_rng(7).standard_normal((CLASSES, 96))
    near = [draw(2000, 96, 0.5, 0), draw(300, 96, 0.5, 1)]
    train, test = (Embeddings(each.features + shift[each.labels], each.labels) for each in near)
    expected = literal(train, test)
    assert np.abs(mds(train, test)[1] - expected).std() < 1e-7 * expected.std()


@pytest.mark.parametrize("decay", [0.0, 1.0, 4.0])
def test_total_distances_made_of_the_within_class_map_are_those_of_the_total_covariance(decay: float) -> None:
    train, test = draw(600, 40, decay, 0), draw(50, 40, decay, 1)
    fitted = shared.Shared((), train, None, LinearHead(np.zeros((CLASSES, 40)), np.zeros(CLASSES)))
    x, t = train.features.astype(float), test.features.astype(float)
    for found, origin in (
        (fitted.total_whitening(), x.mean(axis=0)),
        (fitted.second_whitening(), np.zeros(40)),
    ):
        assert isinstance(found, UpdatedWhitening) == (
            decay < 4.0
        )  # ill-conditioned: from the covariance itself
        moment = (x - origin).T @ (x - origin) / len(x)
        about = found.exact_rows(t) - found.exact_rows(origin[None])
        exact = np.einsum("ij,ij->i", t - origin, np.linalg.solve(moment, (t - origin).T).T)
        np.testing.assert_allclose(np.square(about).sum(axis=1), exact, rtol=1e-8 if decay < 4.0 else 1e-3)
