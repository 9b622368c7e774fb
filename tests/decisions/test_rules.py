"""The rules: conformal coverage by simulation, thresholds, plug-in rules against literal versions."""

import numpy as np
import pytest
import scipy.stats

from openood_multimodal.decisions import rules
from openood_multimodal.errors import UserError

DRAWS = 10_000


def in_binomial_interval(hits, n, p):
    low, high = scipy.stats.binom.ppf([0.0005, 0.9995], n, p)
    return low <= hits <= high


@pytest.mark.parametrize(("n", "tpr"), [(19, 0.95), (40, 0.95), (99, 0.9), (50, 0.8)])
def test_coverage_of_split_conformal(n, tpr):
    """Over draws of validation set and sample, exactly floor(alpha (n + 1)) / (n + 1) are rejected."""
    rng = np.random.default_rng(n)
    hits = 0
    for _ in range(DRAWS):
        conf = rng.standard_normal(n + 1)
        hits += int(rules.rejected(rules.p_values(conf[:1], np.sort(conf[1:])), n, tpr)[0])
    expected = rules.rejected_ranks(n, tpr) / (n + 1)
    assert expected <= 1 - tpr + 1e-12
    assert in_binomial_interval(hits, DRAWS, expected)


def test_coverage_of_mondrian_p_values_in_every_class():
    """A class whose scores are lower by far is not rejected more often than the others; without classes it is."""
    rng = np.random.default_rng(3)
    n, tpr, shifts = 39, 0.9, np.array([0.0, -3.0, 2.0])
    hits, pooled = np.zeros(3), np.zeros(3)
    for _ in range(DRAWS):
        groups = [np.sort(rng.standard_normal(n) + shift) for shift in shifts]
        conf, pred = rng.standard_normal(3) + shifts, np.arange(3)
        hits += rules.rejected(rules.class_p_values(conf, pred, groups), n, tpr)
        pooled += rules.rejected(rules.p_values(conf, np.sort(np.concatenate(groups))), 3 * n, tpr)
    assert all(in_binomial_interval(each, DRAWS, 0.1) for each in hits)
    assert not in_binomial_interval(pooled[1], DRAWS, 0.1)


def test_ties_are_conservative():
    values = rules.p_values(np.array([1.0, 0.5]), np.array([1.0] * 10 + [2.0] * 9))
    assert values.tolist() == [11 / 20, 1 / 20]
    assert rules.rejected(values, 19, 0.95).tolist() == [False, True]


@pytest.mark.parametrize("tpr", [0.9, 0.95, 0.99, 0.999, 0.5, 1 / 3])
def test_rows_needed_is_the_least_number_that_can_reject(tpr):
    n = rules.rows_needed(tpr)
    assert rules.rejected_ranks(n, tpr) == 1
    assert rules.rejected_ranks(n - 1, tpr) == 0


def test_too_few_rows():
    with pytest.raises(
        UserError, match=r"18 rows; an error rate of 0\.05 .* at least 19\. .* at most 0\.947"
    ):
        rules.check_rows([np.zeros(9), np.zeros(9)], 0.95, per_class=False)
    rules.check_rows([np.zeros(9), np.zeros(10)], 0.95, per_class=False)
    with pytest.raises(UserError, match=r"at least 19 .* class 1 \(18\)\..*0\.947.*conformal"):
        rules.check_rows([np.zeros(19), np.zeros(18)], 0.95, per_class=True)
    rules.check_rows([np.zeros(18), np.zeros(18)], rules._highest(18), per_class=True)


def test_threshold():
    conf = np.random.default_rng(0).permutation(np.arange(20.0))
    assert rules.threshold_at(conf, 0.95) == 1.0
    assert rules.threshold_at(conf, 0.951) == 0.0
    assert np.mean(conf >= rules.threshold_at(conf, 0.5)) == 0.5


def test_tpr_interval_is_that_of_the_order_statistic():
    rng = np.random.default_rng(0)
    accepted = 96
    drawn = 1 - np.sort(rng.random((20_000, 100)), axis=1)[:, 100 - accepted]
    assert np.quantile(drawn, [0.025, 0.975]) == pytest.approx(rules.tpr_interval(100, accepted), abs=2e-3)


def test_density_ratios():
    """Against the true ratio; and the isotonic fit against a literal pool-adjacent-violators."""
    rng = np.random.default_rng(0)
    values = np.ceil(np.concatenate([rng.random(40_000), rng.beta(0.3, 1, size=40_000)]) * 20) / 20
    found = rules.density_ratios(values, 19, 0.5)
    edges = np.arange(21) / 20
    assert found == pytest.approx(20 * np.diff(edges**0.3), rel=0.1, abs=0.04)
    assert rules.density_ratios(np.array([1.0]), 3, 0.0) == pytest.approx(
        [1.0, 0.5**0.5, 0.75**0.5 / 1.5, 0.5]
    )
    # ranks 1, 1, 2, 4, 4 of 4: densities 1.6 .8 0 1.6, pooled to 1.6 .8 .8 .8
    few = rules.density_ratios(np.array([1, 1, 2, 4, 4]) / 4, 3, 0.5)
    assert few == pytest.approx((np.array([1.6, 0.8, 0.8, 0.8]) - 0.5) / 0.5)


def test_scod_is_the_bayes_rule():
    """With w = c_out / (1 - c_in) the confidence ranks and cuts as (1-ci-co)(1-p) + co r > ci does."""
    rng = np.random.default_rng(1)
    probability, ratio, c_in, c_out = rng.random(500), rng.exponential(size=500), 0.2, 0.3
    literal = [
        (1 - c_in - c_out) * (1 - p) + c_out * r > c_in for p, r in zip(probability, ratio, strict=True)
    ]
    conf = rules.scod_confidence(probability, ratio, c_out / (1 - c_in))
    assert (conf < (1 - 2 * c_in - c_out) / (1 - c_in)).tolist() == literal
    assert 50 < sum(literal) < 450


def test_expected_cost_has_its_limits():
    p, r = np.array([0.7]), np.array([2.0])
    assert rules.expected_cost(p, r, 0.0, 3.0, 7.0) == pytest.approx(0.9)  # Chow: error (1 - p)
    assert rules.expected_cost(p, r, 1.0, 3.0, 7.0) == pytest.approx(7.0)
    outside = 0.5 * 2 / (0.5 + 0.5 * 2)
    assert rules.expected_cost(p, r, 0.5, 3.0, 7.0) == pytest.approx(outside * 7 + (1 - outside) * 0.3 * 3)
