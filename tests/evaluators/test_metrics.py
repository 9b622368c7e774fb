import itertools
import time
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from openood_multimodal.errors import UserError
from openood_multimodal.evaluators import metrics as om
from openood_multimodal.evaluators.metrics import Metric, compute_ood_metrics
from openood_multimodal.vocabulary import METRICS

pytestmark = pytest.mark.filterwarnings("ignore:the ID set has a single", "ignore:the OOD set has a single")


def classes(n, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 3, n), rng.integers(0, 3, n)


def values(conf_id, conf_ood):
    got = compute_ood_metrics(conf_id, conf_ood, *classes(len(conf_id)), intervals=False)
    return {name: metric.value for name, metric in got.items()}


def by_sklearn(conf_id, conf_ood):
    """The metrics as OpenOOD asks scikit-learn for them."""
    conf = np.concatenate([conf_id, conf_ood])
    ood = np.concatenate([np.zeros(len(conf_id), int), np.ones(len(conf_ood), int)])
    fpr, tpr, _ = sk.roc_curve(ood, -conf)
    fpr_in, tpr_in, _ = sk.roc_curve(1 - ood, conf)
    p_in, r_in, _ = sk.precision_recall_curve(1 - ood, conf)
    p_out, r_out, _ = sk.precision_recall_curve(ood, -conf)
    values = {
        "FPR@95": fpr[np.argmax(tpr >= 0.95)],
        "FPR@95_ID_TPR": fpr_in[np.argmax(tpr_in >= 0.95)],
        "AUROC": sk.auc(fpr, tpr),
        "AUPR_IN": sk.auc(r_in, p_in),
        "AUPR_OUT": sk.auc(r_out, p_out),
    }
    return {name: min(value, 1.0) for name, value in values.items()}  # rounding gives 1 + 2e-16 now and then


def brute_force(conf_id, conf_ood):
    """AUROC by counting pairs, FPR by trying every threshold."""
    wins = [(a > b) + 0.5 * (a == b) for a, b in itertools.product(conf_id, conf_ood)]
    thresholds = sorted({*conf_id, *conf_ood})
    rejected = [t for t in thresholds if np.mean(conf_ood <= t) >= 0.95]
    accepted = [t for t in thresholds if np.mean(conf_id >= t) >= 0.95]
    return {
        "AUROC": np.mean(wins),
        "FPR@95": np.mean(conf_id <= min(rejected)),
        "FPR@95_ID_TPR": np.mean(conf_ood >= max(accepted)),
    }


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("kind", ["float64", "float32", "ties", "heavy ties", "separated", "reversed"])
def test_equal_to_sklearn(seed, kind):
    rng = np.random.default_rng(seed)
    n_id, n_ood = rng.integers(2, 300, 2)
    conf_id, conf_ood = rng.normal(0.7, 1, n_id), rng.normal(0, 1, n_ood)
    if kind == "float32":
        conf_id, conf_ood = conf_id.astype(np.float32), conf_ood.astype(np.float32)
    elif "ties" in kind:
        digits = 1 if kind == "ties" else 0
        conf_id, conf_ood = conf_id.round(digits), conf_ood.round(digits)
    elif kind == "separated":
        conf_id = conf_id + 100
    elif kind == "reversed":
        conf_id = conf_id - 100
    got, expected = values(conf_id, conf_ood), by_sklearn(conf_id, conf_ood)
    assert {k: got[k] for k in expected} == expected


@given(
    conf_id=st.lists(st.integers(-6, 6), min_size=1, max_size=40),
    conf_ood=st.lists(st.integers(-6, 6), min_size=1, max_size=40),
)
@settings(deadline=None, max_examples=80)
def test_equal_to_sklearn_with_ties(conf_id, conf_ood):
    conf_id, conf_ood = np.array(conf_id, float), np.array(conf_ood, float)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        got, expected = values(conf_id, conf_ood), by_sklearn(conf_id, conf_ood)
    assert {k: got[k] for k in expected} == expected


@pytest.mark.parametrize("seed", range(10))
def test_brute_force(seed):
    rng = np.random.default_rng(seed)
    conf_id, conf_ood = rng.normal(1, 1, 60).round(2), rng.normal(0, 1, 41).round(2)
    got = values(conf_id, conf_ood)
    for name, expected in brute_force(conf_id, conf_ood).items():
        assert got[name] == pytest.approx(expected, abs=1e-12), name


@given(
    conf_id=st.lists(st.floats(allow_nan=False), min_size=1, max_size=30),
    conf_ood=st.lists(st.floats(allow_nan=False), min_size=1, max_size=30),
)
@settings(deadline=None, max_examples=80)
def test_any_floats_infinities_too(conf_id, conf_ood):
    conf_id, conf_ood = np.array(conf_id), np.array(conf_ood)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        got = compute_ood_metrics(conf_id, conf_ood, *classes(len(conf_id)), n_bootstrap=20)
    wins = [(a > b) + 0.5 * (a == b) for a, b in itertools.product(conf_id, conf_ood)]
    assert got["AUROC"].value == pytest.approx(np.mean(wins), abs=1e-12)
    for metric in got.values():
        assert 0 <= metric.ci_low <= metric.value <= metric.ci_high <= 1


