import math

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk

from openood_multimodal.errors import UserError
from openood_multimodal.evaluators import intervals as iv
from openood_multimodal.evaluators.metrics import compute_ood_metrics, score_counts


def samples(n_id=60, n_ood=45, digits=None, seed=0):
    rng = np.random.default_rng(seed)
    conf_id, conf_ood = rng.normal(1, 1, n_id), rng.normal(0, 1, n_ood)
    return (conf_id, conf_ood) if digits is None else (conf_id.round(digits), conf_ood.round(digits))


def counts_of(conf_id, conf_ood):
    return score_counts(conf_id, conf_ood)


def literal_delong(conf_id, conf_ood):
    """DeLong et al. (1988) as written: every pair, then the variances of the two kinds of means."""
    psi = np.array([[(x > y) + 0.5 * (x == y) for y in conf_ood] for x in conf_id])
    v10, v01 = psi.mean(axis=1), psi.mean(axis=0)
    return psi.mean(), v10.var(ddof=1) / len(v10) + v01.var(ddof=1) / len(v01)


def literal_metrics(conf_id, conf_ood):
    conf = np.concatenate([conf_id, conf_ood])
    ood = np.repeat([0, 1], [len(conf_id), len(conf_ood)])
    p_in, r_in, _ = sk.precision_recall_curve(1 - ood, conf)
    p_out, r_out, _ = sk.precision_recall_curve(ood, -conf)
    fpr, tpr, _ = sk.roc_curve(ood, -conf, drop_intermediate=False)
    fpr_in, tpr_in, _ = sk.roc_curve(1 - ood, conf, drop_intermediate=False)
    fprs = fpr[np.argmax(tpr >= 0.95)], fpr_in[np.argmax(tpr_in >= 0.95)]
    return sk.auc(r_in, p_in), sk.auc(r_out, p_out), *fprs


def literal_bootstrap(conf_id, conf_ood, resamples, seed=0):
    rng = np.random.default_rng(seed)
    return np.array(
        [
            literal_metrics(rng.choice(conf_id, len(conf_id)), rng.choice(conf_ood, len(conf_ood)))
            for _ in range(resamples)
        ]
    )


def test_counts_run_from_the_highest_score():
    counts = counts_of(np.array([3.0, 1.0, 3.0]), np.array([2.0, 1.0]))
    assert counts.id.tolist() == [2, 0, 1]
    assert counts.ood.tolist() == [0, 1, 1]
    assert (counts.n_id, counts.n_ood) == (3, 2)


@pytest.mark.parametrize("digits", [None, 1, 0])
@pytest.mark.parametrize("seed", range(5))
def test_delong_is_the_literal_one(digits, seed):
    conf_id, conf_ood = samples(digits=digits, seed=seed)
    assert iv.delong_variance(counts_of(conf_id, conf_ood)) == pytest.approx(
        literal_delong(conf_id, conf_ood)
    )


def test_delong_by_hand():
    # ID 3, 1; OOD 2, 0: pairs won 3 of 4; V_id = (1, ½), V_ood = (½, 1); variance = 2 · (1/8)/2
    auroc, variance = iv.delong_variance(counts_of(np.array([3.0, 1.0]), np.array([2.0, 0.0])))
    assert auroc == 0.75
    assert variance == pytest.approx(0.125)


def test_auroc_interval_is_clipped_and_falls_back_to_wilson():
    low, high = iv.auroc_interval(counts_of(np.array([3.0, 1.0]), np.array([2.0, 0.0])))
    assert high == 1.0
    assert low == pytest.approx(0.75 - iv.Z95 * math.sqrt(0.125))
    perfect = counts_of(np.arange(10.0, 30.0), np.arange(8.0))
    assert iv.auroc_interval(perfect) == iv.wilson(1.0, 8)
    with pytest.warns(UserWarning, match="single sample"):
        single = counts_of(np.arange(10.0), np.array([4.5]))
    assert iv.auroc_interval(single) == iv.wilson(0.5, 1)


@pytest.mark.parametrize(("p", "n"), [(0.0, 10), (1.0, 10), (0.5, 1), (0.37, 100), (0.9, 5000)])
def test_wilson_is_where_the_score_test_turns(p, n):
    for bound in iv.wilson(p, n):
        spread = iv.Z95 * math.sqrt(bound * (1 - bound) / n)
        assert abs(p - bound) == pytest.approx(spread, abs=1e-7)


@pytest.mark.parametrize("n", [1, 2, 3, 19, 20, 21, 40, 57, 100, 1000, 12345, 1_000_000])
def test_needed_is_the_least_count(n):
    k = iv.needed(n, 0.95)
    assert k / n >= 0.95
    assert k == 1 or (k - 1) / n < 0.95


@pytest.mark.parametrize("digits", [None, 1, 0])
def test_aupr_of_each_resample_is_sklearn_s(digits):
    conf_id, conf_ood = samples(digits=digits)
    counts = counts_of(conf_id, conf_ood)
    levels = np.unique(np.concatenate([conf_id, conf_ood]))[::-1]
    rng = np.random.default_rng(0)
    drawn_id, drawn_ood = iv.resample(counts.id, 40, rng), iv.resample(counts.ood, 40, rng)
    assert (drawn_id.sum(1) == 60).all()
    assert (drawn_ood.sum(1) == 45).all()
    assert (drawn_id[:, counts.id == 0] == 0).all()
    got = iv._area(drawn_id, drawn_ood)
    for b in range(40):
        expected = literal_metrics(np.repeat(levels, drawn_id[b]), np.repeat(levels, drawn_ood[b]))
        np.testing.assert_allclose(got[:, b], expected[:2], rtol=1e-12)


