"""The tables of `inspection`: by set, by class, by sample, between scores, between modalities, of labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
import scipy.stats
from numpy.typing import NDArray

from ..arrays import Embeddings, LinearHead
from ..evaluators.intervals import wilson
from ..evaluators.metrics import auroc
from ..evaluators.outputs import SetScores
from ..linalg.rows import Floats
from ..postprocessors.softmax import softmax
from ..scoring.inputs import logits_of
from ..vocabulary import ID_SETS
from . import rules
from .label_errors import Labelled, label_scores

Rows = list[dict[str, Any]]

TEST = "test"
"""The name of the ID test set."""

MOST_LABEL_ROWS = 60_000
"""Training rows up to which label errors are looked for: the relation graph has an edge for each pair of rows."""

_SAMPLE = ("dataset", "row", "clip", "class")
COLUMNS = {
    "sets": ("postprocessor", "dataset", "samples", "accepted", "share", "ci_low", "ci_high", "AUROC"),
    "id_classes": ("postprocessor", "label", "class", "samples", "rejected", "share", "ci_low", "ci_high", "accuracy",
                   "confused_with"),
    "ood_classes": ("postprocessor", "dataset", "class", "samples", "accepted", "share", "ci_low", "ci_high",
                    "predicted_as"),
    "worst": ("postprocessor", "place", *_SAMPLE, "predicted", "score", "p_value", "decision"),
    "hardest": (*_SAMPLE, "predicted", "wrong_scores", "mean_rank"),
    "scores": ("first", "second", "rank_correlation", "decided_differently"),
    "disagreements": (*_SAMPLE, "predicted", "spread", "highest", "highest_rank", "lowest", "lowest_rank"),
    "modalities": ("dataset", "first", "second", "agreement", "distance", "first_accuracy", "second_accuracy"),
    "modality_samples": (*_SAMPLE, "fused", "predictions", "distance"),
    "label_errors": (*_SAMPLE, "label", "suggested", "predicted", "score"),
}  # fmt: skip
"""Table → its columns; docs/inspect.md describes them."""


@dataclass(frozen=True)
class Looked:
    """What tables are made of.

    Attributes:
        scores: score → ``"test"`` and OOD sets → pred, conf, label.
        reference: score → sorted confidences of the ID set that the threshold is from.
        thresholds: score → least confidence that is accepted.
        sets: ``"train"``, ``"val"``, ``"test"`` and OOD sets → embeddings; any may be absent.
        head: the linear layer, or None where the sets have logits.
        clips: set → name of each sample, empty where unknown.
        classes: set → name of each sample's class, "" where unknown.
        names: of the ID classes.
        worst: samples listed of each kind.
        notes: what a reader has to know; added to.
    """

    scores: Mapping[str, Mapping[str, SetScores]]
    reference: Mapping[str, Floats]
    thresholds: Mapping[str, float]
    sets: Mapping[str, Embeddings]
    head: LinearHead | None
    clips: Mapping[str, Sequence[str]]
    classes: Mapping[str, Sequence[str]]
    names: Sequence[str]
    worst: int
    notes: list[str] = field(default_factory=list)

    def sample(self, dataset: str, row: int) -> tuple[str, int, str, str]:
        """Return the columns that name a sample."""
        clips = self.clips[dataset]
        return dataset, row, clips[row] if clips else "", self.classes[dataset][row]


def tables(looked: Looked, label_errors: bool, progress: bool) -> Iterator[tuple[str, Rows]]:
    """Yield name and rows of every table of `COLUMNS` that the inputs allow; the notes say why others are absent."""
    for name, of_score in (("sets", _sets), ("id_classes", _id_classes), ("ood_classes", _ood_classes),
                           ("worst", _worst)):  # fmt: skip
        yield name, [row for each in looked.scores for row in of_score(looked, each)]
    yield from _between_scores(looked)
    yield from _between_modalities(looked)
    if label_errors:
        yield from _label_errors(looked, progress)


def _row(table: str, *values: Any) -> dict[str, Any]:
    return dict(zip(COLUMNS[table], values, strict=True))


def _share(count: int, n: int) -> tuple[float, float, float]:
    return count / n, *wilson(count / n, n)


def _most(values: NDArray[np.int64], looked: Looked) -> str:
    return looked.names[int(np.bincount(values).argmax())] if len(values) else ""


def _sets(looked: Looked, name: str) -> Rows:
    rows, known = [], looked.scores[name][TEST]
    for dataset, scores in looked.scores[name].items():
        accepted, n = int((scores.conf >= looked.thresholds[name]).sum()), len(scores.conf)
        area = "" if dataset == TEST else auroc(known.conf, scores.conf)
        rows.append(_row("sets", name, dataset, n, accepted, *_share(accepted, n), area))
    return rows


def _id_classes(looked: Looked, name: str) -> Rows:
    scores, rows = looked.scores[name][TEST], []
    for label in np.unique(scores.label).tolist():
        mine = scores.label == label
        pred, rejected = scores.pred[mine], int((scores.conf[mine] < looked.thresholds[name]).sum())
        share, accuracy = _share(rejected, len(pred)), float((pred == label).mean())
        confused = _most(pred[pred != label], looked)
        rows.append(
            _row(
                "id_classes",
                name,
                label,
                looked.names[label],
                len(pred),
                rejected,
                *share,
                accuracy,
                confused,
            )
        )
    return sorted(rows, key=lambda row: -row["share"])


def _ood_classes(looked: Looked, name: str) -> Rows:
    rows = []
    for dataset, scores in looked.scores[name].items():
        if dataset == TEST:
            continue
        passed, classes = scores.conf >= looked.thresholds[name], np.asarray(looked.classes[dataset])
        for each in np.unique(classes).tolist():
            mine = classes == each
            accepted, n = int(passed[mine].sum()), int(mine.sum())
            share, predicted = _share(accepted, n), _most(scores.pred[mine & passed], looked)
            rows.append(_row("ood_classes", name, dataset, each, n, accepted, *share, predicted))
    return sorted(rows, key=lambda row: -row["share"])


def _worst(looked: Looked, name: str) -> Rows:
    rows = []
    for dataset, scores in looked.scores[name].items():
        conf = np.asarray(scores.conf, dtype=np.float64)
        order = np.argsort(conf if dataset == TEST else -conf, kind="stable")[: looked.worst]
        values = rules.p_values(conf[order], looked.reference[name])
        for place, (row, p_value) in enumerate(zip(order.tolist(), values.tolist(), strict=True), 1):
            predicted, score = looked.names[int(scores.pred[row])], float(conf[row])
            decision = "accept" if score >= looked.thresholds[name] else "reject"
            sample = looked.sample(dataset, row)
            rows.append(_row("worst", name, place, *sample, predicted, score, p_value, decision))
    return rows


def _between_scores(looked: Looked) -> Iterator[tuple[str, Rows]]:
    """Yield the samples that most scores decide wrongly, the pairs of scores, and what they rank most differently."""
    every = np.stack(
        [np.concatenate([each.conf for each in of_sets.values()]) for of_sets in looked.scores.values()]
    )
    accepted = every >= np.array([[looked.thresholds[name]] for name in looked.scores])
    ranks = np.stack([(scipy.stats.rankdata(conf) - 0.5) / len(conf) for conf in every])
    spread, mean, names = np.ptp(ranks, axis=0), ranks.mean(axis=0), list(looked.scores)
    hardest: Rows = []
    different: Rows = []
    start = 0
    for dataset, scores in looked.scores[names[0]].items():
        here = slice(start, start + len(scores.conf))
        start, known = here.stop, dataset == TEST
        wrong = (accepted[:, here] != known).sum(axis=0)
        for row in np.lexsort((mean[here] if known else -mean[here], -wrong))[: looked.worst].tolist():
            sample, predicted = looked.sample(dataset, row), looked.names[int(scores.pred[row])]
            if wrong[row]:
                hardest.append(_row("hardest", *sample, predicted, int(wrong[row]), float(mean[here][row])))
        for row in np.argsort(-spread[here], kind="stable")[: looked.worst].tolist():
            column = ranks[:, here.start + row]
            high, low = int(column.argmax()), int(column.argmin())
            sample, predicted = looked.sample(dataset, row), looked.names[int(scores.pred[row])]
            ends = names[high], float(column[high]), names[low], float(column[low])
            different.append(
                _row("disagreements", *sample, predicted, float(column[high] - column[low]), *ends)
            )
    yield "hardest", hardest
    if len(names) == 1:
        looked.notes.append("Scores are not compared: there is one; name several.")
        return
    with np.errstate(invalid="ignore"):  # a score whose confidences are all equal has none: NaN
        correlation = np.corrcoef(ranks)
    pairs = [
        _row(
            "scores", names[i], names[k], float(correlation[i, k]), float((accepted[i] != accepted[k]).mean())
        )
        for i, k in combinations(range(len(names)), 2)
    ]
    yield "scores", sorted(pairs, key=lambda row: row["rank_correlation"])
    yield "disagreements", different


def _between_modalities(looked: Looked) -> Iterator[tuple[str, Rows]]:
    """Yield agreement and distance of modalities' own predictions, and the samples on which they differ most.

    The distance of two predictions is half the L1 distance of their probabilities (total variation), from 0 to 1.
    """
    rows: Rows = []
    samples: Rows = []
    lacking = []
    for dataset in next(iter(looked.scores.values())):
        each = looked.sets.get(dataset)
        if each is None or each.modality_logits is None or len(each.modalities) < 2:
            lacking.append(dataset)
            continue
        logits = {name: each.modality_logits[:, k] for k, name in enumerate(each.modalities)}
        p = {name: softmax(np.asarray(own, dtype=np.float64)) for name, own in logits.items()}
        p["fused"] = softmax(logits_of(each, looked.head))
        pred = {name: own.argmax(axis=1) for name, own in p.items()}
        right = {
            name: float((of == each.labels).mean()) if dataset == TEST else "" for name, of in pred.items()
        }
        far = np.zeros(len(each))
        for one, other in combinations(p, 2):
            distance = 0.5 * np.abs(p[one] - p[other]).sum(axis=1)
            if other != "fused":
                far = np.maximum(far, distance)
            agreement = float((pred[one] == pred[other]).mean())
            found = agreement, float(distance.mean()), right[one], right[other]
            rows.append(_row("modalities", dataset, one, other, *found))
        for row in np.argsort(-far, kind="stable")[: looked.worst].tolist():
            said = "; ".join(f"{name}: {looked.names[int(pred[name][row])]}" for name in each.modalities)
            fused, sample = looked.names[int(pred["fused"][row])], looked.sample(dataset, row)
            samples.append(_row("modality_samples", *sample, fused, said, float(far[row])))
    if lacking:
        looked.notes.append(
            f"Modalities are not compared on {', '.join(lacking)}: that takes embeddings with the logits of two "
            "modalities' own heads."
        )
    if rows:
        yield "modalities", rows
        yield "modality_samples", samples


def _label_errors(looked: Looked, progress: bool) -> Iterator[tuple[str, Rows]]:
    if "train" not in looked.sets:
        looked.notes.append("Label errors are not looked for: that takes the embeddings of a training set.")
        return
    if len(looked.sets["train"]) > MOST_LABEL_ROWS:
        looked.notes.append(
            f"Label errors are not looked for: the training set has more than {MOST_LABEL_ROWS} rows, whose pairs "
            "would take too long; give a part of it."
        )
        return
    logits = {name: logits_of(each, looked.head) for name, each in looked.sets.items() if name in ID_SETS}
    labelled = {
        name: Labelled(looked.sets[name].features, softmax(own), looked.sets[name].labels)
        for name, own in logits.items()
    }
    rows = []
    for dataset, found in label_scores(labelled.pop("train"), labelled, progress).items():
        for row in np.argsort(found.score, kind="stable")[: looked.worst].tolist():
            if found.score[row] >= 0:
                break
            suggested, predicted = (
                looked.names[int(each)] for each in (found.suggested[row], logits[dataset][row].argmax())
            )
            label, score = int(looked.sets[dataset].labels[row]), float(found.score[row])
            rows.append(
                _row("label_errors", *looked.sample(dataset, row), label, suggested, predicted, score)
            )
    yield "label_errors", rows
