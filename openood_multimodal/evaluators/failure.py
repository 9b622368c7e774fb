"""Failure detection: does a score rank samples that are predicted rightly above those that aren't?

``conf`` is higher for samples to be trusted.  Risk is the share of wrong predictions among the accepted samples,
coverage the share of samples accepted.  Tied samples are accepted in random order; values are means over these orders.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..dense import dense
from ..errors import UserError
from . import intervals as iv
from .metrics import Metric, bounded, count_metrics

COVERAGES = (0.8, 0.9, 0.95)
"""Coverages at which the risk is read."""


@dataclass(frozen=True)
class FailureResult:
    """Failure detection of one score, with one OOD set.

    Attributes:
        metrics: those of `failure_metrics` and `open_set_metrics`, and ``AUTC`` where ``val_range`` is known.
        val_range: smallest and largest score of the ID validation set, which AUTC takes for 0 and 1; None without such
            a set, or where they are equal or infinite.
    """

    metrics: dict[str, Metric]
    val_range: tuple[float, float] | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the plain values that a record stores."""
        metrics = {name: metric.as_dict() for name, metric in self.metrics.items()}
        return {"metrics": metrics, "val_range": self.val_range and list(self.val_range)}


def range_of(conf: NDArray[Any] | None) -> tuple[float, float] | None:
    """Return the smallest and the largest of ID validation scores ``[N]``, None where they scale nothing."""
    if conf is None or not len(conf):
        return None
    low, high = float(conf.min()), float(conf.max())
    return (low, high) if low < high and math.isfinite(high - low) else None


