"""The curves behind the metrics, for figures: pure functions of arrays, OOD positive throughout.

``conf`` is higher for in-distribution samples.  Tied scores are one point of a curve.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import softmax

from ..errors import UserError
from .calibration import BINS
from .metrics import roc, score_counts


def roc_curve(conf_id: ArrayLike, conf_ood: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the shares of ID and of OOD samples rejected ``[P]`` (FPR, TPR), from 0 to 1, a point a threshold.

    The area below is the AUROC; FPR@95 is the first FPR whose TPR reaches 0.95.

    >>> [each.tolist() for each in roc_curve([0.9, 0.3], [0.5, 0.1])]
    [[0.0, 0.0, 0.5, 0.5, 1.0], [0.0, 0.5, 0.5, 1.0, 1.0]]
    """
    counts = score_counts(conf_id, conf_ood)
    return roc(counts.id[::-1], counts.ood[::-1])


def precision_recall(conf_id: ArrayLike, conf_ood: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return recall and precision ``[P]`` of rejecting OOD samples, from recall 0, where precision is 1.

    The area below, by trapezoids, is AUPR_OUT.

    >>> [each.tolist() for each in precision_recall([0.9, 0.3], [0.5, 0.1])]
    [[0.0, 0.5, 0.5, 1.0, 1.0], [1.0, 1.0, 0.5, 0.6666666666666666, 0.5]]
    """
    counts = score_counts(conf_id, conf_ood)
    true, false = np.cumsum(counts.ood[::-1]), np.cumsum(counts.id[::-1])
    return np.concatenate([[0.0], true / true[-1]]), np.concatenate([[1.0], true / (true + false)])


def risk_coverage(conf: ArrayLike, right: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return coverage and risk ``[P]``: of the samples with the highest ``conf``, the share that is predicted wrongly.

    Args:
        conf: real ``[N]``.
        right: bool ``[N]``, whether the prediction is right.

    >>> coverage, risk = risk_coverage([0.9, 0.8, 0.7, 0.7], [True, True, False, True])
    >>> coverage.tolist(), risk.tolist()
    ([0.25, 0.5, 1.0], [0.0, 0.0, 0.25])
    """
    groups, sizes = np.unique(-np.asarray(conf), return_inverse=True, return_counts=True)[1:]
    wrong = np.bincount(groups, ~np.asarray(right, dtype=bool))
    accepted = np.cumsum(sizes)
    return accepted / accepted[-1], np.cumsum(wrong) / accepted


class Reliability(NamedTuple):
    """Bins of equal width that hold samples, and the expected calibration error.

    Attributes:
        confidence: float ``[B]``, mean confidence of a bin's samples.
        accuracy: float ``[B]``, share of them that is predicted rightly.
        samples: int64 ``[B]``.
        ece: Σ samples · |accuracy - confidence| / N, a fraction: ECE of `calibration_metrics`.
    """

    confidence: NDArray[Any]
    accuracy: NDArray[Any]
    samples: NDArray[np.int64]
    ece: float


def reliability(confidence: ArrayLike, right: ArrayLike, bins: int = BINS) -> Reliability:
    """Return how often predictions of each confidence are right.

    Args:
        confidence: float ``[N]`` in [0, 1], probability of the predicted class.
        right: bool ``[N]``.
        bins: of equal width.

    >>> reliability([0.8, 0.6], [True, True]).accuracy.tolist()
    [1.0, 1.0]
    """
    values = np.asarray(confidence, dtype=np.float64)
    bad = np.flatnonzero(~((values >= 0.0) & (values <= 1.0 + 1e-12)))
    if not len(values) or len(bad):
        raise UserError(f"confidence must be probabilities, got {values[bad[0]] if len(bad) else 'none'}.")
    place = np.clip(np.ceil(values * bins).astype(np.int64) - 1, 0, bins - 1)
    used, place = np.unique(place, return_inverse=True)
    count = np.bincount(place, minlength=len(used))
    mean = np.bincount(place, values) / count
    accuracy = np.bincount(place, np.asarray(right, dtype=np.float64)) / count
    return Reliability(mean, accuracy, count, float(count @ np.abs(accuracy - mean) / len(values)))


def prediction_distances(modality_logits: NDArray[Any]) -> NDArray[np.float64]:
    """Return how far modalities' predictions are apart: L1 distance of their softmax, mean over pairs (Figure 4).

    Args:
        modality_logits: float ``[N, M, C]``, M >= 2.

    Returns:
        ``[N]``, from 0 to 2.

    >>> prediction_distances(np.array([[[50.0, 0.0], [0.0, 50.0]], [[1.0, 2.0], [1.0, 2.0]]])).round(6).tolist()
    [2.0, 0.0]
    """
    if modality_logits.ndim != 3 or modality_logits.shape[1] < 2:
        raise UserError(f"modality_logits must be [N, M, C] with M >= 2, got {list(modality_logits.shape)}.")
    p = softmax(modality_logits.astype(np.float64), axis=-1)
    pairs = combinations(range(p.shape[1]), 2)
    return np.mean([np.abs(p[:, i] - p[:, j]).sum(axis=-1) for i, j in pairs], axis=0)
