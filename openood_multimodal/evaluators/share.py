"""The share of OOD samples in an unlabelled batch."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from . import intervals as iv
from .metrics import Metric, bounded, score_counts

ACCEPTED = 0.5
"""The share of ID samples above the confidence at which the batch is compared."""


def ood_share(
    conf_id: ArrayLike, conf_batch: ArrayLike, n_bootstrap: int = iv.DEFAULT_RESAMPLES, seed: int = 0
) -> Metric:
    """Return the estimated share of OOD samples in a batch, with its 95 % interval.

    A share g of the ID samples has a confidence of at least the ID set's median, and a share F of the batch.  OOD
    samples above it are few, so about 1 - F / g of the batch is OOD (Storey's estimator, 2002, on conformal p-values
    at 1/2).  OOD samples above the median count as ID: the estimate is then too low.  The interval is the percentile
    bootstrap's, both sets resampled (`intervals.fpr_interval`); Wilson's where all resamples agree.

    Args:
        conf_id: ``[n]``, of ID samples that nothing was fitted to.
        conf_batch: ``[m]``, of the batch.
        n_bootstrap: resamples.
        seed: of the bootstrap.

    Raises:
        UserError: for an empty set, or NaN.

    >>> share = ood_share(np.arange(100.0), np.concatenate([np.arange(100.0), np.full(100, -1.0)]))
    >>> share.value
    0.5
    """
    counts = score_counts(conf_id, conf_batch)
    group = int(np.searchsorted(np.cumsum(counts.id), iv.needed(counts.n_id, ACCEPTED)))
    known = float(counts.id[: group + 1].sum() / counts.n_id)
    above = float(counts.ood[: group + 1].sum() / counts.n_ood)
    low, high = iv.fpr_interval(counts, "id", ACCEPTED, n_bootstrap, np.random.default_rng(seed))
    if high - low < 1e-12:
        low, high = iv.wilson(above, counts.n_ood)
    value, least, most = (min(max(1.0 - each / known, 0.0), 1.0) for each in (above, high, low))
    return bounded(value, (least, most))
