"""The curves that figures draw enclose the areas that the metrics are."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from openood_multimodal.errors import UserError
from openood_multimodal.evaluators.calibration import calibration_metrics
from openood_multimodal.evaluators.curves import (
    precision_recall,
    prediction_distances,
    reliability,
    risk_coverage,
    roc_curve,
)
from openood_multimodal.evaluators.failure import failure_metrics
from openood_multimodal.evaluators.metrics import count_metrics, score_counts


@pytest.fixture(scope="module")
def conf():
    rng = np.random.default_rng(3)
    return rng.normal(1, 1, 200).round(1), rng.normal(0, 1, 150).round(1)  # with ties


def test_roc_and_precision_recall_enclose_the_metrics(conf):
    found = count_metrics(score_counts(*conf), intervals=False)
    fpr, tpr = roc_curve(*conf)
    assert_allclose(np.trapezoid(tpr, fpr), found["AUROC"].value, atol=1e-12)
    assert_allclose(fpr[np.argmax(tpr >= 0.95)], found["FPR@95"].value)
    recall, precision = precision_recall(*conf)
    assert_allclose(np.trapezoid(precision, recall), found["AUPR_OUT"].value, atol=1e-12)


def test_the_mean_risk_is_aurc():
    rng = np.random.default_rng(0)
    values, right = rng.permutation(100) / 100, rng.random(100) < 0.7
    coverage, risk = risk_coverage(values, right)
    assert coverage[-1] == 1.0
    assert risk[-1] == pytest.approx(np.mean(~right))
    assert_allclose(risk.mean(), failure_metrics(values, right, n_bootstrap=2)["AURC"].value)


def test_reliability_has_the_ece_of_the_metrics():
    rng = np.random.default_rng(1)
    p = rng.dirichlet([1, 1, 1], 300)
    labels = rng.integers(0, 3, 300)
    found = reliability(p.max(axis=1), p.argmax(axis=1) == labels)
    assert found.samples.sum() == 300
    assert_allclose(found.ece, calibration_metrics(np.log(p), labels, n_bootstrap=2)["ECE"].value)
    for bad in ([], [1.5], [float("nan")]):
        with pytest.raises(UserError, match="probabilities"):
            reliability(bad, np.ones(len(bad), dtype=bool))


def test_distances_are_means_over_pairs():
    logits = np.random.default_rng(2).normal(size=(5, 3, 4))
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    expected = [np.mean([np.abs(a[i] - a[j]).sum() for i, j in ((0, 1), (0, 2), (1, 2))]) for a in p]
    assert_allclose(prediction_distances(logits), expected)
    with pytest.raises(UserError, match="M >= 2"):
        prediction_distances(logits[:, :1])
