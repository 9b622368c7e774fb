"""The rules that accept or reject a sample, as functions of arrays.

``conf`` is higher for in-distribution samples throughout; ``tpr`` is the share of in-distribution samples that a rule
is to accept, so 1 - tpr is its error rate.
"""

from __future__ import annotations

import math

import numpy as np
import scipy.optimize
import scipy.special
from numpy.typing import NDArray

from ..errors import ArgumentError, UserError
from ..evaluators.intervals import Interval, needed
from ..linalg.rows import Floats
from ..postprocessors.params import require_number

RULES = ("conformal", "mondrian", "threshold", "scod", "cost")
"""Names of the rules; docs/decisions.md describes them."""


def check_fraction(name: str, value: object, *, above: bool = False) -> None:
    """Raise `ArgumentError` unless ``value`` is a number from 0 (or above 0) to 1."""
    try:
        require_number(name, value, 0.0, 1.0, above=above)
    except UserError as error:
        raise ArgumentError(name, str(error).removeprefix(f"{name} ")) from error


def check_tpr(tpr: object) -> None:
    """Raise `ArgumentError` unless ``tpr`` is a share of ID samples to accept: above 0 and below 1."""
    if not isinstance(tpr, bool) and isinstance(tpr, (int, float)) and 1 < tpr < 100:
        raise ArgumentError("tpr", f"is a fraction: {tpr / 100:g}, not {tpr:g}.")
    check_fraction("tpr", tpr, above=True)
    if tpr == 1.0:
        raise ArgumentError(
            "tpr", "must be below 1: no finite validation set shows that every ID sample is accepted."
        )


def rejected_ranks(n: int, tpr: float) -> int:
    """Return the largest rank, of n + 1, that is rejected: ⌊(1 - tpr)(n + 1)⌋."""
    return math.floor(round((1.0 - tpr) * (n + 1), 9))


def rows_needed(tpr: float) -> int:
    """Return the least number of validation rows with which a rule can reject anything: ⌈1 / (1 - tpr)⌉ - 1.

    >>> rows_needed(0.95), rows_needed(0.99)
    (19, 99)
    """
    return math.ceil(round(1.0 / (1.0 - tpr), 6)) - 1


def check_rows(groups: list[NDArray[np.float64]], tpr: float, per_class: bool) -> None:
    """Check that the validation set is large enough for the error rate 1 - tpr.

    Args:
        groups: confidences of the validation rows by predicted class.
        tpr: above 0 and below 1.
        per_class: whether every class has to be large enough, or all together.

    Raises:
        UserError: with the number of rows that it takes.
    """
    least, sizes = rows_needed(tpr), [len(each) for each in groups]
    if not per_class:
        if sum(sizes) < least:
            raise UserError(
                f"the validation set has {sum(sizes)} rows; an error rate of {1 - tpr:g} (a TPR of {tpr:g}) takes at "
                f"least {least}. Give more rows, or a TPR of at most {_highest(sum(sizes)):.3g}."
            )
        return
    small = [f"{number} ({size})" for number, size in enumerate(sizes) if size < least]
    if small:
        shown = ", ".join(small[:8]) + (f" and {len(small) - 8} more" if len(small) > 8 else "")
        raise UserError(
            f"the rule mondrian takes at least {least} validation rows predicted as each class for an error rate of "
            f"{1 - tpr:g} (a TPR of {tpr:g}); too few for class {shown}. Give more rows, a TPR of at most "
            f"{_highest(min(sizes)):.3g}, or the rule conformal, which takes all classes together."
        )


def _highest(n: int) -> float:
    return math.floor(1000 * n / (n + 1)) / 1000


def p_values(conf: Floats, calibration: Floats) -> Floats:
    """Return ``[N]`` split-conformal p-values of ``conf`` ``[N]``: (1 + #{i: c_i <= conf}) / (n + 1).

    Of a sample that is exchangeable with the n calibration samples c, P(p <= a) <= a for every a (Vovk, Gammerman and
    Shafer, 2005); without ties P(p <= a) = ⌊a (n + 1)⌋ / (n + 1).

    Args:
        conf: confidences ``[N]``.
        calibration: those of the validation samples, ``[n]``, sorted ascending.

    >>> p_values(np.array([0.0, 2.5, 9.0]), np.array([1.0, 2.0, 3.0]))
    array([0.25, 0.75, 1.  ])
    """
    return (1 + np.searchsorted(calibration, conf, side="right")) / (len(calibration) + 1)


