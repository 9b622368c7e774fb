"""The OOD share of a batch: exact cases, coverage of its interval."""

import numpy as np
import pytest

from openood_multimodal.evaluators.share import ood_share


def test_exact_cases():
    known = np.arange(100.0)
    assert ood_share(known, known).value == 0.0
    assert ood_share(known, np.concatenate([known, np.full(300, -5.0)])).value == pytest.approx(0.75)
    # all OOD: every resample agrees, so the interval is Wilson's and not a point
    alone = ood_share(known, np.full(50, -5.0))
    assert alone.value == 1.0
    assert alone.ci_low < 0.9


def test_ties_at_the_median():
    known = np.repeat([1.0, 0.0], [80, 20])
    assert ood_share(known, np.repeat([1.0, 0.0], [40, 60])).value == pytest.approx(0.5)


@pytest.mark.parametrize("share", [0.0, 0.2, 0.6])
def test_the_interval_covers_the_share(share):
    rng = np.random.default_rng(int(10 * share))
    covered = 0
    for seed in range(400):
        known, m = rng.standard_normal(200), 300
        outside = rng.binomial(m, share)
        batch = np.concatenate([rng.standard_normal(m - outside), rng.standard_normal(outside) - 8])
        found = ood_share(known, batch, seed=seed)
        covered += found.ci_low <= share <= found.ci_high
    assert covered >= 0.92 * 400
