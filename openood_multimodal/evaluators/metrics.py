"""The metrics of out-of-distribution detection: pure functions of arrays.

``conf`` is higher for in-distribution samples throughout.  The values are OpenOOD's (its main branch): those of
scikit-learn's curves, to the last bit; `docs/metrics.md` draws the two conventions of FPR@95.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..dense import dense
from ..errors import UserError
from ..naming import did_you_mean
from ..vocabulary import METRICS, MORE_METRICS
from . import intervals as iv

RECALL = 0.95
"""The recall at which both FPR metrics are read."""


@dataclass(frozen=True)
class Metric:
    """One metric with its 95 % interval, all fractions in [0, 1].

    Attributes:
        value: the metric.
        ci_low: lower bound, or None where no interval was asked for (or it is a mean over sets).
        ci_high: upper bound, or None.
    """

    value: float
    ci_low: float | None = None
    ci_high: float | None = None

    def as_dict(self) -> dict[str, float | None]:
        """Return ``{"value", "ci_low", "ci_high"}``, as records store it."""
        return asdict(self)


def compute_ood_metrics(
    conf_id: ArrayLike,
    conf_ood: ArrayLike,
    pred_id: ArrayLike,
    labels_id: ArrayLike,
    intervals: bool = True,
    n_bootstrap: int = iv.DEFAULT_RESAMPLES,
    seed: int = 0,
) -> dict[str, Metric]:
    """Return every metric of one ID set against one OOD set.

    Args:
        conf_id: real ``[N_id]``; ±inf are scores like others, NaN is an error.
        conf_ood: real ``[N_ood]``.
        pred_id: int ``[N_id]``, predicted classes of the ID samples.
        labels_id: int ``[N_id]``, their true classes, >= 0.
        intervals: whether to compute 95 % intervals.
        n_bootstrap: resamples of the bootstrap intervals (FPR and AUPR).
        seed: seed of the bootstrap; the same seed gives the same bounds.

    Returns:
        The keys of `METRICS`, in that order; values are fractions:

        * ``FPR@95``: share of ID samples rejected when at least 95 % of OOD samples are (OpenOOD);
        * ``FPR@95_ID_TPR``: share of OOD samples accepted when at least 95 % of ID samples are (the paper);
        * ``AUROC``; ``AUPR_IN`` (ID positive); ``AUPR_OUT`` (OOD positive); ``ACC`` on ID samples.

    Raises:
        UserError: for an empty set, NaN scores, shapes that differ, or ID samples labelled as OOD.

    Warns:
        UserWarning: for a set of one sample, or scores that are all equal.

    >>> found = compute_ood_metrics([0.9, 0.8, 0.7, 0.6, 0.3], [0.75, 0.5, 0.4, 0.2], [0, 1, 2, 0, 1], [0, 1, 2, 0, 0])
    >>> {name: round(metric.value, 3) for name, metric in found.items()}
    {'FPR@95': 0.6, 'FPR@95_ID_TPR': 0.75, 'AUROC': 0.75, 'AUPR_IN': 0.816, 'AUPR_OUT': 0.707, 'ACC': 0.8}
    """
    counts = score_counts(conf_id, conf_ood)
    pred, labels = _classes(pred_id, labels_id, n_id=counts.n_id)
    found = count_metrics(counts, intervals, n_bootstrap, seed)
    accuracy = float(np.count_nonzero(pred == labels) / len(labels))
    found["ACC"] = bounded(accuracy, iv.wilson(accuracy, len(labels))) if intervals else Metric(accuracy)
    return {name: found[name] for name in METRICS}


def count_metrics(
    counts: iv.ScoreCounts,
    intervals: bool = True,
    n_bootstrap: int = iv.DEFAULT_RESAMPLES,
    seed: int = 0,
) -> dict[str, Metric]:
    """Return the metrics of `compute_ood_metrics` that scores alone decide, all but ACC, from their counts."""
    values = _curve_metrics(counts)
    if not intervals:
        return {name: Metric(value) for name, value in values.items()}
    if n_bootstrap < 2:
        raise UserError(f"n_bootstrap is {n_bootstrap}; intervals need at least 2 resamples.")
    bounds = _intervals(counts, values, n_bootstrap, seed)
    return {name: bounded(value, bounds[name]) for name, value in values.items()}


def auroc(conf_id: ArrayLike, conf_ood: ArrayLike) -> float:
    """Return the AUROC alone, as a fraction; arguments and errors as in `compute_ood_metrics`."""
    counts = score_counts(conf_id, conf_ood)
    return _area(*roc(counts.id[::-1], counts.ood[::-1]))


def more_metrics(kinds: str | Iterable[str] | None, where: str = "metrics") -> tuple[str, ...]:
    """Return the kinds of `MORE_METRICS` that are asked for, each once.

    Args:
        kinds: one or several; None: none.
        where: the key or argument that names them, for the message.

    Raises:
        UserError: for an unknown one.
    """
    names = tuple(dict.fromkeys([kinds] if isinstance(kinds, str) else kinds or ()))
    for name in names:
        if name not in MORE_METRICS:
            raise UserError(
                f"{where} name '{name}'; there are {', '.join(MORE_METRICS)}.{did_you_mean(str(name), MORE_METRICS)}"
            )
    return names


def mean_metrics(each: list[dict[str, Metric]]) -> dict[str, Metric]:
    """Return the mean of each metric over OOD sets, without bounds: the sets share their ID samples.

    Raises:
        UserError: when there is no set.
    """
    if not each:
        raise UserError("there is no OOD set to average over.")
    return {name: Metric(float(np.mean([m[name].value for m in each]))) for name in each[0]}


def _scores(conf: ArrayLike, kind: str) -> NDArray[Any]:
    array = dense(conf, f"the {kind} scores")
    if array.ndim != 1 or array.dtype.kind not in "fiub":
        raise UserError(
            f"the {kind} scores must be one real number a sample, got {array.dtype} of shape {array.shape}."
        )
    if not len(array):
        raise UserError(f"the {kind} set is empty: OOD metrics compare one ID set with one OOD set.")
    bad = np.flatnonzero(np.isnan(array)) if array.dtype.kind == "f" else np.empty(0, int)
    if len(bad):
        raise UserError(
            f"{len(bad)} of {len(array)} {kind} scores are NaN, the first in row {bad[0]}. "
            "Look for NaN in the features or logits that were scored."
        )
    return array


def _ranks(conf_id: ArrayLike, conf_ood: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return dense ranks of all scores ``[N_id + N_ood]``, ascending, and which of them are OOD.

    Every metric depends on the order and the ties alone; ranks keep both, and turn infinities into numbers.
    """
    scores_id, scores_ood = _scores(conf_id, "ID"), _scores(conf_ood, "OOD")
    conf = np.concatenate([scores_id, scores_ood])
    order = np.argsort(conf)
    ordered = conf[order]
    ranks = np.concatenate([[0], np.cumsum(ordered[1:] != ordered[:-1])]).astype(np.int64)
    for kind, n in (("ID", len(scores_id)), ("OOD", len(scores_ood))):
        if n == 1:
            warnings.warn(
                f"the {kind} set has a single sample: its metrics say next to nothing.", stacklevel=4
            )
    if ranks[-1] == 0:
        warnings.warn(
            "all scores are equal: they tell ID from OOD no better than chance (AUROC 0.5).", stacklevel=4
        )
    return ranks, order >= len(scores_id)


