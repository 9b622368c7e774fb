"""Modality-aware virtual logits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import scipy

from ..arrays import Scores
from ..linalg.rows import Floats
from ..registry import POSTPROCESSORS
from .base import Postprocessor
from .gaussian import LowVariance
from .params import ScoreInfo, require_number
from .plan import fit_part
from .rows import Rows
from .softmax import logsumexp, softmax

if TYPE_CHECKING:
    from .shared import Shared

RIDGE = 1e-6

ROUNDING = 1e-5
"""A deviation of distances between probabilities below it is float32 rounding of the logits."""


class Scale(NamedTuple):
    """What brings a distance to the mean and deviation of the largest logits, times a weight."""

    slope: float
    offset: float

    def __call__(self, distance: Floats) -> Floats:
        """Return the virtual logits ``[B]`` of distances ``[B]``."""
        return np.asarray(self.slope * distance + self.offset)


@POSTPROCESSORS.register("modality_virtual_logits")
class ModalityVirtualLogits(Postprocessor):
    """Minus the softmax mass of two virtual logits, given as log-odds: one of unlikely features, one of odd modalities.

    d₁ = ‖softmax(ẑ) - softmax(z)‖₂, where ẑ_c = Σ_m a_mc z^m_c + g_c is a ridge regression of each class's fused logit
    on the modalities' own, on ID validation samples.  d₂ is `low_variance`'s distance.  Each is brought to mean and
    deviation of the largest validation logits, and multiplied as a whole by its weight.  For any number of modalities.
    """

    name = "modality_virtual_logits"
    info = ScoreInfo(
        title="Modality-Aware Out-of-Distribution Detection for Multi-Modal Action Recognition",
        authors="Lars Doorenbos et al.",
        venue="ECCV",
        year=2026,
        url="https://arxiv.org/abs/2606.24404",
    )
    needs = frozenset({"train", "val"})
    reads_modality_logits = True
    fit_reads_params = True

    @dataclass(frozen=True)
    class Params(Postprocessor.Params):
        """Parameters: ``variance`` of d₂, ``mm_weight`` of d₂'s and ``mm_weight2`` of d₁'s virtual logit (0.005, 1.25
        and 0.4: the authors').
        """

        variance: float = 0.005
        mm_weight: float = 1.25
        mm_weight2: float = 0.4

        def __post_init__(self) -> None:
            require_number("variance", self.variance, 0.0, 1.0, above=True)
            require_number("mm_weight", self.mm_weight, 0.0)
            require_number("mm_weight2", self.mm_weight2, 0.0)

    params: Params
    coefficients: Floats
    """Float64 ``[C, M + 1]``: a_mc, and g_c last."""

    def learn(self, shared: Shared) -> None:
        """Take the regression and both scales from the validation set, or from the training set where there is none."""
        chosen = shared.validation_set(self, "the regression")
        part = fit_part(LowVariance(variance=self.params.variance), shared)
        assert isinstance(part, LowVariance)
        self._low = part
        parts = shared.of_blocks(
            lambda rows: (np.array(rows.modality_logits), rows.logits, part.distances(rows)), chosen
        )
        modalities, logits, off = map(np.concatenate, zip(*parts, strict=True))
        largest = logits.max(axis=1)
        design = np.concatenate([modalities, np.ones((len(logits), 1, logits.shape[1]))], axis=1)
        normal = np.einsum("nmc,nkc->cmk", design, design) + RIDGE * np.eye(design.shape[1])
        self.coefficients = np.linalg.solve(normal, np.einsum("nmc,nc->cm", design, logits)[..., None])[
            ..., 0
        ]
        unexplained = self._unexplained(modalities, logits)
        if unexplained.std() < ROUNDING:
            self.notes.append(
                "modality_virtual_logits: the modalities' logits explain the fused ones but for rounding, so the "
                "second virtual logit is constant."
            )
            unexplained = np.zeros_like(unexplained)
        self._scales = [
            scale_to(largest, off, self.params.mm_weight),
            scale_to(largest, unexplained, self.params.mm_weight2),
        ]

    def _unexplained(self, modalities: Floats, logits: Floats) -> Floats:
        explained = np.einsum("nmc,cm->nc", modalities, self.coefficients[:, :-1]) + self.coefficients[:, -1]
        return np.asarray(np.linalg.norm(softmax(explained) - softmax(logits), axis=1))

    def score_rows(self, rows: Rows) -> Scores:
        """Return the log-odds of the classes against the virtual ones."""
        distances = (self._low.distances(rows), self._unexplained(rows.modality_logits, rows.logits))
        virtual = [scale(each) for scale, each in zip(self._scales, distances, strict=True)]
        return Scores(rows.pred, logsumexp(rows.logits) - np.logaddexp(*virtual))


def scale_to(logits: Floats, distances: Floats, weight: float) -> Scale:
    """Return the map of ``distances`` to the mean and deviation of ``logits``, both ``[N]``, times ``weight``."""
    deviation = float(distances.std())
    slope = float(logits.std() / (deviation + 1e-6)) if deviation > 0.0 else 0.0
    return Scale(weight * slope, weight * float(logits.mean() - slope * distances.mean()))


@POSTPROCESSORS.register("modality_drop")
class ModalityDrop(Postprocessor):
    """Minus the logarithm of the mean change of the prediction's probability when one modality's columns are set to 0.

    Sure predictions of in-distribution samples stay sure without a modality; a prediction that rests on one modality
    changes.  The fused head gives the logits without it.  1 - p is what is subtracted, so that sure predictions don't
    tie.
    """

    name = "modality_drop"
    info = ScoreInfo(
        "Change of the prediction without a modality", "openood-multimodal", "software", 2026, ""
    )
    needs_head = True
    needs_slices = True

    def score_rows(self, rows: Rows) -> Scores:
        """Return minus the logarithm of the mean change over the modalities."""
        logits = rows.own_logits
        pred = logits.argmax(axis=1)
        whole = scipy.special.expit(-odds_of(logits, pred))
        change = np.zeros(len(rows))
        for start, stop in rows.slices.values():
            without = np.array(rows.features)
            without[:, start:stop] = 0.0
            change += np.abs(whole - scipy.special.expit(-odds_of(rows.head_logits(without), pred)))
        return Scores(pred, -np.log(np.maximum(change / len(rows.slices), LEAST_CHANGE)))


LEAST_CHANGE = 1e-300
"""Changes below it count as it, so that a confidence stays finite."""


def odds_of(logits: Floats, classes: np.ndarray) -> Floats:
    """Return ``[B]`` log(p / (1 - p)) of the probability p of each row's class; 0 with one class."""
    if logits.shape[1] == 1:
        return np.zeros(len(logits))
    places = np.arange(len(logits))
    others = np.array(logits)
    others[places, classes] = -np.inf
    return np.asarray(logits[places, classes] - logsumexp(others))
