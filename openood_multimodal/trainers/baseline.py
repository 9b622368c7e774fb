"""Trainers without a discrepancy: the authors' baseline, and the fair one."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from torch import Tensor
from torch.nn import functional as F

from ..losses import multihead_cross_entropy
from ..networks.fusion import MultimodalOutput
from ..registry import TRAINERS
from .base import MultimodalTrainer

CrossEntropy = Callable[[Tensor, Tensor], Tensor]


@TRAINERS.register("multimodal_baseline")
class MultimodalBaselineTrainer(MultimodalTrainer):
    """Cross-entropy of the fusion head alone: the baseline of MultiOOD's tables.

    The modality heads exist and stay as they were initialised.
    """

    method: ClassVar = {"title": "MultiOOD's baseline", "venue": "NeurIPS", "year": "2024"}

    def cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Batch-mean cross-entropy of ``[B, C]`` logits."""
        return F.cross_entropy(logits, labels)

    def compute_losses(self, output: MultimodalOutput, labels: Tensor, epoch_idx: int) -> dict[str, Tensor]:
        """CE(p̂, y)."""
        return {"classification": self.cross_entropy(output.logits, labels)}


@TRAINERS.register("multimodal_multihead")
class MultiHeadTrainer(MultimodalBaselineTrainer):
    """Mean cross-entropy of the fusion head and all modality heads (MultiOOD, Eq. 4 and 11), no discrepancy.

    A2D trains these heads too, so this is what A2D has to beat for its discrepancy to deserve the credit.
    """

    method: ClassVar = {"title": "A2D's classification loss alone", "venue": "NeurIPS", "year": "2024"}

    def compute_losses(self, output: MultimodalOutput, labels: Tensor, epoch_idx: int) -> dict[str, Tensor]:
        """L_cls of Eq. 11."""
        heads = list(output.modality_logits.values())
        return {
            "classification": multihead_cross_entropy(
                output.logits, heads, labels, cross_entropy=self.cross_entropy
            )
        }