def class_p_values(conf: Floats, pred: NDArray[np.int64], groups: list[NDArray[np.float64]]) -> Floats:
    """Return Mondrian p-values: `p_values` among the validation rows of the same predicted class.

    The guarantee then holds for each predicted class by itself.

    Args:
        conf: confidences ``[N]``.
        pred: predicted classes ``[N]``.
        groups: class → sorted confidences of the validation rows predicted as that class.
    """
    values = np.ones(len(conf))
    for number in np.unique(pred):
        mine = pred == number
        values[mine] = p_values(conf[mine], groups[number])
    return values


def rejected(values: Floats, n: int | NDArray[np.int64], tpr: float) -> NDArray[np.bool_]:
    """Tell which p-values, computed from n validation rows, are at most 1 - tpr; rounding plays no part."""
    found = np.rint(values * (np.asarray(n) + 1))
    return np.asarray(found <= np.floor(np.round((1.0 - tpr) * (np.asarray(n) + 1), 9)))


def threshold_at(calibration: Floats, tpr: float) -> float:
    """Return the highest of the confidences ``calibration`` ``[n]`` that at least a share ``tpr`` of them reaches."""
    return float(np.sort(calibration)[len(calibration) - needed(len(calibration), tpr)])


def tpr_interval(n: int, accepted: int) -> Interval:
    """Return the 95 % interval of the TPR on new samples when a threshold accepts ``accepted`` of n samples.

    Given the n samples, the TPR of continuous scores is distributed as Beta(accepted, n + 1 - accepted).
    """
    low, high = scipy.special.betaincinv(accepted, n + 1 - accepted, (0.025, 0.975))
    return float(low), float(high)


def ranks(values: Floats, n: int) -> NDArray[np.int64]:
    """Return the ranks, from 1 to n + 1, of p-values computed from n validation rows."""
    return np.rint(values * (n + 1)).astype(np.int64)


def density_ratios(values: Floats, n: int, share: float) -> Floats:
    """Return ``[n + 1]``: P_out / P_in of a sample whose p-value has rank 1, ..., n + 1, estimated from a batch.

    ID p-values are uniform.  The batch's density f, taken as falling (Grenander, 1956: the isotonic fit of its
    histogram over the ranks), is 1 - π + π P_out / P_in, with π the OOD share.  Without OOD samples to
    learn from (π = 0) the ratio is 1 / (2 √p), that of Beta(1/2, 1).

    Args:
        values: p-values ``[N]`` of a batch.
        n: validation rows that they were computed from.
        share: π, from 0 to 1.
    """
    if share == 0.0:
        return np.asarray(0.5 / np.sqrt(np.arange(1, n + 2) / (n + 1)))
    counts = np.bincount(ranks(values, n) - 1, minlength=n + 1)
    density = scipy.optimize.isotonic_regression(counts * ((n + 1) / len(values)), increasing=False).x
    return np.asarray(np.maximum(density - (1.0 - share), 0.0) / share)


def scod_confidence(probability: Floats, ratio: Floats, weight: float) -> Floats:
    """Return the plug-in confidence for selective classification with OOD samples.

    (1 - w) P(ŷ | x) - w P_out(x) / P_in(x): the rule of Narasimhan, Menon, Jitkrittum and Kumar, "Plugin Estimators
    for Selective Classification with Out-of-Distribution Detection" (ICLR 2024), with w = c_out / (1 - c_in).

    Args:
        probability: calibrated probability of the predicted class, ``[N]``.
        ratio: density ratio P_out / P_in, ``[N]``.
        weight: w, from 0 (misclassified samples only) to 1 (OOD samples only).
    """
    return (1.0 - weight) * probability - weight * ratio


def expected_cost(probability: Floats, ratio: Floats, share: float, error: float, ood: float) -> Floats:
    """Return ``[N]`` the expected cost of accepting each sample.

    With the OOD share π, a sample is OOD with probability π r / (1 - π + π r), r its density ratio.  Accepting costs
    ``ood`` then, and otherwise ``error`` with the probability that the predicted class is wrong.
    """
    outside = share * ratio / (1.0 - share + share * ratio)
    return outside * ood + (1.0 - outside) * (1.0 - probability) * error
