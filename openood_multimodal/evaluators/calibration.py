"""Calibration: do predicted probabilities agree with how often predictions are right?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arrays import check_labels
from ..dense import dense
from ..errors import UserError
from ..postprocessors.softmax import log_softmax
from ..postprocessors.temperature import best_temperature
from ..vocabulary import UPPER_BOUNDS
from . import intervals as iv
from .metrics import Metric, bounded

BINS = 15
"""Bins of the expected calibration error."""


@dataclass(frozen=True)
class CalibrationResult:
    """Calibration of the softmax of logits.

    Attributes:
        metrics: as `calibration_metrics` returns them.
        temperature: what the logits were divided by for ``scaled``; None without a validation set.
        scaled: metrics with temperature scaling, or None.
    """

    metrics: dict[str, Metric]
    temperature: float | None = None
    scaled: dict[str, Metric] | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the plain values that a record stores."""
        metrics, scaled = (
            None if each is None else {name: metric.as_dict() for name, metric in each.items()}
            for each in (self.metrics, self.scaled)
        )
        return {"metrics": metrics, "temperature": self.temperature, "scaled": scaled}


def calibration_of(
    logits: NDArray[np.float64],
    labels: NDArray[np.int64],
    val: tuple[NDArray[np.float64], NDArray[np.int64]] | None = None,
    n_bootstrap: int = iv.DEFAULT_RESAMPLES,
    seed: int = 0,
) -> CalibrationResult:
    """Return the calibration of the softmax of ``logits``, as it is and with temperature scaling.

    Args:
        logits: float64 ``[N, C]``, of the ID test set.
        labels: int ``[N]``.
        val: the same two of the ID validation set, whose NLL the temperature minimises (Guo, Pleiss, Sun and
            Weinberger, 2017); None: no scaling.
        n_bootstrap: resamples of the intervals.
        seed: of the bootstrap.

    Raises:
        UserError: as `calibration_metrics`.
    """

    def at(temperature: float) -> dict[str, Metric]:
        return calibration_metrics(
            log_softmax(logits / temperature), labels, n_bootstrap=n_bootstrap, seed=seed
        )

    if val is None:
        return CalibrationResult(at(1.0))
    check_labels(val[1], val[0].shape[1], "the validation set's labels")
    temperature = best_temperature(*val)
    return CalibrationResult(at(1.0), temperature, at(temperature))


def calibration_metrics(
    log_probabilities: ArrayLike,
    labels: ArrayLike,
    bins: int = BINS,
    n_bootstrap: int = iv.DEFAULT_RESAMPLES,
    seed: int = 0,
) -> dict[str, Metric]:
    """Return calibration metrics with percentile-bootstrap intervals; lower is better in all.

    Args:
        log_probabilities: real ``[N, C]``, logarithms of the predicted probabilities, which sum to 1 in each row.
        labels: int ``[N]``, true classes.
        bins: of both ECE.
        n_bootstrap: resamples of the intervals.
        seed: of the bootstrap.

    Returns:
        * ``ECE``: expected calibration error of the largest probability (Guo, Pleiss, Sun and Weinberger, 2017): the
          difference between accuracy and mean probability of a bin, in absolute value, averaged over samples;
          ``bins`` bins of equal width, the upper edge included;
        * ``ECE_mass``: the same with bins of equal numbers of samples (tied samples share the bin of the first);
        * ``Brier``: mean over samples of Σ_c (p_c - 1[c = label])², from 0 to 2 (Brier, 1950);
        * ``NLL``: mean of -log p of the true class, in nats.

    Raises:
        UserError: for no sample, rows that aren't log probabilities, or a label that is none of the classes.

    >>> found = calibration_metrics(np.log([[0.8, 0.2], [0.6, 0.4]]), [0, 1])
    >>> {name: round(each.value, 4) for name, each in found.items()}
    {'ECE': 0.4, 'ECE_mass': 0.4, 'Brier': 0.4, 'NLL': 0.5697}
    """
    logs, classes = dense(log_probabilities, "log_probabilities"), dense(labels, "labels")
    if logs.ndim != 2 or not logs.size or classes.shape != (len(logs),) or classes.dtype.kind not in "iu":
        raise UserError(
            f"log_probabilities must be [N, C] and labels int [N], got {list(logs.shape)} and {classes.dtype} "
            f"{list(classes.shape)}."
        )
    check_labels(classes, logs.shape[1], "labels")
    probabilities = np.exp(logs)
    off = np.flatnonzero(~(np.abs(probabilities.sum(axis=1) - 1.0) < 1e-6))
    if len(off):
        raise UserError(
            f"row {off[0]} of log_probabilities isn't one: the probabilities sum to {probabilities[off[0]].sum():g}."
        )
    rows, top = np.arange(len(logs)), probabilities.max(axis=1)
    gap = (probabilities.argmax(axis=1) == classes) - top
    own = probabilities[rows, classes]
    columns = {
        "Brier": (probabilities**2).sum(axis=1) - 2.0 * own + 1.0,
        "NLL": -logs[rows, classes],
    }
    ranks = np.searchsorted(np.sort(top), top, side="left")
    binned = {
        "ECE": np.clip(np.ceil(top * bins).astype(np.int64) - 1, 0, bins - 1),
        "ECE_mass": ranks * bins // len(top),
    }
    everything = np.arange(len(logs))

    def measure(sample: NDArray[np.int64]) -> dict[str, float]:
        errors = {
            name: float(np.abs(np.bincount(each[sample], gap[sample])).sum()) for name, each in binned.items()
        }
        sums = {name: float(each[sample].sum()) for name, each in columns.items()}
        return {name: value / len(sample) for name, value in {**errors, **sums}.items()}

    value = measure(everything)
    rng = np.random.default_rng(seed)
    drawn = [measure(rng.integers(0, len(logs), len(logs))) for _ in range(n_bootstrap)]
    found = {}
    for name in value:
        low, high = np.quantile([each[name] for each in drawn], (0.025, 0.975))
        found[name] = bounded(value[name], (float(low), min(float(high), UPPER_BOUNDS.get(name, 1.0))))
    return found
