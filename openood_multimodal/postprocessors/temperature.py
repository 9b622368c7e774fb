"""Maximum softmax probability at a temperature: temperature scaling and ODIN."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy

from ..arrays import LinearHead, Scores, check_labels
from ..errors import UserError
from ..linalg.rows import Floats, largest
from ..registry import POSTPROCESSORS
from .base import Postprocessor
from .params import ScoreInfo, require_number
from .rows import Rows
from .softmax import max_log_odds, softmax

if TYPE_CHECKING:
    from .shared import Shared

BOUNDS = (1e-2, 1e3)
"""Temperatures that are considered."""


@POSTPROCESSORS.register("temperature_scaling")
class TemperatureScaling(Postprocessor):
    """Log-odds of the maximum softmax probability at the temperature with the smallest loss on validation samples.

    The loss is the cross-entropy, convex in 1 / T, and T its minimiser within 0.01 and 1000.  OpenOOD's class takes
    at most 50 small L-BFGS steps from T = 1.5 and may stop on the way, so its figures differ where it does.
    """

    name = "temperature_scaling"
    info = ScoreInfo(
        title="On Calibration of Modern Neural Networks",
        authors="Chuan Guo, Geoff Pleiss, Yu Sun, Kilian Q. Weinberger",
        venue="ICML",
        year=2017,
        url="https://arxiv.org/abs/1706.04599",
    )
    needs = frozenset({"val"})
    reads_features = False

    temperature: float

    def learn(self, shared: Shared) -> None:
        """Take the temperature from the validation set, or from the training set where there is none.

        Raises:
            UserError: for a label outside the classes.
        """
        chosen = shared.validation_set(self, "the temperature")
        logits = np.concatenate(list(shared.of_blocks(lambda rows: rows.logits, chosen)))
        labels = np.asarray(chosen.labels)
        check_labels(
            labels,
            logits.shape[1],
            f"temperature_scaling: {'training' if shared.val is None else 'validation'} set",
        )
        self.temperature = best_temperature(logits, labels)
        if self.temperature in BOUNDS:
            self.notes.append(
                f"temperature_scaling: the loss has no minimum between T = {BOUNDS[0]:g} and {BOUNDS[1]:g}; "
                f"T = {self.temperature:.3g} is taken."
            )

    def score_rows(self, rows: Rows) -> Scores:
        """Return the log-odds of each row's largest probability at the temperature."""
        return Scores(rows.pred, max_log_odds(rows.logits / self.temperature))


def best_temperature(logits: Floats, labels: np.ndarray) -> float:
    """Return T, within `BOUNDS`, at which the mean cross-entropy of ``logits / T`` is smallest."""
    right = float(logits[np.arange(len(labels)), labels].mean())

    def slope(beta: float) -> float:  # of the loss over beta = 1 / T, in which it is convex
        return float(np.einsum("ij,ij->", softmax(beta * logits), logits)) / len(logits) - right

    low, high = 1.0 / BOUNDS[1], 1.0 / BOUNDS[0]
    if slope(low) >= 0.0:
        return BOUNDS[1]
    if slope(high) <= 0.0:
        return BOUNDS[0]
    return 1.0 / float(scipy.optimize.brentq(slope, low, high, xtol=1e-14, rtol=1e-14))


@POSTPROCESSORS.register("odin")
class ODIN(Postprocessor):
    """ODIN on embeddings: log-odds of the maximum softmax probability at a temperature, after a step of ``noise``.

    The step goes up the gradient's sign, as the paper's does in the input; here x is the input:
    x - noise · sign(Wᵀ (p - e_ŷ)), with p = softmax(z / T) and sign(0) = 1 as in OpenOOD.  With ``noise`` 0 it is
    ODIN's temperature part alone, which needs logits only.
    """

    name = "odin"
    info = ScoreInfo(
        title="Enhancing The Reliability of Out-of-distribution Image Detection in Neural Networks",
        authors="Shiyu Liang, Yixuan Li, R. Srikant",
        venue="ICLR",
        year=2018,
        url="https://arxiv.org/abs/1706.02690",
    )
    sweep = {"temperature_list": (1, 10, 100, 1000), "noise_list": (0.0014, 0.0028)}  # noqa: RUF012

    @dataclass(frozen=True)
    class Params(Postprocessor.Params):
        """Parameters: ``temperature``, above 0, and ``noise``, at least 0 (1000 and 0.0014: OpenOOD's)."""

        temperature: float = 1000
        noise: float = 0.0014

        def __post_init__(self) -> None:
            require_number("temperature", self.temperature, 0.0, above=True)
            require_number("noise", self.noise, 0.0)

    params: Params

    @property
    def needs_head(self) -> bool:  # type: ignore[override]
        """Whether there is a step, whose logits only the head gives."""
        return self.params.noise > 0.0

    @property
    def reads_features(self) -> bool:  # type: ignore[override]
        """Whether there is a step."""
        return self.params.noise > 0.0

    def score_rows(self, rows: Rows) -> Scores:
        """Return the log-odds of each row's largest probability at the temperature."""
        logits = rows.logits
        if self.params.noise > 0.0:
            if rows.head is None:
                raise UserError("odin needs the head for its step; set odin.noise to 0 to do without.")
            weight, bias = (each.astype(np.float64) for each in (rows.head.weight, rows.head.bias))
            head = LinearHead(weight, bias)

            def step(features: Floats) -> Floats:
                logits = head.logits(features)
                pull = softmax(logits / self.params.temperature)
                pull[np.arange(len(features)), largest(logits)] -= 1.0
                return features - np.copysign(self.params.noise, pull @ weight + 0.0)

            logits = rows.head_logits(rows.at_hand, step)
        return Scores(largest(logits), max_log_odds(logits / self.params.temperature))
