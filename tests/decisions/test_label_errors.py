"""`label_scores` against a version that goes from pair to pair."""

import numpy as np
import pytest

from openood_multimodal.decisions.label_errors import Labelled, label_scores


@pytest.fixture(scope="module")
def sets():
    """A training set with three wrong labels, and a validation set with one."""
    rng = np.random.default_rng(0)
    centres = 4 * np.eye(3, 6)

    def draw(count, wrong):
        true = np.arange(count) % 3
        features = centres[true] + rng.standard_normal((count, 6))
        p = np.exp(0.2 * (features @ centres.T - 0.5 * (centres**2).sum(axis=1)))
        labels = true.copy()
        labels[wrong] = (labels[wrong] + 1) % 3
        return Labelled(features.astype("f4"), p / p.sum(axis=1, keepdims=True), labels), true

    return draw(45, [4, 20, 33]), draw(12, [7])


def relation(of, i, train, t):
    """The relation of two rows to the power 4, negative where their labels differ."""
    a, b = of.features[i].astype(float), train.features[t].astype(float)
    value = max(a @ b / np.linalg.norm(a) / np.linalg.norm(b), 0) * (of.p[i] @ train.p[t])
    sign = 1 if of.labels[i] == train.labels[t] else -1
    return sign * value**4 if value > 0.03 else 0.0


def sums(of, train, noisy=()):
    """A sum for each row, divided by the largest; relations to noisy rows count with the opposite sign."""
    found = [
        sum((-1 if t in noisy else 1) * relation(of, i, train, t) for t in range(len(train.labels)))
        for i in range(len(of.labels))
    ]
    return np.array(found) / max(map(abs, found))


def test_scores_are_those_of_the_literal_version(sets):
    (train, _), (val, _) = sets
    found = label_scores(train, {"val": val})
    first = sums(train, train)
    noisy = np.flatnonzero(first < -0.05).tolist()
    assert noisy == [4, 20, 33]
    assert found["train"].score == pytest.approx(sums(train, train, noisy), abs=1e-9)
    assert found["val"].score == pytest.approx(sums(val, train, noisy), abs=1e-9)
    assert not np.allclose(found["train"].score, first, atol=1e-6)


def test_wrong_labels_are_found_and_the_true_ones_suggested(sets):
    (train, true), (val, val_true) = sets
    found = label_scores(train, {"val": val})
    assert np.flatnonzero(found["train"].score < 0).tolist() == [4, 20, 33]
    assert np.flatnonzero(found["val"].score < 0).tolist() == [7]
    assert found["train"].suggested.tolist() == true.tolist()
    assert found["val"].suggested.tolist() == val_true.tolist()