def test_infinities_rank_above_and_below_everything():
    conf_id, conf_ood = np.array([np.inf, 2.0, 1.0, np.inf, -1.0]), np.array([-np.inf, 0.0, np.inf, -3.0])
    finite = {np.inf: 1e6, -np.inf: -1e6}
    expected = by_sklearn(*([finite.get(v, v) for v in c] for c in (conf_id, conf_ood)))
    got = values(conf_id, conf_ood)
    assert {k: got[k] for k in expected} == expected


def test_worked_example_of_the_docs():
    conf_id = [0.9, 0.8, 0.7, 0.6, 0.3]
    conf_ood = [0.75, 0.5, 0.4, 0.2]
    got = compute_ood_metrics(conf_id, conf_ood, [0, 1, 2, 0, 1], [0, 1, 2, 0, 0], intervals=False)
    assert list(got) == list(METRICS)
    assert got["FPR@95"] == Metric(0.6)
    assert got["FPR@95_ID_TPR"] == Metric(0.75)
    assert got["AUROC"].value == pytest.approx(15 / 20)
    assert got["ACC"] == Metric(0.8)


def test_dtypes_and_monotone_maps_change_nothing():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 200, 100), rng.integers(0, 150, 90)
    expected = values(a.astype(float), b.astype(float))
    assert values(a, b) == expected
    assert values(a.astype(np.uint8), b.astype(np.uint8)) == expected  # -conf would wrap around
    assert values(np.float16(a), np.float32(b)) == expected
    assert values(np.exp(a / 50), np.exp(b / 50)) == expected
    assert values((a * 1e300).astype(float), (b * 1e300).astype(float)) == expected


def test_symmetry():
    rng = np.random.default_rng(0)
    a, b = rng.normal(1, 1, 80), rng.normal(0, 1, 50)
    one, other = values(a, b), values(-b, -a)
    assert one["FPR@95"] == pytest.approx(other["FPR@95_ID_TPR"])
    assert one["AUPR_IN"] == pytest.approx(other["AUPR_OUT"])
    assert one["AUROC"] == pytest.approx(other["AUROC"])


def test_auroc_alone():
    rng = np.random.default_rng(0)
    a, b = rng.normal(1, 1, 80).round(1), rng.normal(0, 1, 50).round(1)
    assert om.auroc(a, b) == values(a, b)["AUROC"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([], [1.0], [], []), "ID set is empty"),
        (([1.0], [], [0], [0]), "OOD set is empty"),
        (([1.0, np.nan], [1.0], [0, 0], [0, 0]), r"1 of 2 ID scores are NaN, the first in row 1"),
        (([1.0], [np.nan, np.nan], [0], [0]), r"2 of 2 OOD scores are NaN"),
        (([1.0, 2.0], [0.0], [0], [0, 0]), "pred_id must be"),
        (([1.0, 2.0], [0.0], [0, 0], [0]), "labels_id must be"),
        (([1.0, 2.0], [0.0], [0, 0], [0, -1]), r"negative label \(row 1: -1\)"),
        (([[1.0]], [0.0], [0], [0]), "one real number a sample"),
        ((["a"], [0.0], [0], [0]), "one real number a sample"),
        (([1j], [0.0], [0], [0]), "one real number a sample"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(UserError, match=message):
        compute_ood_metrics(*arguments)


def test_warnings():
    with pytest.warns(UserWarning, match="all scores are equal"):
        got = compute_ood_metrics([1.0] * 10, [1.0] * 10, *classes(10))
    assert got["AUROC"].value == 0.5
    assert got["AUROC"].ci_low < 0.5 < got["AUROC"].ci_high
    with pytest.warns(UserWarning, match="OOD set has a single sample"):
        got = compute_ood_metrics([1.0, 2.0, 3.0], [0.5], *classes(3))
    assert got["AUROC"].value == 1
    assert got["AUROC"].ci_low < 0.5  # one sample proves nothing
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compute_ood_metrics([1.0, 2.0, 3.0], [0.5, 0.6], *classes(3))


def test_mean():
    a = {name: Metric(0.2, 0.1, 0.3) for name in METRICS}
    b = {name: Metric(0.6, 0.5, 0.7) for name in METRICS}
    assert om.mean_metrics([a, b]) == {name: Metric(pytest.approx(0.4)) for name in METRICS}
    with pytest.raises(UserError, match="no OOD set"):
        om.mean_metrics([])


def test_a_million_scores_each_take_seconds():
    rng = np.random.default_rng(0)
    n = 1_000_000
    a, b = rng.normal(1, 1, n).astype(np.float32), rng.normal(0, 1, n).astype(np.float32)
    began = time.perf_counter()
    got = compute_ood_metrics(a, b, *classes(n))
    assert time.perf_counter() - began < 30  # some 2 s when the machine is quiet
    assert got["AUROC"].value == pytest.approx(0.7602, abs=2e-3)  # Φ(1/√2)
    assert 0 < got["AUROC"].ci_high - got["AUROC"].ci_low < 0.003
    for name in METRICS:
        assert got[name].ci_low < got[name].value < got[name].ci_high
