"""mds and vim: against literal float64 versions, scikit-learn, and arbitrary precision."""

from __future__ import annotations

from typing import Any

import mpmath
import numpy as np
import pytest
from sklearn.covariance import EmpiricalCovariance

from openood_multimodal.arrays import Embeddings, LinearHead
from openood_multimodal.errors import UserError
from openood_multimodal.postprocessors import MDS, ViM


def literal_mds(train: np.ndarray, labels: np.ndarray, test: np.ndarray, classes: int) -> np.ndarray:
    train, test = train.astype(float), test.astype(float)
    means = np.stack([train[labels == c].mean(axis=0) for c in range(classes)])
    precision = EmpiricalCovariance(assume_centered=False).fit(train - means[labels]).precision_
    scores = np.empty((len(test), classes))
    for i, x in enumerate(test):
        for c in range(classes):
            scores[i, c] = -(x - means[c]) @ precision @ (x - means[c])
    return scores.max(axis=1)


def literal_vim(train: np.ndarray, test: np.ndarray, head: LinearHead, dim: int) -> np.ndarray:
    weight, bias = head.weight.astype(float), head.bias.astype(float)
    origin = -np.linalg.pinv(weight) @ bias
    # the right singular vectors of the rows: the same subspace, without squaring the condition
    null = np.linalg.svd(train.astype(float) - origin, full_matrices=True)[2][dim:].T
    train_logits = train.astype(float) @ weight.T + bias
    residual = np.linalg.norm((train.astype(float) - origin) @ null, axis=1)
    alpha = train_logits.max(axis=1).mean() / residual.mean()
    logits = test.astype(float) @ weight.T + bias
    energy = np.log(np.exp(logits - logits.max(axis=1, keepdims=True)).sum(axis=1)) + logits.max(axis=1)
    return energy - alpha * np.linalg.norm((test.astype(float) - origin) @ null, axis=1)


@pytest.mark.parametrize(("rows", "dim"), [(200, 12), (40, 39), (40, 40), (20, 60)])
def test_mds_agrees_with_scikit_learn(make_problem: Any, rows: int, dim: int) -> None:
    problem = make_problem(rows=rows, dim=dim)
    score = MDS().fit(problem.train, None, problem.head)
    expected = literal_mds(problem.train.features, problem.train.labels, problem.test.features, 3)
    np.testing.assert_allclose(score.score(problem.test).conf, expected, rtol=1e-6)


@pytest.mark.parametrize("rows", [60, 300])
def test_mds_precision_is_scikit_learns(rows: int) -> None:
    rng = np.random.default_rng(4)
    features = rng.standard_normal((rows, 100)) * np.arange(1, 101) ** -1.0
    features[:, 70:80] = 0.0  # dead columns
    labels = np.arange(rows) % 5
    score = MDS().fit(
        Embeddings(features, labels), None, LinearHead(rng.standard_normal((5, 100)), np.zeros(5))
    )
    means = np.stack([features[labels == c].mean(axis=0) for c in range(5)])
    precision = EmpiricalCovariance().fit(features - means[labels]).precision_
    origin = score.whitening.origin
    mapped = score.whitening.exact_rows(origin + np.eye(100))
    alive = np.ones(100, dtype=bool)
    alive[70:80] = False
    ours = np.where(np.outer(alive, alive), mapped @ mapped.T, 0.0)
    np.testing.assert_allclose(ours, precision, atol=1e-9 * np.abs(precision).max())
    assert score.whitening.rank == (rows - 5 if rows < 100 else 90)
    assert f"rank {score.whitening.rank} of 100" in score.notes[0]


def test_mds_keeps_tight_far_apart_classes(make_problem: Any) -> None:
    # within-class spread 1e-4 of the distance between classes, as at the end of a long training
    rng = np.random.default_rng(8)
    centres = 100 * rng.standard_normal((3, 10))
    labels = np.arange(300) % 3
    train = centres[labels] + 1e-2 * rng.standard_normal((300, 10))
    test = centres[np.arange(50) % 3] + 3e-2 * rng.standard_normal((50, 10))
    head = LinearHead(rng.standard_normal((3, 10)), np.zeros(3))
    conf = MDS().fit(Embeddings(train, labels), None, head).score(Embeddings(test, np.full(50, -1))).conf
    np.testing.assert_allclose(conf, literal_mds(train, labels, test, 3), rtol=1e-8)


def test_mds_refuses_an_empty_class_and_a_strange_label(make_problem: Any) -> None:
    problem = make_problem(classes=3)
    wider = LinearHead(np.ones((5, 24), "f4"), np.zeros(5, "f4"))
    with pytest.raises(UserError, match="classes 3, 4 of 5 have 0 of the 90 training rows"):
        MDS().fit(problem.train, None, wider)
    narrower = LinearHead(np.ones((2, 24), "f4"), np.zeros(2, "f4"))
    with pytest.raises(UserError, match="the label 2 in row 2 is none of the 2 classes"):
        MDS().fit(problem.train, None, narrower)


def test_mds_of_constant_features_says_so() -> None:
    train = Embeddings(np.ones((6, 4), "f4"), np.arange(6) % 2)
    score = MDS().fit(train, None, LinearHead(np.ones((2, 4)), np.zeros(2)))
    np.testing.assert_array_equal(score.score(train).conf, 0.0)
    assert "every score equal" in score.notes[0]


