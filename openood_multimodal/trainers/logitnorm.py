"""The trainers of MultiOOD's LogitNorm, LogitNorm+ and LogitNorm++ rows.

LogitNorm (ICML 2022) trains on logits of unit norm divided by a temperature τ; scores use the raw logits.  As
in the authors' code it replaces the cross-entropy of the fusion head and of every modality head.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ..config.ranges import Positive
from ..losses import logit_norm_cross_entropy
from ..registry import TRAINERS
from .a2d import A2DSynthesisTrainer, A2DTrainer
from .base import MultimodalTrainer
from .baseline import MultimodalBaselineTrainer

LOGITNORM = {
    "title": "Mitigating Neural Network Overconfidence with Logit Normalization",
    "authors": "Hongxin Wei, Renchunzi Xie, Hao Cheng, Lei Feng, Bo An, Yixuan Li",
    "venue": "ICML",
    "year": "2022",
    "url": "https://arxiv.org/abs/2205.09310",
}


@dataclass(frozen=True)
class _Tau:
    tau: Positive = 0.04


class _LogitNorm(MultimodalBaselineTrainer):
    """Mixin: cross-entropy of normalised logits."""

    method: ClassVar = LOGITNORM

    def cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Batch-mean cross-entropy of z / (τ(‖z‖ + 1e-7))."""
        return logit_norm_cross_entropy(logits, labels, tau=self.params.tau)


@TRAINERS.register("multimodal_logitnorm")
class MultimodalLogitNormTrainer(_LogitNorm):
    """LogitNorm on the fusion head: the paper's LogitNorm row."""

    @dataclass(frozen=True)
    class Params(_Tau, MultimodalTrainer.Params):
        """Keys of the ``trainer`` section: ``tau``, the temperature τ."""


@TRAINERS.register("a2d_logitnorm")
class A2DLogitNormTrainer(_LogitNorm, A2DTrainer):
    """A2D with LogitNorm cross-entropies: the paper's LogitNorm+ row."""

    @dataclass(frozen=True)
    class Params(_Tau, A2DTrainer.Params):
        """Keys of the ``trainer`` section: A2D's and ``tau``."""


@TRAINERS.register("a2d_npmix_logitnorm")
class A2DNPMixLogitNormTrainer(_LogitNorm, A2DSynthesisTrainer):
    """A2D and NP-Mix with LogitNorm cross-entropies: the paper's LogitNorm++ row."""

    @dataclass(frozen=True)
    class Params(_Tau, A2DSynthesisTrainer.Params):
        """Keys of the ``trainer`` section: A2D+NP-Mix's and ``tau``."""