def failure_metrics(
    conf: ArrayLike, right: ArrayLike, n_bootstrap: int = iv.DEFAULT_RESAMPLES, seed: int = 0
) -> dict[str, Metric]:
    """Return how well ``conf`` tells right from wrong predictions, with 95 % intervals.

    Args:
        conf: real ``[N]``.
        right: bool ``[N]``, whether the prediction is right.
        n_bootstrap: resamples of the intervals of AURC, E-AURC and risks.
        seed: of the bootstrap.

    Returns:
        Fractions:

        * ``AURC``: mean risk over the coverages 1/N, ..., 1 (Geifman, Uziel and El-Yaniv, 2019); ``E-AURC``:
          its excess over that of the best order;
        * ``risk@80``, ``risk@90``, ``risk@95``: risk at that coverage in percent, rounded up to whole samples;
        * ``AUROC_right``: chance that a right prediction scores higher than a wrong one; ``FPR@95_right``: share of
          wrong predictions accepted when at least 95 % of the right ones are.  Both are left out where all are
          right or all are wrong.

    Raises:
        UserError: for no sample, NaN scores, or lengths that differ.

    >>> found = failure_metrics([0.9, 0.8, 0.7, 0.6], [True, True, False, True])
    >>> round(found["AURC"].value, 4), round(found["AUROC_right"].value, 4)  # risks 0, 0, 1/3, 1/4
    (0.1458, 0.6667)
    """
    values, is_right = dense(conf, "conf"), dense(right, "right")
    if is_right.dtype != np.bool_ or is_right.shape != values.shape or values.ndim != 1 or not len(values):
        raise UserError(
            f"conf and right must be one real number and one bool a sample; got {values.dtype} {list(values.shape)} "
            f"and {is_right.dtype} {list(is_right.shape)}."
        )
    bad = np.flatnonzero(np.isnan(values))
    if len(bad):
        raise UserError(f"{len(bad)} of {len(values)} scores are NaN, the first in row {bad[0]}.")
    counts = _counts(values, is_right)
    names = ("AURC", "E-AURC", *(f"risk@{100 * coverage:.0f}" for coverage in COVERAGES))
    exact = _risks(counts.id[None], counts.ood[None])[:, 0]
    binned = counts.coarse(iv.MAX_BINS)
    drawn = np.empty((len(names), n_bootstrap))
    rng, block = np.random.default_rng(seed), max(1, iv.CHUNK_CELLS // len(binned.id))
    both = np.concatenate([binned.id, binned.ood])
    for start in range(0, n_bootstrap, block):
        resampled = iv.resample(both, min(block, n_bootstrap - start), rng)
        drawn[:, start : start + block] = _risks(*np.split(resampled, 2, axis=1))
    if binned is not counts:
        drawn += (exact - _risks(binned.id[None], binned.ood[None])[:, 0])[:, None]
    found = {}
    for name, value, each in zip(names, exact.tolist(), drawn, strict=True):
        low, high = iv.percentiles(each)
        if high - low < 1e-12:
            low, high = iv.wilson(value, len(values))
        found[name] = bounded(value, (low, high))
    if is_right.any() and not is_right.all():
        of_right = count_metrics(counts, n_bootstrap=n_bootstrap, seed=seed)
        found["AUROC_right"], found["FPR@95_right"] = of_right["AUROC"], of_right["FPR@95_ID_TPR"]
    return found


def open_set_metrics(conf: ArrayLike, right: ArrayLike, conf_ood: ArrayLike) -> dict[str, Metric]:
    """Return how well ``conf`` tells right predictions from everything that shouldn't be accepted.

    Args:
        conf: real ``[N]``, of ID samples.
        right: bool ``[N]``, whether their prediction is right.
        conf_ood: real ``[M]``, of OOD samples.

    Returns:
        Fractions with 95 % intervals:

        * ``OSCR``: area under the correct classification rate (ID samples accepted and right) over the false positive
          rate (OOD samples accepted) (Dhamija, Günther and Boult, 2018), which is the chance that an ID sample is right
          and scores higher than an OOD sample, ties counting one half; interval from DeLong's variance;
        * ``AUROC_scope``: AUROC of right ID samples against wrong ID samples and OOD samples together (out of model
          scope: Guérin, Delmas, Ferreira and Guiochet, 2023); left out where no ID sample is right.

    >>> open_set_metrics([0.9, 0.8, 0.3], np.array([True, False, True]), [0.5, 0.1])["OSCR"].value
    0.5
    """
    values, unknown = dense(conf, "conf"), dense(conf_ood, "conf_ood")
    is_right = dense(right, "right")
    if is_right.dtype != np.bool_ or is_right.shape != values.shape:
        raise UserError("right must be one bool a sample of conf.")
    n, found = len(values), {}
    if is_right.any():
        counts = _counts(*_joined(values[is_right], unknown))
        per_id = (counts.n_ood - np.cumsum(counts.ood) + 0.5 * counts.ood) / counts.n_ood
        per_ood = (np.cumsum(counts.id) - 0.5 * counts.id) / n
        oscr = float(counts.id @ per_id / n)
        variance = math.nan
        if min(n, counts.n_ood) > 1:
            spread = float(counts.id @ per_id**2) - n * oscr**2  # wrong samples are 0
            variance = spread / (n - 1) / n
            variance += float(counts.ood @ (per_ood - oscr) ** 2) / (counts.n_ood - 1) / counts.n_ood
        half = iv.Z95 * math.sqrt(variance) if variance > 1e-20 else math.nan
        bounds = (oscr - half, oscr + half) if half == half else iv.wilson(oscr, min(n, counts.n_ood))
        found["OSCR"] = bounded(oscr, (max(bounds[0], 0.0), min(bounds[1], 1.0)))
        scope = _counts(*_joined(values[is_right], np.concatenate([values[~is_right], unknown])))
        found["AUROC_scope"] = bounded(iv.delong_variance(scope)[0], iv.auroc_interval(scope))
    else:
        found["OSCR"] = bounded(0.0, iv.wilson(0.0, n))
    return found


def autc(conf: ArrayLike, conf_ood: ArrayLike, low: float, high: float) -> Metric:
    """Return the area under the threshold curve (Humblot-Renaux, Escalera and Moeslund, 2023); lower is better.

    Scores are scaled to [0, 1] as (conf - low) / (high - low) and clipped.  Over all thresholds in [0, 1], it is
    the mean of the areas under the false positive rate (ID rejected) and the false negative rate (OOD accepted), which
    is (1 - mean ID score + mean OOD score) / 2: 1/2 for equal scores.  It depends on the scaling: here the range of ID
    validation scores.  The interval is the normal one.

    Args:
        conf: real ``[N]``, of ID samples.
        conf_ood: real ``[M]``, of OOD samples.
        low: smallest ID validation score.
        high: largest.

    Raises:
        UserError: unless low < high, both finite.

    >>> autc([3.0, 2.0], [0.0, 1.0], low=1.0, high=3.0).value
    0.125
    """
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise UserError(
            f"AUTC scales scores by the range of validation scores, which is {low:g} to {high:g}."
        )
    scaled = [
        np.clip((dense(each, "conf").astype(np.float64) - low) / (high - low), 0.0, 1.0)
        for each in (conf, conf_ood)
    ]
    value = float(1.0 - scaled[0].mean() + scaled[1].mean()) / 2
    if min(map(len, scaled)) < 2:
        return bounded(value, iv.wilson(value, 1))
    half = iv.Z95 * math.sqrt(sum(float(each.var(ddof=1)) / len(each) for each in scaled)) / 2
    return bounded(value, (max(value - half, 0.0), min(value + half, 1.0)))


def _joined(right: NDArray[Any], others: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    return np.concatenate([right, others]), np.arange(len(right) + len(others)) < len(right)


def _counts(conf: NDArray[np.float64], right: NDArray[np.bool_]) -> iv.ScoreCounts:
    """Return right (``id``) and wrong (``ood``) predictions a distinct score, the highest first; one may be absent."""
    groups = np.unique(-conf, return_inverse=True)[1]
    size = int(groups.max()) + 1
    return iv.ScoreCounts(
        np.bincount(groups[right], minlength=size), np.bincount(groups[~right], minlength=size)
    )


def _risks(right: NDArray[np.int64], wrong: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return ``[2 + len(COVERAGES), B]``: AURC, E-AURC and the risks of ``[B, G]`` counts, the most trusted first.

    Within a group of g samples, of which e are wrong, e j / g are wrong among the first j, on average.
    Of k accepted samples, K before the group with E wrong, the risks sum to E ΔH + (e / g)(g - K ΔH) over the
    group, where ΔH = Σ_{k=K+1}^{K+g} 1 / k.
    """
    size = right + wrong
    accepted, errors = np.cumsum(size, axis=1), np.cumsum(wrong, axis=1)
    n = int(accepted[0, -1])
    harmonic = np.concatenate([[0.0], np.cumsum(1.0 / np.arange(1, n + 1))])
    before, errors_before = accepted - size, errors - wrong
    delta = harmonic[accepted] - harmonic[before]
    share = wrong / np.maximum(size, 1)
    aurc = (errors_before * delta + share * (size - before * delta)).sum(axis=1) / n
    total = errors[:, -1]
    best = (total - (n - total) * (harmonic[n] - harmonic[n - total])) / n  # all right ones first
    rows = [aurc, aurc - best]
    for coverage in COVERAGES:
        k = iv.needed(n, coverage)
        group = (accepted >= k).argmax(axis=1)[:, None]
        at = [np.take_along_axis(each, group, axis=1)[:, 0] for each in (errors_before, before, share)]
        rows.append((at[0] + at[2] * (k - at[1])) / k)
    return np.clip(np.stack(rows), 0.0, 1.0)
