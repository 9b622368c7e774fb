"""Likely label errors, by the relation graph of Kim, Yun and Song (NeurIPS 2023)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..linalg.rows import Floats, feature_blocks, row_norms
from ..linalg.unit_rows import unit_rows
from ..postprocessors.relation import RelationGraph
from ..progress import progress_bar

POWER, NOISY = 4.0, -0.05
"""The authors' exponent of a relation, and the share of the largest score below which a label counts as noisy."""


class Labelled(NamedTuple):
    """A set with its labels: features ``[N, D]``, probabilities ``[N, C]``, labels ``[N]``."""

    features: NDArray[Any]
    p: Floats
    labels: NDArray[np.int64]


class LabelScores(NamedTuple):
    """How well labels agree with those of similar training rows.

    Attributes:
        score: float64 ``[N]`` from -1 to 1; below 0 where relations to other labels outweigh those to the own.
        suggested: int64 ``[N]``, the class with the largest sum of relations.
    """

    score: Floats
    suggested: NDArray[np.int64]


def label_scores(
    train: Labelled, others: Mapping[str, Labelled], progress: bool = False
) -> dict[str, LabelScores]:
    """Return the label scores of the training set (``"train"``) and of other sets, by relations to training rows.

    A row's score is the sum of its relations to the training rows (see `postprocessors.relation`) to the power 4,
    positive to rows of its label and negative to others; a training row counts among its own, as in the authors' code.
    Relations to rows that are likely mislabelled, by their own first score, then count with the opposite sign.
    Scores are divided by a set's largest absolute one.

    Args:
        train: the rows of the graph.
        others: name → set.
        progress: whether to show bars.
    """
    sums = {name: _class_sums(each, train, progress) for name, each in {"train": train, **others}.items()}
    noisy = np.flatnonzero(_scaled(_signed(sums["train"], train.labels)) < NOISY)
    found = {}
    for name, each in {"train": train, **others}.items():
        of_set = sums[name]
        if len(noisy):
            part = Labelled(train.features[noisy], train.p[noisy], train.labels[noisy])
            of_set = np.asarray(of_set - 2.0 * _class_sums(each, part, progress))
        found[name] = LabelScores(_scaled(_signed(of_set, each.labels)), of_set.argmax(axis=1))
    return found


def _class_sums(of: Labelled, graph: Labelled, progress: bool) -> Floats:
    """Return ``[N, C]``: sums of each row's relations to the rows of each class."""
    one_hot = np.eye(of.p.shape[1])[graph.labels]
    sums, relations = np.zeros(of.p.shape), RelationGraph(graph.features, graph.p, row_norms(graph.features))
    bar = progress_bar(total=len(sums), desc="Labels", unit="row", leave=False, quiet=not progress)
    with bar:
        for rows, block in feature_blocks(of.features, rows=1024):
            for where, bank, relation in relations.relations(unit_rows(block), of.p[rows]):
                relation **= POWER
                sums[rows][where] += relation @ one_hot[bank]
            bar.update(len(block))
    return sums


def _signed(sums: Floats, labels: NDArray[np.int64]) -> Floats:
    return 2.0 * sums[np.arange(len(sums)), labels] - sums.sum(axis=1)


def _scaled(score: Floats) -> Floats:
    largest = float(np.abs(score).max())
    return score / largest if largest > 0 else score