def test_both_ways_of_drawing_have_the_multinomial_s_moments():
    for scale in (1, 40):  # few samples a score: drawn one by one; many: multinomial
        counts = np.array([1, 2, 3, 4]) * scale
        drawn = iv.resample(counts, 20_000, np.random.default_rng(0))
        n, p = counts.sum(), counts / counts.sum()
        np.testing.assert_allclose(drawn.mean(0), counts, rtol=0.03)
        np.testing.assert_allclose(np.cov(drawn.T), n * (np.diag(p) - np.outer(p, p)), atol=0.05 * n)


@pytest.mark.parametrize("digits", [None, 1, 0])
def test_bootstrap_is_distributed_as_the_literal_loop(digits):
    conf_id, conf_ood = samples(digits=digits)
    counts = counts_of(conf_id, conf_ood)
    literal = literal_bootstrap(conf_id, conf_ood, 1500)
    rng = np.random.default_rng(1)
    ours = [
        *iv.aupr_intervals(counts, 20_000, rng),
        iv.fpr_interval(counts, "ood", 0.95, 20_000, rng),
        iv.fpr_interval(counts, "id", 0.95, 20_000, rng),
    ]
    for column, bounds in zip(literal.T, ours, strict=True):
        below, above = (np.mean(column < bounds[0]), np.mean(column > bounds[1]))
        at_least = np.mean(column <= bounds[0]), np.mean(column >= bounds[1])
        assert below <= 0.025 + 0.015
        assert above <= 0.025 + 0.015
        assert min(at_least) >= 0.025 - 0.015  # no wider than the loop's either


def test_coarse_bins_keep_the_counts_and_hardly_move_the_bounds():
    conf_id, conf_ood = samples(3000, 2500)
    counts = counts_of(conf_id, conf_ood)
    coarse = counts.coarse(512)
    assert len(coarse.id) <= 512
    assert (coarse.n_id, coarse.n_ood) == (3000, 2500)
    exact = iv.aupr_intervals(counts, 400, np.random.default_rng(0), max_bins=10**6)
    binned = iv.aupr_intervals(counts, 400, np.random.default_rng(0), max_bins=512)
    np.testing.assert_allclose(binned, exact, atol=0.004)  # two different sets of 400 resamples
    assert counts.coarse(10**6) is counts


def test_coarse_bins_with_one_huge_tie():
    counts = iv.ScoreCounts(np.r_[10_000, np.ones(99, int)], np.r_[0, np.ones(99, int)])
    coarse = counts.coarse(10)
    assert coarse.n_id == counts.n_id
    assert coarse.n_ood == counts.n_ood


def test_degenerate_bootstrap_does_not_claim_certainty():
    zeros = np.zeros(30, int)
    got = compute_ood_metrics(np.arange(50.0, 80.0), np.arange(40.0), zeros, zeros)
    for name in ("FPR@95", "FPR@95_ID_TPR"):
        assert got[name].value == 0
        assert got[name].ci_high == pytest.approx(iv.wilson(0.0, 30)[1])
    for name in ("AUPR_IN", "AUPR_OUT", "AUROC"):
        assert got[name].value == 1
        assert got[name].ci_low == pytest.approx(iv.wilson(1.0, 30)[0])


def test_seed_decides():
    conf_id, conf_ood = samples()
    labels = np.zeros(60, int)
    one, same, other = (compute_ood_metrics(conf_id, conf_ood, labels, labels, seed=s) for s in (3, 3, 4))
    assert one == same
    assert one["AUPR_IN"] != other["AUPR_IN"]
    assert one["AUROC"] == other["AUROC"]
    with pytest.raises(UserError, match="n_bootstrap is 1"):
        compute_ood_metrics(conf_id, conf_ood, labels, labels, n_bootstrap=1)


def test_coverage():
    """Over 300 draws the 95 % intervals hold the truth about 95 times in 100."""
    # FPR at the population's 95 % recall and AUROC of N(1.5, 1) against N(0, 1), in closed form
    truth = {
        "AUROC": stats.norm.cdf(1.5 / math.sqrt(2)),
        "FPR@95": stats.norm.cdf(stats.norm.ppf(0.95) - 1.5),
        "FPR@95_ID_TPR": stats.norm.sf(1.5 + stats.norm.ppf(0.05)),
        "ACC": 0.8,
    }
    rng = np.random.default_rng(0)
    held = dict.fromkeys(truth, 0)
    labels = np.zeros(300, int)
    for seed in range(300):
        conf_id, conf_ood = rng.normal(1.5, 1, 300), rng.normal(0, 1, 300)
        wrong = rng.random(300) > 0.8
        got = compute_ood_metrics(conf_id, conf_ood, wrong.astype(int), labels, n_bootstrap=300, seed=seed)
        for name, value in truth.items():
            held[name] += got[name].ci_low <= value <= got[name].ci_high
    for name, count in held.items():
        assert 0.90 <= count / 300 <= 0.99, (name, count)
