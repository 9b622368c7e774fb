"""DPU: dynamic prototype updating (CVPR 2025)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from ..config.ranges import NotNegative, Positive, Range, Share, WholeNumber
from ..errors import UserError
from ..losses import (
    invariant_contrastive_losses,
    prototype_loss,
    sample_discrepancies,
    updated_prototypes,
)
from ..networks.fusion import MultimodalOutput
from ..registry import TRAINERS
from .a2d import A2DSynthesisTrainer


@TRAINERS.register("dpu")
class DPUTrainer(A2DSynthesisTrainer):
    """A2D with outliers, whose discrepancy counts more for samples far from their class's prototype, and a contrast."""

    @dataclass(frozen=True)
    class Params(A2DSynthesisTrainer.Params):
        """Keys of the ``trainer`` section.

        Attributes:
            static_epochs: first epochs, in which the discrepancy's weight is γ for every sample; as many as there are
                for a static weight throughout.
            scale: μ: afterwards the weight is μ (1 − sigmoid(cos(Z, P_y))).
            contrast_weight: of the contrastive loss.
            invariance_weight: of its variance.
            prototype_weight: of −ln cos(Z, P_y).
            temperature: of the contrast.
            margin: of the contrast, in radians.
            momentum: β of the prototypes.
            prototype_modality: whose embeddings the prototypes are of; empty for the first.
        """

        static_epochs: WholeNumber = 2
        scale: NotNegative = 0.3
        contrast_weight: NotNegative = 0.2
        invariance_weight: NotNegative = 2.0
        prototype_weight: NotNegative = 0.1
        temperature: Positive = 0.05
        margin: Annotated[float, Range(0, math.pi)] = math.pi / 18
        momentum: Share = 0.8
        prototype_modality: str = ""

    method: ClassVar = {
        "title": "DPU: Dynamic Prototype Updating for Multimodal Out-of-Distribution Detection",
        "authors": "Shawn Li, Huixian Gong, Hao Dong, Tiankai Yang, Zhengzhong Tu, Yue Zhao",
        "venue": "CVPR",
        "year": "2025",
        "url": "https://arxiv.org/abs/2411.08227",
    }

    def __init__(self, net: Any, train_loader: Any, config: Mapping[str, Any]) -> None:
        super().__init__(net, train_loader, config)
        module = net.module if hasattr(net, "module") else net
        self.prototype_modality = self.params.prototype_modality or next(iter(module.slices))
        if self.prototype_modality not in module.slices:
            raise UserError(
                f"trainer.prototype_modality is '{self.prototype_modality}'; the network has "
                f"{', '.join(module.slices)}."
            )
        start, stop = module.slices[self.prototype_modality]
        self.prototypes = torch.zeros(module.num_classes, stop - start, device=self.device)

    def compute_losses(self, output: MultimodalOutput, labels: Tensor, epoch_idx: int) -> dict[str, Tensor]:
        """A2D's terms and outliers', the contrast, its variance, and the prototypes'."""
        params, embeddings = self.params, output.embeddings[self.prototype_modality]
        terms = super().compute_losses(output, labels, epoch_idx)
        self.prototypes = updated_prototypes(self.prototypes, embeddings, labels, params.momentum)
        if epoch_idx > params.static_epochs:
            near = cosine_similarity(embeddings, self.prototypes[labels], dim=1)
            weights = params.scale * (1 - near.sigmoid())
            heads = list(output.modality_logits.values())
            each = sample_discrepancies(
                heads, labels, discrepancy=params.discrepancy, protocol=params.protocol
            )
            terms["discrepancy"] = -(weights * each).mean()
        contrast, variance = invariant_contrastive_losses(
            list(output.embeddings.values()), labels, params.temperature, params.margin
        )
        terms["contrast"] = params.contrast_weight * contrast
        terms["invariance"] = params.invariance_weight * variance
        terms["prototype"] = params.prototype_weight * prototype_loss(embeddings, self.prototypes, labels)
        return terms

    def extra_state(self) -> dict[str, Any]:
        """A2D's, and the prototypes."""
        return {**super().extra_state(), "prototypes": self.prototypes.clone()}

    def load_extra_state(self, state: Mapping[str, Any]) -> None:
        """Restore `extra_state`."""
        super().load_extra_state(state)
        self.prototypes = state["prototypes"].to(self.device, copy=True)