def _classes(pred_id: ArrayLike, labels_id: ArrayLike, n_id: int) -> tuple[NDArray[Any], NDArray[Any]]:
    pred, labels = dense(pred_id, "pred_id"), dense(labels_id, "labels_id")
    for name, array in (("pred_id", pred), ("labels_id", labels)):
        if array.shape != (n_id,):
            raise UserError(f"{name} must be [{n_id}], one class a score, got shape {array.shape}.")
    negative = np.flatnonzero(labels < 0)
    if len(negative):
        raise UserError(
            f"{len(negative)} ID samples carry a negative label (row {negative[0]}: {labels[negative[0]]}), "
            "which marks OOD samples. Take them out of the ID set, or give their class."
        )
    return pred, labels


def _curve_metrics(counts: iv.ScoreCounts) -> dict[str, float]:
    known, unknown = counts.id, counts.ood  # from the most in-distribution score on
    fpr_ood, tpr_ood = roc(known[::-1], unknown[::-1])
    fpr_id, tpr_id = roc(unknown, known)
    values = {
        "FPR@95": fpr_ood[np.argmax(tpr_ood >= RECALL)],
        "FPR@95_ID_TPR": fpr_id[np.argmax(tpr_id >= RECALL)],
        "AUROC": _area(fpr_ood, tpr_ood),
        "AUPR_IN": _area_below_precision(unknown, known),
        "AUPR_OUT": _area_below_precision(known[::-1], unknown[::-1]),
    }
    # rounding can take an area to 1 + 2e-16, which no fraction is
    return {name: min(max(float(value), 0.0), 1.0) for name, value in values.items()}


