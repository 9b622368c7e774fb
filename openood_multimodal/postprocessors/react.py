"""Rectified activations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ..arrays import Scores
from ..errors import UserError
from ..linalg.rows import largest
from ..registry import POSTPROCESSORS
from .base import OPENOOD_DEFAULTS, Postprocessor, Preset
from .params import ScoreInfo, require_number
from .rows import Rows
from .softmax import logsumexp

if TYPE_CHECKING:
    from .shared import Shared


@POSTPROCESSORS.register("react")
class ReAct(Postprocessor):
    """Energy of the logits of features clipped from above at a percentile of validation features."""

    name = "react"
    info = ScoreInfo(
        title="ReAct: Out-of-distribution Detection With Rectified Activations",
        authors="Yiyou Sun, Chuan Guo, Yixuan Li",
        venue="NeurIPS",
        year=2021,
        url="https://arxiv.org/abs/2111.12797",
    )
    presets: ClassVar[Mapping[str, Preset]] = {
        "openood": OPENOOD_DEFAULTS,
        "multiood": {"percentile": 90, "per_modality": True},
    }
    needs = frozenset({"val"})
    needs_head = True
    fit_reads_params = True
    sweep = {"percentile_list": (85, 90, 95, 99)}  # noqa: RUF012

    @dataclass(frozen=True)
    class Params(Postprocessor.Params):
        """Parameters: ``percentile`` 0 to 100; ``per_modality``, a threshold for each modality's columns."""

        percentile: float = 90
        per_modality: bool = False

        def __post_init__(self) -> None:
            require_number("percentile", self.percentile, 0.0, 100.0)

    params: Params
    thresholds: dict[str, float]
    """Modality (or ``"all"``) → threshold."""

    def learn(self, shared: Shared) -> None:
        """Take the thresholds from the validation set, or from the training set where there is none.

        Raises:
            UserError: for embeddings that are empty or not finite.
        """
        chosen = shared.validation_set(self, "the threshold")
        self._slices = {"all": (0, chosen.dim)}
        if self.params.per_modality:
            self._slices = dict(chosen.slices)
        self.thresholds = {
            modality: shared.percentile(chosen, self.params.percentile, slice(*columns))
            for modality, columns in self._slices.items()
        }
        self._limits = np.concatenate(
            [
                np.full(stop - start, self.thresholds[modality])
                for modality, (start, stop) in self._slices.items()
            ]
        )

    def score_rows(self, rows: Rows) -> Scores:
        """Return the energy of each row's logits after clipping."""
        if self.params.per_modality and rows.slices != self._slices:
            raise UserError(f"react was fitted on the slices {self._slices}, these rows have {rows.slices}.")
        logits = rows.head_logits(rows.at_hand, lambda each: np.minimum(each, self._limits))
        return Scores(largest(logits), logsumexp(logits))
