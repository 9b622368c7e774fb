"""`decide`: embeddings in, one decision a sample out; and the rule, to be applied again."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..arrays import Embeddings, LinearHead, arrays_digest
from ..errors import ArgumentError, UserError
from ..evaluators.metrics import Metric
from ..evaluators.share import ood_share
from ..files.digests import json_sha256
from ..linalg.rows import Floats
from ..naming import did_you_mean
from ..postprocessors.options import ScoringOptions, ScoringSettings
from ..postprocessors.params import require_number
from ..postprocessors.run import NATIVE, Chosen, choose, run
from ..postprocessors.softmax import softmax
from ..postprocessors.temperature import best_temperature
from ..scoring.inputs import logits_of, read_head, read_set
from ..scoring.needs import for_shaped, require_inputs
from ..scoring.task import Task, checked
from ..version import __version__
from . import rules
from .saved import SavedDecision

if TYPE_CHECKING:
    import pandas as pd

COSTS = {"reject": 1.0, "error": 2.0, "ood": 5.0}
"""Costs of the rule cost: of rejecting a sample; of accepting one whose prediction is wrong, or an OOD sample."""


@dataclass(frozen=True)
class Decisions:
    """One decision a sample.

    Attributes:
        clips: names of the samples; row numbers where there are none.
        pred: int64 ``[N]``, predicted classes.
        conf: float64 ``[N]``, higher = more in-distribution.
        p_value: float64 ``[N]``, conformal p-values (of the predicted class for the rule mondrian).
        accepted: bool ``[N]``; a sample that isn't accepted is rejected.
        share: estimated share of OOD samples among the N, with its 95 % interval.
        saved: the rule.
        notes: what a reader has to know.
    """

    clips: tuple[str, ...]
    pred: NDArray[np.int64]
    conf: Floats
    p_value: Floats
    accepted: NDArray[np.bool_]
    share: Metric
    saved: SavedDecision
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.conf)

    def columns(self) -> dict[str, list[Any]]:
        """Return the columns of the table: ``clip``, ``prediction``, ``score``, ``p_value``, ``decision``."""
        words = np.where(self.accepted, "accept", "reject").tolist()
        return {"clip": list(self.clips), "prediction": self.pred.tolist(), "score": self.conf.tolist(),
                "p_value": self.p_value.tolist(), "decision": words}  # fmt: skip

    def frame(self) -> pd.DataFrame:
        """Return the table as a `pandas.DataFrame`."""
        import pandas as pd

        return pd.DataFrame(self.columns())


class _Scored(NamedTuple):
    """Scores of the data and, where there is one, of the validation set."""

    task: Task
    job: Chosen
    found: dict[str, Any]
    digests: dict[str, str | None]


def decide(
    data: Any,
    *,
    val: Any = None,
    head: Any = None,
    train: Any = None,
    postprocessor: str = "msp",
    rule: str = "conformal",
    tpr: float = 0.95,
    weight: float = 0.5,
    costs: Mapping[str, float] | None = None,
    share: float | None = None,
    preset: str = "openood",
    parameters: Mapping[str, Any] | None = None,
    slices: Mapping[str, Any] | None = None,
    apply: str | os.PathLike[str] | SavedDecision | None = None,
    settings: ScoringSettings | None = None,
    seed: int = 0,
) -> Decisions:
    """Accept or reject each sample of ``data``.

    Sets are what `evaluate` takes.  The score is never fitted to ``val``: the guarantee asks for validation samples
    that neither the score nor the network has learned from.

    Args:
        data: the samples to decide about; labels don't matter.
        val: ID validation set, with labels.
        head: the linear layer, see `evaluate`.
        train: ID training set, for scores that are fitted.
        postprocessor: the score: a name, see `evaluate`.
        rule: ``"conformal"``: reject where the split-conformal p-value is at most 1 - ``tpr``; ``"mondrian"``: likewise
            within the predicted class; ``"threshold"``: reject below the confidence that ``tpr`` of the validation
            samples reach; ``"scod"``: likewise, of a confidence that also counts misclassification; ``"cost"``:
            reject where accepting has the higher expected cost.
        tpr: share of ID samples to be accepted, above 0 and below 1.
        weight: of OOD samples beside misclassified ones (scod), from 0 to 1.
        costs: that differ from `COSTS` (cost).
        share: OOD share to reckon with (cost), from 0 to 1; None: as estimated from ``data``.
        preset: of the score's parameters.
        parameters: of the score that differ from the preset's.
        slices: modality → width, where the score treats modalities by themselves.
        apply: a decision file; what is saved in it takes the place of ``val`` and of all from ``postprocessor`` to
            ``parameters``.  ``train`` and ``head`` have to be those that it was made with.
        settings: threads, device, rows held at once.
        seed: of the interval of the OOD share.

    Raises:
        UserError: for anything wrong with the inputs; when the validation set is too small for 1 - ``tpr`` (the message
            says how many rows it takes); when a decision file doesn't go with the inputs.
    """
    settings = settings if settings is not None else ScoringSettings()
    if apply is not None:
        if val is not None:
            raise UserError("val= can't be given with apply=: the decision file holds the validation scores.")
        saved = apply if isinstance(apply, SavedDecision) else SavedDecision.read(apply)
        scored = _score(
            data, None, train, head, saved.postprocessor, saved.preset, saved.given, slices, settings
        )
        notes = _check_same(saved, scored)
        return _decisions(saved, scored, notes, seed)
    if val is None:
        raise UserError("give val=, an in-distribution validation set, or apply=, a decision file.")
    all_costs = _checked(rule, tpr, weight, costs, share)
    scored = _score(data, val, train, head, postprocessor, preset, parameters or {}, slices, settings)
    conf, pred = np.asarray(scored.found["val"].conf, dtype=np.float64), scored.found["val"].pred
    known = scored.task.val
    assert known is not None
    groups = [
        np.sort(conf[pred == number]) for number in range(_num_classes(known.embeddings, scored.task.head))
    ]
    rules.check_rows(groups, tpr, rule == "mondrian")
    own: dict[str, Any] = {}
    if rule == "threshold":
        own = {"threshold": rules.threshold_at(conf, tpr)}
    elif rule in ("scod", "cost"):
        logits = logits_of(known.embeddings, scored.task.head)
        own = {"temperature": best_temperature(logits, known.embeddings.labels)}
        calibration, new = np.sort(conf), np.asarray(scored.found["data"].conf, dtype=np.float64)
        estimated = ood_share(conf, new, seed=seed).value if share is None else share
        ratios = rules.density_ratios(rules.p_values(new, calibration), len(conf), estimated)
        own["ratios"] = ratios.tolist()
        if rule == "cost":
            own |= {"costs": all_costs, "share": estimated}
        else:
            # a validation row's rank is that among the others, as a new sample's is among all of them
            ratio = ratios[np.searchsorted(calibration, conf, side="right") - 1]
            probability = softmax(logits / own["temperature"]).max(axis=1)
            combined = rules.scod_confidence(probability, ratio, weight)
            own |= {"weight": weight, "threshold": rules.threshold_at(combined, tpr)}
    saved = SavedDecision(
        postprocessor=postprocessor,
        preset=preset,
        given=dict(parameters or {}),
        parameters=scored.job.score.parameters,
        engine=scored.job.engine,
        rule=rule,  # type: ignore[arg-type]
        tpr=tpr,
        dim=known.embeddings.dim,
        confidences=[each.tolist() for each in groups],
        digests=scored.digests,
        version=__version__,
        **own,
    )
    return _decisions(saved, scored, [], seed)


def _checked(
    rule: str, tpr: float, weight: float, costs: Mapping[str, float] | None, share: float | None
) -> dict[str, float]:
    """Check what a rule is told; return the costs in force."""
    if rule not in rules.RULES:
        raise ArgumentError(
            "rule", f"is '{rule}'; there are {', '.join(rules.RULES)}.{did_you_mean(rule, rules.RULES)}"
        )
    rules.check_tpr(tpr)
    rules.check_fraction("weight", weight)
    if share is not None:
        rules.check_fraction("share", share)
    for name, value in (costs or {}).items():
        if name not in COSTS:
            raise ArgumentError(
                "costs", f"name '{name}'; there are {', '.join(COSTS)}.{did_you_mean(name, COSTS)}"
            )
        require_number(f"the cost '{name}'", value, 0.0)
    if costs and rule != "cost":
        raise ArgumentError("costs", f"belong to the rule cost; the rule is {rule}.")
    if share is not None and rule != "cost":
        raise ArgumentError("share", f"belongs to the rule cost; the rule is {rule}.")
    return {**COSTS, **{name: float(value) for name, value in (costs or {}).items()}}


def _score(
    data: Any,
    val: Any,
    train: Any,
    head: Any,
    postprocessor: str,
    preset: str,
    parameters: Mapping[str, Any],
    slices: Mapping[str, Any] | None,
    settings: ScoringSettings,
) -> _Scored:
    """Read the sets, fit the score to the training set, and score the data and the validation set."""
    jobs = choose([postprocessor], NATIVE, preset, {postprocessor: parameters} if parameters else None)
    if len(jobs) != 1:
        raise UserError(f"a decision takes one score, got {len(jobs)}: {postprocessor}.")
    learns = bool({"train", "val"} & set(jobs[0].score.needs))
    if learns and train is None:
        raise UserError(
            f"{jobs[0].name} learns from ID samples: give train=. The validation set can't serve: "
            "a decision needs validation samples that the score has not learned from."
        )
    new = read_set(data, "data", ood=True)
    task = Task(
        new,
        {},
        read_set(train, "train") if learns else None,
        read_set(val, "val") if val is not None else None,
        read_head(head) if head is not None else None,
        {},
        new.shaped,
    )
    task = checked(task, slices)
    (job,) = for_shaped(jobs, task.shaped, preset)
    if job.score.needs_head and task.head is None:
        raise UserError(f"{job.name} needs the head: give head=.")
    require_inputs([job], task, "train")
    fit = task.train.embeddings if task.train is not None else None
    sets = {"data": task.test.embeddings}
    if task.val is not None:
        sets["val"] = task.val.embeddings
    options = ScoringOptions(
        settings.threads, settings.device, settings.chunk_rows, settings.precision, checked=True
    )
    (found,) = run([job], fit, None, task.head, sets, options)
    for name, scores in found.items():
        bad = np.flatnonzero(~np.isfinite(scores.conf))
        if len(bad):
            raise UserError(
                f"{job.name} gave {name} row {bad[0]} the score {scores.conf[bad[0]]}; decisions need finite ones."
            )
    digests = {
        "train": None if fit is None else arrays_digest([fit.features, fit.labels]),
        "head": None if task.head is None else arrays_digest(task.head.arrays().values()),
    }
    return _Scored(task, job, found, digests)


def _check_same(saved: SavedDecision, scored: _Scored) -> list[str]:
    """Check that what a decision file was made with is what it is applied with; return notes."""
    embeddings = scored.task.test.embeddings
    classes = _num_classes(embeddings, scored.task.head)
    if (embeddings.dim, classes) != (saved.dim, len(saved.confidences)):
        raise UserError(
            f"the decision file is for features of {saved.dim} columns and {len(saved.confidences)} classes; "
            f"these have {embeddings.dim} and {classes}."
        )
    for name, digest in scored.digests.items():
        made_with = saved.digests.get(name)
        if digest is not None and made_with is not None and digest != made_with:
            raise UserError(
                f"the {name} given is not the one that the decision file was made with; give that one."
            )
    if json_sha256(scored.job.score.parameters) != json_sha256(saved.parameters):
        raise UserError(
            f"{saved.postprocessor} has other parameters in this version ({__version__}) than when the decision file "
            f"was made ({saved.version}); make it again."
        )
    if saved.engine != scored.job.engine:
        return [
            f"the decision file was made with version {saved.engine['version']} of {saved.engine['name']}."
        ]
    return []


def _num_classes(embeddings: Embeddings, head: LinearHead | None) -> int:
    if head is not None:
        return head.num_classes
    assert embeddings.logits is not None  # `checked` has seen to it
    return int(embeddings.logits.shape[1])


def _decisions(saved: SavedDecision, scored: _Scored, notes: list[str], seed: int) -> Decisions:
    embeddings, scores = scored.task.test.embeddings, scored.found["data"]
    conf, pred = np.asarray(scores.conf, dtype=np.float64), scores.pred
    values = rules.p_values(conf, saved.calibration)
    if saved.rule == "mondrian":
        values = rules.class_p_values(conf, pred, saved.groups)
        sizes = np.array([len(each) for each in saved.groups])
        accepted = ~rules.rejected(values, sizes[pred], saved.tpr)
    elif saved.rule == "conformal":
        accepted = ~rules.rejected(values, len(saved.calibration), saved.tpr)
    elif saved.rule == "threshold":
        assert saved.threshold is not None  # `SavedDecision` has seen to it, and to the others below
        accepted = conf >= saved.threshold
    else:
        assert saved.temperature is not None
        assert saved.ratios is not None
        logits = logits_of(embeddings, scored.task.head) / saved.temperature
        probability, ratio = (
            softmax(logits).max(axis=1),
            np.array(saved.ratios)[rules.ranks(values, len(saved.calibration)) - 1],
        )
        if saved.rule == "scod":
            assert saved.weight is not None
            assert saved.threshold is not None
            accepted = rules.scod_confidence(probability, ratio, saved.weight) >= saved.threshold
        else:
            assert saved.costs is not None
            assert saved.share is not None
            cost = rules.expected_cost(
                probability, ratio, saved.share, saved.costs["error"], saved.costs["ood"]
            )
            accepted = cost <= saved.costs["reject"]
    return Decisions(
        embeddings.clips or tuple(map(str, range(len(conf)))),
        pred,
        conf,
        values,
        np.asarray(accepted),
        ood_share(saved.calibration, conf, seed=seed),
        saved,
        (*scored.job.score.notes, *notes),
    )
