"""Activation shaping: ASH-B, ASH-S and ASH-P."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..arrays import Scores
from ..errors import UserError
from ..linalg.rows import Floats, largest
from ..registry import POSTPROCESSORS
from .base import OPENOOD_DEFAULTS, Postprocessor, Preset
from .params import ScoreInfo, require_number
from .rows import Rows
from .softmax import logsumexp


@POSTPROCESSORS.register("ash")
class ASH(Postprocessor):
    """ASH-B: energy of the logits of features of which only the largest are kept, all at one value."""

    name = "ash"
    info = ScoreInfo(
        title="Extremely Simple Activation Shaping for Out-of-Distribution Detection",
        authors="Andrija Djurisic, Nebojsa Bozanic, Arjun Ashok, Rosanne Liu",
        venue="ICLR",
        year=2023,
        url="https://arxiv.org/abs/2209.09858",
    )
    presets: ClassVar[Mapping[str, Preset]] = {
        "openood": OPENOOD_DEFAULTS,
        "multiood": {"percentile": 90, "per_modality": True},
    }
    needs_head = True
    sweep = {"percentile_list": (65, 70, 75, 80, 85, 90, 95)}  # noqa: RUF012

    @dataclass(frozen=True)
    class Params(Postprocessor.Params):
        """Parameters: ``percentile`` of activations dropped, 0 to 100; ``per_modality``, each by itself."""

        percentile: float = 90
        per_modality: bool = False

        def __post_init__(self) -> None:
            require_number("percentile", self.percentile, 0.0, 100.0)

    params: Params

    def score_rows(self, rows: Rows) -> Scores:
        """Return the energy of each row's logits after shaping."""
        slices = tuple(rows.slices.values()) if self.params.per_modality else ()

        def shape(features: Floats) -> Floats:
            if not slices:
                return self.shape(features)
            return np.concatenate([self.shape(features[:, start:stop]) for start, stop in slices], axis=1)

        logits = rows.head_logits(rows.at_hand, shape)
        return Scores(largest(logits), logsumexp(logits))

    def shape(self, features: Floats) -> Floats:
        """Return one modality's activations ``[B, D_k]`` after shaping."""
        return shape_binary(features, self.params.percentile)


@POSTPROCESSORS.register("ash_p")
class ASHP(ASH):
    """ASH-P: energy of the logits of features of which only the largest are kept, as they are."""

    name = "ash_p"

    def shape(self, features: Floats) -> Floats:
        """Return the largest activations, and 0 in place of the others."""
        return np.where(largest_activations(features, self.params.percentile, self.name), features, 0.0)


@POSTPROCESSORS.register("ash_s")
class ASHS(ASHP):
    """ASH-S: energy of the logits of features of which only the largest are kept, times exp(Σ x / Σ kept x)."""

    name = "ash_s"

    def shape(self, features: Floats) -> Floats:
        """Return the largest activations, scaled, and 0 in place of the others."""
        kept = super().shape(features)
        return np.asarray(kept * np.exp(activation_ratio(features, kept))[:, None])


LARGEST_RATIO = 300.0
"""What the ratio of sums is cut at, so that its exponential times a logit stays finite."""


def activation_ratio(features: Floats, kept: Floats) -> Floats:
    """Return ``[B]`` Σ x / Σ kept x of ``[B, D]``; 1 where nothing is active, and at most `LARGEST_RATIO` in size."""
    whole, part = features.sum(axis=1), kept.sum(axis=1)
    safe = np.where(part == 0.0, 1.0, part)
    ratio = np.where(part == 0.0, np.where(whole == 0.0, 1.0, np.sign(whole) * LARGEST_RATIO), whole / safe)
    return np.asarray(np.clip(ratio, -LARGEST_RATIO, LARGEST_RATIO))


def shape_binary(features: Floats, percent: float) -> Floats:
    """Return ASH-B of ``[B, D]``: of every row the k largest become (row sum) / k, the others 0.

    Raises:
        UserError: where k is 0.
    """
    keep = largest_activations(features, percent)
    kept = np.count_nonzero(keep, axis=1, keepdims=True)
    return np.asarray(keep * (features.sum(axis=1, keepdims=True) / kept))


def largest_activations(features: Floats, percent: float, name: str = "ash") -> NDArray[np.bool_]:
    """Return where the k largest values of every row of ``[B, D]`` are, k = D - round(D · percent / 100).

    Of equal values at the border the first columns are kept (where fewer than k activations are positive, OpenOOD's
    choice among the zeros is left to ``torch.topk``).

    Raises:
        UserError: where k is 0.
    """
    dim = features.shape[1]
    kept = dim - int(np.round(dim * percent / 100.0))
    if kept < 1:
        raise UserError(f"{name}: percentile={percent} keeps 0 of {dim} activations; set a smaller one.")
    border = np.partition(features, dim - kept, axis=1)[:, dim - kept, None]
    keep = features >= border
    crowded = np.flatnonzero(np.count_nonzero(keep, axis=1) > kept)
    if len(crowded):  # several values at the border, and not room for all
        some = features[crowded]
        above = some > border[crowded]
        level = some == border[crowded]
        room = kept - np.count_nonzero(above, axis=1)[:, None]
        keep[crowded] = above | (level & (np.cumsum(level, axis=1) <= room))
    return keep
