"""95 % intervals of the metrics, from counts of samples a distinct score.

Every function takes the same description of two score sets, `ScoreCounts`: how many ID and how many OOD
samples have each distinct score, from the most to the least in-distribution.  Ties are therefore exact.

* AUROC: DeLong et al. (1988), by midranks as in Sun and Xu (2014), O(G) for G distinct scores.
* ACC: Wilson (1927).
* FPR@95, both conventions, and both AUPR: the percentile bootstrap (Efron, 1979), ID and OOD resampled apart.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Z95 = 1.959963984540054
"""The 97.5 % quantile of the standard normal distribution."""

DEFAULT_RESAMPLES = 1000
"""Bootstrap resamples a set."""

MAX_BINS = 2048
"""Distinct scores up to which the AUPR bootstrap is exact; beyond, neighbouring scores share a bin."""

CHUNK_CELLS = 1 << 14
"""Cells of one block of resamples: small enough for the cache, which is several times faster."""

Interval = tuple[float, float]


@dataclass(frozen=True)
class ScoreCounts:
    """How many samples of each kind have each distinct score, highest ``conf`` (most ID) first.

    Attributes:
        id: int64 ``[G]``, ID samples a distinct score.
        ood: int64 ``[G]``, OOD samples a distinct score.
    """

    id: NDArray[np.int64]
    ood: NDArray[np.int64]

    @property
    def n_id(self) -> int:
        """Number of ID samples."""
        return int(self.id.sum())

    @property
    def n_ood(self) -> int:
        """Number of OOD samples."""
        return int(self.ood.sum())

    def coarse(self, bins: int) -> ScoreCounts:
        """Merge neighbouring scores into at most ``bins`` bins of about equal numbers of samples."""
        if len(self.id) <= bins:
            return self
        cumulative = np.cumsum(self.id + self.ood)
        bin_of = np.minimum((cumulative - 1) * bins // cumulative[-1], bins - 1)
        starts = np.flatnonzero(np.diff(bin_of, prepend=-1))
        return ScoreCounts(np.add.reduceat(self.id, starts), np.add.reduceat(self.ood, starts))


def wilson(proportion: float, n: int) -> Interval:
    """Return Wilson's score interval of a proportion seen in ``n`` trials; within [0, 1].

    >>> low, high = wilson(0.9, 50)
    >>> round(low, 3), round(high, 3)
    (0.786, 0.957)
    """
    z2 = Z95 * Z95
    centre = (proportion + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 / (1 + z2 / n) * math.sqrt(proportion * (1 - proportion) / n + z2 / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def delong_variance(counts: ScoreCounts) -> tuple[float, float]:
    """Return the AUROC and DeLong's estimate of its variance (NaN when a set has fewer than two samples).

    With ψ(x, y) = 1, ½, 0 for x above, equal to, below y: V_id(x) is the mean of ψ(x, y) over OOD samples y,
    V_ood(y) the mean over ID samples x; the variance is var(V_id)/n_id + var(V_ood)/n_ood (ddof 1).
    """
    n_id, n_ood = counts.n_id, counts.n_ood
    ood_below = n_ood - np.cumsum(counts.ood)
    id_above = np.cumsum(counts.id) - counts.id
    v_id = (ood_below + 0.5 * counts.ood) / n_ood
    v_ood = (id_above + 0.5 * counts.id) / n_id
    auroc = float(counts.id @ v_id / n_id)
    if min(n_id, n_ood) < 2:
        return auroc, math.nan
    var_id = float(counts.id @ (v_id - auroc) ** 2) / (n_id - 1)
    var_ood = float(counts.ood @ (v_ood - auroc) ** 2) / (n_ood - 1)
    return auroc, var_id / n_id + var_ood / n_ood


def auroc_interval(counts: ScoreCounts) -> Interval:
    """Return DeLong's 95 % interval of the AUROC, clipped to [0, 1].

    Where the variance can't be estimated (one sample in a set) or comes out as 0 (perfect separation,
    constant scores), DeLong's interval would be absent or claim certainty; then it is Wilson's with
    min(n_id, n_ood) trials.  That is wide rather than narrow: AUROC(1 - AUROC)/min(n_id, n_ood) bounds the
    variance from above (Birnbaum and Klose, 1957).
    """
    auroc, variance = delong_variance(counts)
    if not variance > 1e-20:
        return wilson(min(max(auroc, 0.0), 1.0), min(counts.n_id, counts.n_ood))
    half = Z95 * math.sqrt(variance)
    return max(0.0, auroc - half), min(1.0, auroc + half)


def fpr_interval(
    counts: ScoreCounts, positive: str, recall: float, resamples: int, rng: np.random.Generator
) -> Interval:
    """Return the percentile-bootstrap interval of the FPR at ``recall`` of the positive kind.

    No resample is ever drawn sample by sample.  Of n positives drawn with replacement from n, the k-th in
    the order of flagging is the one at position ⌊nU⌋ of the originals, U ~ Beta(k, n + 1 - k); of the m
    negatives, Binomial(m, F) are then flagged, F being the share of the originals at or before that score.
    This is the bootstrap's own distribution, at a cost that does not grow with the number of resamples
    times n.

    Args:
        counts: the two score sets.
        positive: ``"ood"`` (flagged from the lowest score up) or ``"id"`` (from the highest down).
        recall: share of the positives that must be flagged.
        resamples: number of resamples.
        rng: source of randomness.
    """
    if positive == "ood":
        positives, negatives = counts.ood[::-1], counts.id[::-1]
    else:
        positives, negatives = counts.id, counts.ood
    n, m = int(positives.sum()), int(negatives.sum())
    k = needed(n, recall)
    position = np.minimum((n * rng.beta(k, n + 1 - k, size=resamples)).astype(np.int64), n - 1)
    group = np.searchsorted(np.cumsum(positives), position, side="right")
    flagged = np.cumsum(negatives)[group] / m
    return percentiles(rng.binomial(m, np.minimum(flagged, 1.0)) / m)


def needed(n: int, recall: float) -> int:
    """Return the least k with ``k / n >= recall`` in float64, the comparison that ROC curves make."""
    k = max(1, math.ceil(recall * n))
    while k > 1 and (k - 1) / n >= recall:
        k -= 1
    while k / n < recall:
        k += 1
    return k


def aupr_intervals(
    counts: ScoreCounts, resamples: int, rng: np.random.Generator, max_bins: int = MAX_BINS
) -> tuple[Interval, Interval]:
    """Return the percentile-bootstrap intervals of AUPR_IN and AUPR_OUT, from the same resamples.

    Exact up to ``max_bins`` distinct scores.  Beyond, neighbouring scores are counted in one bin, the curve
    is linear within it, and the intervals are moved by what this does to the original sample (below 1e-3).
    """
    binned = counts.coarse(max_bins)
    values = bootstrap_aupr(binned, resamples, rng)
    if binned is not counts:
        values += _area(counts.id[None], counts.ood[None]) - _area(binned.id[None], binned.ood[None])
    return percentiles(values[0]), percentiles(values[1])


def bootstrap_aupr(counts: ScoreCounts, resamples: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return ``[2, resamples]``: AUPR_IN and AUPR_OUT of stratified resamples."""
    groups = len(counts.id)
    block = max(1, CHUNK_CELLS // groups)
    values = np.empty((2, resamples))
    for start in range(0, resamples, block):
        size = min(block, resamples - start)
        drawn = resample(counts.id, size, rng), resample(counts.ood, size, rng)
        values[:, start : start + size] = _area(*drawn)
    return values


def resample(counts: NDArray[np.int64], size: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return ``[size, G]`` multinomial counts: as many draws with replacement as there are samples."""
    n, groups = int(counts.sum()), len(counts)
    if n > 16 * groups:
        return rng.multinomial(n, counts / n, size=size)
    group_of = np.repeat(np.arange(groups), counts)
    drawn = group_of[rng.integers(0, n, size=(size, n))]
    drawn += np.arange(0, size * groups, groups)[:, None]
    return np.bincount(drawn.ravel(), minlength=size * groups).reshape(size, groups)


def _area(id_counts: NDArray[np.int64], ood_counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return ``[2, B]``: AUPR_IN and AUPR_OUT of ``[B, G]`` counts, by the trapezoidal rule.

    A score that no sample of a resample has adds no recall, hence no area, so it need not be taken out.
    """
    id_seen, ood_seen = _running(id_counts), _running(ood_counts)
    n_id, n_ood = id_seen[:, -1:], ood_seen[:, -1:]
    area_in = _trapezoid(id_counts, id_seen, id_seen + ood_seen)
    id_left, ood_left = n_id - id_seen, n_ood - ood_seen  # the OOD curve runs from the other end
    area_out = _trapezoid(ood_counts, ood_left, id_left + ood_left)
    return np.stack([area_in / n_id[:, 0], area_out / n_ood[:, 0]])


def _running(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return ``[B, G + 1]``: sums of all counts before each score, and of all."""
    totals = np.zeros((len(counts), counts.shape[1] + 1), np.int64)
    np.cumsum(counts, axis=1, out=totals[:, 1:])  # integers: many times faster than a running sum of floats
    return totals.astype(np.float64)


def _trapezoid(
    steps: NDArray[np.int64], hits: NDArray[np.float64], seen: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return ``[B]``: the steps of recall times the mean precision ``hits / seen`` at their two ends."""
    with np.errstate(invalid="ignore"):
        precision = hits / seen
    precision[seen == 0] = 1.0  # as scikit-learn's curve starts
    return 0.5 * np.einsum("bg,bg->b", steps, precision[:, 1:] + precision[:, :-1])


def percentiles(values: NDArray[np.float64]) -> Interval:
    """Return the 2.5 % and 97.5 % quantiles of resampled fractions, within [0, 1]."""
    low, high = np.quantile(values, (0.025, 0.975))
    return min(max(float(low), 0.0), 1.0), min(max(float(high), 0.0), 1.0)
