"""`evaluate_sets`: the scores of one ID set and of OOD sets in, an `OODResult` out; no network, no files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..dense import dense
from ..errors import UserError
from ..vocabulary import AVERAGE
from .failure import FailureResult, autc, failure_metrics, open_set_metrics, range_of
from .intervals import DEFAULT_RESAMPLES
from .metrics import compute_ood_metrics, mean_metrics
from .outputs import ID_NAME, Metrics, OODResult, SetScores, scores_digest
from .recordings import MIN_CLIPS, UnseenResult


def evaluate_sets(
    known: SetScores,
    unknown: Mapping[str, SetScores] | Mapping[str, Mapping[str, SetScores]],
    *,
    postprocessor: str = "",
    intervals: bool = True,
    n_bootstrap: int = DEFAULT_RESAMPLES,
    seed: int = 0,
    unseen: Mapping[str, NDArray[np.bool_]] | None = None,
    hyperparameters: Mapping[str, Any] | None = None,
    csid: Mapping[str, SetScores] | None = None,
    around: Callable[[str], AbstractContextManager[Any]] = lambda name: nullcontext(),
    failure: bool = False,
    val_conf: NDArray[Any] | None = None,
) -> OODResult:
    """Return the metrics of an ID set against each OOD set, and their means.

    Args:
        known: scores of the ID set: pred ``[N]``, conf ``[N]`` (higher = more in-distribution), label ``[N]``.
        unknown: OOD set → its scores; labels don't matter.  Or group → OOD set → scores; without groups, all sets are
            the one group ``"average"``.
        postprocessor: its name, for the result.
        intervals: whether to compute 95 % intervals.
        n_bootstrap: resamples of bootstrap intervals.
        seed: of the bootstrap.
        unseen: ``"id"`` and OOD set → bool ``[N]``, the rows whose recording was not in training; metrics on those
            rows are computed where both are known.
        hyperparameters: what a parameter search chose, for the result.
        csid: covariate-shifted ID set → its scores, which count as ID after ``known`` (full-spectrum evaluation).
        around: OOD set → the context that its metrics are computed in, e.g. to collect warnings.
        failure: whether to compute failure detection, too; always with intervals.
        val_conf: ``[V]``, scores of the ID validation set, whose range AUTC needs.

    Raises:
        UserError: naming the set, for an empty one, NaN scores, shapes that differ, or ID samples without a class.

    Warns:
        UserWarning: for a set of one sample, or scores that are all equal.

    >>> import numpy as np
    >>> known = SetScores(np.array([0, 1, 1]), np.array([0.9, 0.8, 0.4]), np.array([0, 1, 0]))
    >>> far = SetScores(np.array([0, 0]), np.array([0.5, 0.1]), np.array([-1, -1]))
    >>> result = evaluate_sets(known, {"far": far}, intervals=False)
    >>> round(result["average"]["far"]["AUROC"].value, 3)
    0.833
    """
    id_sets = {name: checked_scores(*each, name) for name, each in {ID_NAME: known, **(csid or {})}.items()}
    known = joined(list(id_sets.values()))
    unseen = unseen or {}

    def compute(one: SetScores, other: SetScores) -> Metrics:
        return compute_ood_metrics(
            one.conf, other.conf, one.pred, one.label, intervals=intervals, n_bootstrap=n_bootstrap, seed=seed
        )

    metrics: dict[str, dict[str, Metrics]] = {}
    on_unseen: dict[str, UnseenResult] = {}
    digests: dict[str, str] = {}
    n_ood: dict[str, int] = {}
    detected: dict[str, FailureResult] = {}
    right, val_range = known.pred == known.label, range_of(val_conf)
    of_id = failure_metrics(known.conf, right, n_bootstrap, seed) if failure else {}
    for group, sets in _grouped(unknown).items():
        metrics[group] = {}
        for name, given in sets.items():
            scores = as_ood(checked_scores(*given, name))
            n_ood[name] = len(scores.conf)
            with around(name):
                try:
                    metrics[group][name] = compute(known, scores)
                except UserError as error:
                    where = f"{postprocessor} on {name}" if postprocessor else name
                    raise UserError(f"{where}: {error}") from error
            digests[name] = scores_digest(known, scores)
            if failure:
                found = {**of_id, **open_set_metrics(known.conf, right, scores.conf)}
                if val_range:
                    found["AUTC"] = autc(known.conf, scores.conf, *val_range)
                detected[name] = FailureResult(found, val_range)
            if {ID_NAME, name} <= unseen.keys():
                one, other = (_rows(s, unseen[of], of) for s, of in ((known, ID_NAME), (scores, name)))
                sizes = len(one.conf), len(other.conf)
                if sizes == (len(known.conf), len(scores.conf)):
                    of_unseen: Metrics | None = metrics[group][name]
                else:
                    of_unseen = compute(one, other) if min(sizes) >= MIN_CLIPS else None
                on_unseen[name] = UnseenResult(of_unseen, *sizes)
    return OODResult(
        metrics,
        {group: mean_metrics(list(each.values())) for group, each in metrics.items()},
        len(known.conf),
        n_ood,
        postprocessor,
        None if hyperparameters is None else dict(hyperparameters),
        on_unseen,
        digests,
        {name: float(np.mean(each.pred == each.label)) for name, each in id_sets.items()},
        detected,
    )


def _grouped(
    unknown: Mapping[str, SetScores] | Mapping[str, Mapping[str, SetScores]],
) -> Mapping[str, Mapping[str, SetScores]]:
    alone: dict[str, SetScores] = {}
    groups: dict[str, Mapping[str, SetScores]] = {}
    for name, each in unknown.items():
        if isinstance(each, SetScores):
            alone[name] = each
        else:
            groups[name] = each
    if alone and groups:
        raise UserError(
            f"unknown holds sets ({', '.join(alone)}) and groups of sets ({', '.join(groups)}); give one of the two."
        )
    return groups or {AVERAGE: alone}


def checked_scores(pred: Any, conf: Any, label: Any, name: str, whose: str = "") -> SetScores:
    """Return scores of one set as dense arrays.

    Args:
        pred: ``[N]``.
        conf: ``[N]``.
        label: ``[N]``.
        name: of the set, for messages.
        whose: the class whose ``inference`` gave them, for messages.

    Raises:
        UserError: for shapes that differ, or NaN.
    """
    pred, conf, label = (
        dense(each, what) for each, what in ((pred, "pred"), (conf, "conf"), (label, "label"))
    )
    if not pred.shape == conf.shape == label.shape == (len(conf),):
        what = (
            f"{whose}.inference must return pred, conf and label" if whose else "pred, conf and label must be"
        )
        raise UserError(
            f"{what} of one length; for '{name}' their shapes are {pred.shape}, {conf.shape}, {label.shape}."
        )
    bad = np.flatnonzero(np.isnan(conf))
    if len(bad):
        raise UserError(
            f"{whose + ' gave ' if whose else ''}NaN for {len(bad)} of {len(conf)} samples of '{name}', the first in "
            f"row {bad[0]}. Look for NaN in the data or the network's weights."
        )
    return SetScores(pred.astype(np.int64), conf, label.astype(np.int64))


def as_ood(scores: SetScores) -> SetScores:
    """Return scores with the label -1 throughout."""
    return scores._replace(label=np.full_like(scores.label, -1))


def joined(sets: Sequence[SetScores]) -> SetScores:
    """Return the scores of several sets as those of one."""
    return SetScores(*(np.concatenate(column) for column in zip(*sets, strict=True)))


def _rows(scores: SetScores, rows: NDArray[np.bool_], name: str) -> SetScores:
    if len(rows) != len(scores.conf):
        raise UserError(
            f"the set '{name}' has {len(scores.conf)} scores, and {len(rows)} flags say whether a clip's recording was "
            "in training; the lengths must be equal."
        )
    return SetScores(*(column[rows] for column in scores))