def roc(negatives: NDArray[np.int64], positives: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return false and true positive rates from counts a distinct score, the most positive score first.

    Points on a straight line between their neighbours are left out, as scikit-learn's `roc_curve` does.
    """
    false, true = np.cumsum(negatives), np.cumsum(positives)
    corner = np.ones(len(false), dtype=bool)
    corner[1:-1] = (np.diff(false, 2) != 0) | (np.diff(true, 2) != 0)
    false, true = (np.concatenate([[0], each[corner]]) for each in (false, true))
    return false / false[-1], true / true[-1]


def _area_below_precision(negatives: NDArray[np.int64], positives: NDArray[np.int64]) -> float:
    """Return the area below the precision-recall curve, the most positive score first, by trapezoids."""
    true = np.cumsum(positives)
    precision = true / np.cumsum(negatives + positives)
    # in scikit-learn's order, from recall 1 to 0: the sum is then the same to the last bit
    recall = np.concatenate([(true / true[-1])[::-1], [0.0]])
    return -_area(recall, np.concatenate([precision[::-1], [1.0]]))


def _area(x: NDArray[Any], y: NDArray[Any]) -> float:
    return float(np.sum(np.diff(x) * (y[1:] + y[:-1]) / 2.0))


def score_counts(conf_id: ArrayLike, conf_ood: ArrayLike) -> iv.ScoreCounts:
    """Return how many samples of both sets have each distinct score; errors as in `compute_ood_metrics`."""
    ranks, is_ood = _ranks(conf_id, conf_ood)
    groups = int(ranks[-1]) + 1
    ood = np.bincount(ranks[is_ood], minlength=groups)[::-1]
    return iv.ScoreCounts(id=np.bincount(ranks[~is_ood], minlength=groups)[::-1], ood=ood)


def _intervals(
    counts: iv.ScoreCounts, values: dict[str, float], n_bootstrap: int, seed: int
) -> dict[str, iv.Interval]:
    fewest = min(counts.n_id, counts.n_ood)
    bounds = {"AUROC": iv.auroc_interval(counts)}
    if fewest > 1:
        rng = np.random.default_rng(seed)
        bounds["FPR@95"] = iv.fpr_interval(counts, "ood", RECALL, n_bootstrap, rng)
        bounds["FPR@95_ID_TPR"] = iv.fpr_interval(counts, "id", RECALL, n_bootstrap, rng)
        bounds["AUPR_IN"], bounds["AUPR_OUT"] = iv.aupr_intervals(counts, n_bootstrap, rng)
    for name in ("FPR@95", "FPR@95_ID_TPR", "AUPR_IN", "AUPR_OUT"):
        low, high = bounds.get(name, (0.0, 0.0))
        if high - low < 1e-12:  # every resample alike: the bootstrap has nothing to say, and claims certainty
            bounds[name] = iv.wilson(values[name], fewest)
    return bounds


def bounded(value: float, interval: iv.Interval) -> Metric:
    """Return the metric with bounds that include it (percentile bounds of few samples may miss it)."""
    return Metric(value, min(interval[0], value), max(interval[1], value))
