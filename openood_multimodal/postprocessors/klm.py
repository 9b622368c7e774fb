"""KL matching."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..arrays import Scores
from ..linalg.rows import Floats
from ..registry import POSTPROCESSORS
from .base import Postprocessor
from .params import ScoreInfo
from .rows import Rows
from .softmax import log_softmax

if TYPE_CHECKING:
    from .shared import Shared


@POSTPROCESSORS.register("klm")
class KLMatching(Postprocessor):
    """Minus the smallest Kullback-Leibler divergence of p = softmax(z) from a class's posterior template.

    The template d_c is the mean of p over the validation rows that are predicted as c, and conf = -min_c KL(p ‖ d_c).
    A class that no validation row is predicted as has no template.
    """

    name = "klm"
    info = ScoreInfo(
        title="Scaling Out-of-Distribution Detection for Real-World Settings",
        authors="Dan Hendrycks, Steven Basart, Mantas Mazeika, Andy Zou, Joe Kwon, Mohammadreza Mostajabi, "
        "Jacob Steinhardt, Dawn Song",
        venue="ICML",
        year=2022,
        url="https://arxiv.org/abs/1911.11132",
    )
    needs = frozenset({"val"})
    reads_features = False

    log_templates: Floats
    """Float64 ``[T, C]``, log d_c of the classes that have a template."""

    def learn(self, shared: Shared) -> None:
        """Take the templates from the validation set, or from the training set where there is none."""
        chosen = shared.validation_set(self, "the template")
        sums, counts = shared.summed(_templates_of, chosen, _added)
        known = counts > 0
        self.log_templates = sums[known] - np.log(counts[known])[:, None]

    def score_rows(self, rows: Rows) -> Scores:
        """Return minus each row's divergence from the nearest template."""
        log_p = log_softmax(rows.logits)
        p = np.exp(log_p)
        divergence = np.einsum("ij,ij->i", p, log_p)[:, None] - p @ self.log_templates.T
        return Scores(rows.pred, -divergence.min(axis=1))


def _templates_of(rows: Rows) -> tuple[Floats, Floats]:
    """Return the log of summed probabilities ``[C, C]`` of the rows predicted as each class, and their number."""
    log_p = log_softmax(rows.logits)
    sums, counts = np.full((log_p.shape[1],) * 2, -np.inf), np.zeros(log_p.shape[1])
    for label in np.unique(rows.pred):
        own = log_p[rows.pred == label]
        counts[label] = len(own)
        sums[label] = np.logaddexp.reduce(own, axis=0)
    return sums, counts


def _added(one: tuple[Floats, Floats], other: tuple[Floats, Floats]) -> tuple[Floats, Floats]:
    return np.logaddexp(one[0], other[0]), one[1] + other[1]
