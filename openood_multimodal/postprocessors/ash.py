"""Activation shaping, the binary variant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

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
        dim = rows.features.shape[1]
        slices = rows.slices if self.params.per_modality else {"all": (0, dim)}
        shaped = np.empty_like(rows.features)
        for start, stop in slices.values():
            shaped[:, start:stop] = shape_binary(rows.features[:, start:stop], self.params.percentile)
        logits = rows.head_logits(shaped)
        return Scores(largest(logits), logsumexp(logits))


def shape_binary(features: Floats, percent: float) -> Floats:
    """Return ASH-B of ``[B, D]``: of every row the k largest become (row sum) / k, the others 0.

    k = D - round(D · percent / 100).  Of equal values at the border the first columns are kept (where fewer
    than k activations are positive, OpenOOD's choice among the zeros is left to ``torch.topk``).

    Raises:
        UserError: where k is 0.
    """
    dim = features.shape[1]
    kept = dim - int(np.round(dim * percent / 100.0))
    if kept < 1:
        raise UserError(f"ash: percentile={percent} keeps 0 of {dim} activations; set a smaller one.")
    border = np.partition(features, dim - kept, axis=1)[:, dim - kept, None]
    keep = features >= border
    crowded = np.flatnonzero(np.count_nonzero(keep, axis=1) > kept)
    if len(crowded):  # several values at the border, and not room for all
        some = features[crowded]
        above = some > border[crowded]
        level = some == border[crowded]
        room = kept - np.count_nonzero(above, axis=1)[:, None]
        keep[crowded] = above | (level & (np.cumsum(level, axis=1) <= room))
    shaped: Floats = keep.astype(np.float64)
    shaped *= features.sum(axis=1, keepdims=True) / kept
    return shaped