@pytest.mark.parametrize(("rows", "dim", "keep"), [(200, 12, 4), (40, 40, 10), (20, 60, 7), (200, 30, 29)])
def test_vim_is_the_literal_one(make_problem: Any, rows: int, dim: int, keep: int) -> None:
    problem = make_problem(rows=rows, dim=dim)
    conf = ViM(dim=keep).fit(problem.train, None, problem.head).score(problem.test).conf
    expected = literal_vim(problem.train.features, problem.test.features, problem.head, keep)
    np.testing.assert_allclose(conf, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("noise", [1e-3, 1e-5, 1e-7])
@pytest.mark.parametrize("rows", [30, 200])
def test_vim_with_a_nearly_singular_head(make_problem: Any, noise: float, rows: int) -> None:
    problem = make_problem(rows=rows, dim=40, classes=4)
    rng = np.random.default_rng(2)
    weight = problem.head.weight.astype(float).copy()
    weight[3] = weight[0] + weight[1] - weight[2] + noise * rng.standard_normal(40)
    head = LinearHead(weight, problem.head.bias.astype(float))
    conf = ViM(dim=8).fit(problem.train, None, head).score(problem.test).conf
    expected = literal_vim(problem.train.features, problem.test.features, head, 8)
    # the origin lies some 1/noise away: that many digits of a distance of order 1 are gone for both
    np.testing.assert_allclose(conf, expected, atol=1e-13 / noise + 1e-9)


def test_vim_against_arbitrary_precision() -> None:
    rng = np.random.default_rng(6)
    train = rng.standard_normal((9, 5))
    test = rng.standard_normal((3, 5))
    weight = rng.standard_normal((3, 5))
    weight[2] = weight[0] - weight[1] + 1e-6 * rng.standard_normal(5)
    bias = rng.standard_normal(3)
    score = ViM(dim=2).fit(Embeddings(train, np.arange(9) % 3), None, LinearHead(weight, bias))
    conf = score.score(Embeddings(test, np.full(3, -1))).conf
    with mpmath.workdps(50):
        w, b = mpmath.matrix(weight.tolist()), mpmath.matrix(bias.tolist())
        origin = -(w.T * (w * w.T) ** -1 * b)
        rows = [mpmath.matrix(x.tolist()) - origin for x in train]
        moment = mpmath.zeros(5)
        for row in rows:
            moment += row * row.T / len(rows)
        _, vectors = mpmath.eigsy(moment)  # ascending
        null = vectors[:, :3]
        residuals = [mpmath.norm(null.T * row) for row in rows]
        tops = [max(w * mpmath.matrix(x.tolist()) + b) for x in train]
        alpha = sum(tops) / sum(residuals)
        for x, value in zip(test, conf, strict=True):
            point = mpmath.matrix(x.tolist())
            energy = mpmath.log(sum(mpmath.exp(z) for z in w * point + b))
            expected = energy - alpha * mpmath.norm(null.T * (point - origin))
            assert value == pytest.approx(float(expected), rel=1e-7)


def test_vim_says_when_the_head_is_singular_in_its_own_precision(make_problem: Any) -> None:
    problem = make_problem(rows=200)
    weight = problem.head.weight - problem.head.weight.mean(axis=0)  # rows add up to 0 but for rounding
    score = ViM(dim=4).fit(problem.train, None, LinearHead(weight, problem.head.bias))
    assert "singular within float32 rounding" in score.notes[0]
    assert np.isfinite(score.score(problem.test).conf).all()


def test_vim_refuses_dim_not_below_the_width(make_problem: Any) -> None:
    problem = make_problem(dim=24)
    for dim in (24, 256):
        with pytest.raises(UserError, match=f"dim={dim} must be below the features' 24 columns"):
            ViM(dim=dim).fit(problem.train, None, problem.head)


@pytest.mark.parametrize("rows", [20, 100])
def test_vim_refuses_a_subspace_that_holds_all_training_rows(make_problem: Any, rows: int) -> None:
    problem = make_problem(rows=20, dim=60)
    repeated = Embeddings(np.resize(problem.train.features, (rows, 60)), np.arange(rows) % 3)
    with pytest.raises(UserError, match=f"dim=32 leaves no residual: the {rows} training rows span only 20"):
        ViM(dim=32).fit(repeated, None, problem.head)


@pytest.mark.parametrize(
    ("dim", "keep", "decay", "close"),  # squaring costs the second one half of its digits
    [(60, 20, 3.0, 1e-7), (200, 100, 3.0, 1e-2), (60, 59, 2.0, 1e-7)],
)
def test_vim_of_an_ill_conditioned_spectrum_is_the_literal_one(
    dim: int, keep: int, decay: float, close: float
) -> None:
    rng = np.random.default_rng(0)
    turn, _ = np.linalg.qr(rng.standard_normal((dim, dim)))
    rows = (rng.standard_normal((3000, dim)) * np.arange(1, dim + 1) ** -decay) @ turn
    head = LinearHead(rng.standard_normal((7, dim)), rng.standard_normal(7))
    train, test = Embeddings(rows, np.arange(3000) % 7), Embeddings(1.2 * rows[:100], np.full(100, -1))
    conf = ViM(dim=keep).fit(train, None, head).score(test).conf
    expected = literal_vim(rows, test.features, head, keep)
    np.testing.assert_allclose(conf, expected, atol=close * expected.std())


def test_vim_says_when_its_directions_are_rounding() -> None:
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((500, 40)) * np.arange(1, 41) ** -8.0
    head = LinearHead(rng.standard_normal((7, 40)), rng.standard_normal(7))
    score = ViM(dim=30).fit(Embeddings(rows, np.arange(500) % 7), None, head)
    (note,) = score.notes
    assert "of the dim=30 directions stand out of rounding" in note


def test_vim_follows_a_new_dim(make_problem: Any) -> None:
    problem = make_problem()
    score = ViM(dim=4).fit(problem.train, None, problem.head)
    score.set_hyperparam([9])
    fresh = ViM(dim=9).fit(problem.train, None, problem.head)
    np.testing.assert_array_equal(score.score(problem.test).conf, fresh.score(problem.test).conf)
