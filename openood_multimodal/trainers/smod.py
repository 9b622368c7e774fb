"""SMOD: a fusion head distilled from frozen unimodal networks (read in the authors' code; no paper was available)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..config.ranges import NotNegative, Positive
from ..errors import UserError
from ..losses import decoupled_distillation_loss, weighted_teacher
from ..networks.fusion import MultimodalOutput
from ..registry import TRAINERS
from .baseline import MultimodalBaselineTrainer


@TRAINERS.register("smod")
class SMODTrainer(MultimodalBaselineTrainer):
    """CE + DKD of a new fusion head; encoders and modality heads are those of ``network.checkpoint``, and stay.

    The teacher is the mean of the modality heads' logits, weighted by how well each fits the batch.  Encoders and heads
    stay in evaluation mode.  The authors step a cosine schedule of T_max = epochs every iteration, so that the
    learning rate oscillates; it is constant here.
    """

    @dataclass(frozen=True)
    class Params:
        """Keys of the ``trainer`` section.

        Attributes:
            target_weight: α, of the divergence of the true class against the others.
            other_weight: β, of the divergence among the other classes.
            temperature: of the distillation.
        """

        target_weight: NotNegative = 0.2
        other_weight: NotNegative = 0.8
        temperature: Positive = 1.0

    method: ClassVar = {
        "title": "SMOD: Leveraging Dark Knowledge for Intrinsic Multimodal Out-of-Distribution Detection",
        "url": "https://github.com/codebyhdnu-hub/SMOD",
    }

    def __init__(self, net: Any, train_loader: Any, config: Mapping[str, Any]) -> None:
        section = config.get("network")
        if section is not None and not section.get("pretrained"):
            raise UserError(
                "the trainer 'smod' distils trained networks, and network.pretrained is off: train with "
                "multimodal_multihead first, then set --network.pretrained true --network.checkpoint <run>/best.ckpt."
            )
        module = net.module if hasattr(net, "module") else net
        head: nn.Linear = module.get_fc_layer()
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(int(config.get("seed") or 0))
            head.reset_parameters()
        for parameter in module.parameters():
            parameter.requires_grad_(False)
        for parameter in head.parameters():
            parameter.requires_grad_(True)
        super().__init__(net, train_loader, config)

    def _forward(self, data: Any) -> MultimodalOutput:
        self.net.eval()  # batch norm and dropout of what is frozen; a linear head has neither
        return super()._forward(data)

    def compute_losses(self, output: MultimodalOutput, labels: Tensor, epoch_idx: int) -> dict[str, Tensor]:
        """CE(p̂, y) and the distillation."""
        terms = super().compute_losses(output, labels, epoch_idx)
        teacher = weighted_teacher(list(output.modality_logits.values()), labels)
        params = self.params
        terms["distillation"] = decoupled_distillation_loss(
            output.logits, teacher, labels, params.target_weight, params.other_weight, params.temperature
        )
        return terms
