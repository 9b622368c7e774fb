"""Failure detection and calibration against literal versions, closed forms, and by coverage of the intervals."""

import itertools

import numpy as np
import pytest
from scipy.integrate import trapezoid
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, log_loss, precision_recall_curve, roc_auc_score, roc_curve

from openood_multimodal.errors import UserError
from openood_multimodal.evaluators.calibration import calibration_metrics
from openood_multimodal.evaluators.failure import autc, failure_metrics, open_set_metrics


def literal_risks(right):
    return [1 - np.mean(right[:k]) for k in range(1, len(right) + 1)]


def test_against_a_literal_version():
    rng = np.random.default_rng(0)
    conf, right = rng.standard_normal(40), rng.random(40) < 0.7
    risks = literal_risks(right[np.argsort(-conf)])
    found = failure_metrics(conf, right)
    assert found["AURC"].value == pytest.approx(np.mean(risks))
    best = literal_risks(np.sort(right)[::-1])
    assert found["E-AURC"].value == pytest.approx(np.mean(risks) - np.mean(best))
    for name, k in (("risk@80", 32), ("risk@90", 36), ("risk@95", 38)):
        assert found[name].value == pytest.approx(risks[k - 1])
    pairs = [(a > b) for a in conf[right] for b in conf[~right]]
    assert found["AUROC_right"].value == pytest.approx(np.mean(pairs))
    threshold = np.sort(conf[right])[::-1][int(np.ceil(0.95 * right.sum())) - 1]
    assert found["FPR@95_right"].value == pytest.approx(np.mean(conf[~right] >= threshold))
    assert all(each.ci_low <= each.value <= each.ci_high for each in found.values())


def test_ties_are_the_mean_over_all_orders():
    right = np.array([True, False, True, False, True, True])
    conf = np.array([2.0, 1.0, 1.0, 1.0, 1.0, 0.0])
    orders = [[0, *order, 5] for order in itertools.permutations(range(1, 5))]
    risks = np.mean([literal_risks(right[order]) for order in orders], axis=0)
    found = failure_metrics(conf, right)
    assert found["AURC"].value == pytest.approx(risks.mean())
    assert found["risk@80"].value == pytest.approx(risks[4])


def test_closed_forms():
    n, wrong = 50, 10
    right = np.arange(n) >= wrong
    perfect = failure_metrics(np.arange(n), right)
    assert perfect["E-AURC"].value == pytest.approx(0, abs=1e-15)
    assert perfect["AURC"].value == pytest.approx(sum(j / (n - wrong + j) for j in range(1, wrong + 1)) / n)
    assert perfect["AUROC_right"].value == 1
    assert perfect["E-AURC"].ci_high > 0  # every resample agrees, which is no certainty
    assert failure_metrics(np.zeros(n), right)["AURC"].value == pytest.approx(wrong / n)
    alike = failure_metrics(np.arange(5.0), np.ones(5, bool))
    assert alike["AURC"].value == 0
    assert "AUROC_right" not in alike
    assert (
        failure_metrics(np.array([np.inf, 0.0, -np.inf]), np.array([True, True, False]))["E-AURC"].value == 0
    )


def test_coarse_bins_change_little():
    rng = np.random.default_rng(1)
    conf = rng.standard_normal(6000)
    found = failure_metrics(conf, rng.random(6000) < 1 / (1 + np.exp(-conf - 1)))
    for each in found.values():
        assert each.ci_low < each.value < each.ci_high
        assert each.ci_high - each.ci_low < 0.1


def test_the_intervals_cover():
    rng = np.random.default_rng(2)

    def draw(n):
        conf, conf_ood = rng.standard_normal(n), rng.standard_normal(n) - 1
        return conf, rng.random(n) < 1 / (1 + np.exp(-1 - conf)), conf_ood

    def measure(conf, right, conf_ood):
        return {**failure_metrics(conf, right, n_bootstrap=200), **open_set_metrics(conf, right, conf_ood),
                "AUTC": autc(conf, conf_ood, -3.0, 3.0)}  # fmt: skip

    truth = measure(*draw(400_000))
    found = [measure(*draw(150)) for _ in range(300)]
    for name, true in truth.items():
        covered = np.mean([each[name].ci_low <= true.value <= each[name].ci_high for each in found])
        assert covered > 0.9, name


def test_oscr_against_its_curve():
    rng = np.random.default_rng(3)
    conf, conf_ood = rng.integers(0, 12, 60), rng.integers(-4, 8, 45)
    right = rng.random(60) < 0.6
    ccr, fpr = [0.0], [0.0]
    for threshold in np.unique(np.concatenate([conf, conf_ood]))[::-1]:
        ccr.append(np.mean((conf >= threshold) & right))
        fpr.append(np.mean(conf_ood >= threshold))
    found = open_set_metrics(conf, right, conf_ood)
    assert found["OSCR"].value == pytest.approx(trapezoid(ccr, fpr))
    outside = np.concatenate([conf[~right], conf_ood])
    pairs = [(a > b) + 0.5 * (a == b) for a in conf[right] for b in outside]
    assert found["AUROC_scope"].value == pytest.approx(np.mean(pairs))
    assert open_set_metrics(conf, np.zeros(60, bool), conf_ood)["OSCR"].value == 0


def test_autc_against_its_curves():
    rng = np.random.default_rng(4)
    conf, conf_ood = rng.standard_normal(50), rng.standard_normal(70) - 1
    found = autc(conf, conf_ood, -2.0, 1.5)
    anomaly, anomaly_ood = (1 - np.clip((each + 2) / 3.5, 0, 1) for each in (conf, conf_ood))
    grid = (np.arange(20_000) + 0.5) / 20_000
    fpr = np.mean([(anomaly >= t).mean() for t in grid])
    fnr = np.mean([(anomaly_ood < t).mean() for t in grid])
    assert found.value == pytest.approx((fpr + fnr) / 2, abs=1e-4)
    assert autc(np.ones(5), np.ones(5), 0, 2).value == 0.5
    with pytest.raises(UserError, match="1 to 1"):
        autc(conf, conf_ood, 1.0, 1.0)


def literal_ece(top, right, edges):
    total = 0.0
    for low, high in itertools.pairwise(edges):
        inside = (top > low) & (top <= high)
        if inside.any():
            total += inside.mean() * abs(right[inside].mean() - top[inside].mean())
    return total


def test_calibration_against_literal_versions():
    rng = np.random.default_rng(5)
    logits, labels = 2 * rng.standard_normal((90, 4)), rng.integers(0, 4, 90)
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    top, right = p.max(axis=1), p.argmax(axis=1) == labels
    found = calibration_metrics(np.log(p), labels)
    assert found["ECE"].value == pytest.approx(literal_ece(top, right, np.arange(16) / 15))
    ordered = np.argsort(top)
    parts = np.array_split(ordered, 15)  # 90 is 15 times 6
    mass = sum(len(part) / 90 * abs(right[part].mean() - top[part].mean()) for part in parts)
    assert found["ECE_mass"].value == pytest.approx(mass)
    assert found["Brier"].value == pytest.approx(np.mean(((p - np.eye(4)[labels]) ** 2).sum(axis=1)))
    assert found["NLL"].value == pytest.approx(-np.mean(np.log(p[np.arange(90), labels])))
    assert all(each.ci_low <= each.value <= each.ci_high for each in found.values())
    assert found["NLL"].ci_high - found["NLL"].ci_low > 0.1


def drawn(kind):
    """Confidences of ID and OOD samples, whether predictions are right, probabilities and labels."""
    rng = np.random.default_rng(6)
    conf, conf_ood = rng.standard_normal(80), rng.standard_normal(60) - 1
    if kind == "ties":
        conf, conf_ood = np.round(conf), np.round(conf_ood)
    right = rng.random(80) < (0.05 if kind == "mostly wrong" else 0.7)
    p, labels = rng.dirichlet(np.full(4, 0.4), 80), rng.integers(0, 4, 80)
    if kind == "ties":
        p = np.maximum(np.round(p, 1), 0.05)
        p /= p.sum(axis=1, keepdims=True)
    return conf, right, conf_ood, p, labels


def separation(accepted, rejected):
    """scikit-learn's AUROC of two sets of scores."""
    return roc_auc_score(np.r_[np.ones(len(accepted)), np.zeros(len(rejected))], np.r_[accepted, rejected])


@pytest.mark.parametrize("kind", ["distinct", "ties", "mostly wrong"])
def test_against_scikit_learn(kind):
    conf, right, conf_ood, p, labels = drawn(kind)
    fpr, tpr, _ = roc_curve(right, conf)
    top, hit = p.max(axis=1), p.argmax(axis=1) == labels
    accuracy, confidence = calibration_curve(hit, top, n_bins=15)
    sizes = np.bincount(np.digitize(top, np.linspace(0, 1, 16)[1:-1], right=True))
    expected = {
        "AUROC_right": separation(conf[right], conf[~right]),
        "FPR@95_right": fpr[np.argmax(tpr >= 0.95)],
        "OSCR": right.mean() * separation(conf[right], conf_ood),
        "AUROC_scope": separation(conf[right], np.r_[conf[~right], conf_ood]),
        "NLL": log_loss(labels, p),
        "Brier": sum(brier_score_loss(labels == c, p[:, c]) for c in range(4)),
        "ECE": np.abs(accuracy - confidence) @ sizes[sizes > 0] / len(top),
    }
    if kind != "ties":  # at each of N thresholds, the risk is 1 - precision
        expected["AURC"] = 1 - precision_recall_curve(right, conf)[0][:-1].mean()
    found = failure_metrics(conf, right) | open_set_metrics(conf, right, conf_ood)
    found |= calibration_metrics(np.log(p), labels)
    assert {name: found[name].value for name in expected} == pytest.approx(expected)


def test_calibration_closed_forms():
    sure = calibration_metrics(np.array([[0.0, -np.inf], [-np.inf, 0.0]]), [0, 1])
    assert {name: each.value for name, each in sure.items()} == dict.fromkeys(
        ("ECE", "ECE_mass", "Brier", "NLL"), 0
    )
    uniform = calibration_metrics(np.full((8, 4), np.log(0.25)), np.arange(8) % 4)
    assert uniform["ECE"].value == pytest.approx(0, abs=1e-12)
    assert uniform["Brier"].value == pytest.approx(0.75)
    assert uniform["NLL"].value == pytest.approx(np.log(4))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: failure_metrics([], np.array([], bool)), "one real number and one bool"),
        (lambda: failure_metrics([0.1, 0.2], [1, 0]), "one real number and one bool"),
        (lambda: failure_metrics([0.1, np.nan], [True, False]), "NaN, the first in row 1"),
        (lambda: open_set_metrics([0.1, 0.2], np.array([True]), [0.0]), "one bool a sample"),
        (lambda: calibration_metrics(np.zeros((2, 3)), [0, 1]), "row 0 of log_probabilities isn't one"),
        (lambda: calibration_metrics(np.log(np.full((2, 2), 0.5)), [0, 2]), "label 2 in row 1"),
        (lambda: calibration_metrics(np.log(np.full((2, 2), 0.5)), [0.0, 1.0]), r"labels int \[N\]"),
    ],
)
def test_bad_input(call, said):
    with pytest.raises(UserError, match=said):
        call()
