"""ACR: adaptive confidence refinement (CVPR 2026)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..config.ranges import Count, NotNegative
from ..errors import UserError
from ..losses import adaptive_confidence_loss, mixed_cross_entropy
from ..networks.fusion import MultimodalOutput
from ..registry import TRAINERS
from ..synthesis.blocks import mix_blocks
from .extra_class import extra_class, with_extra_class
from .tasks import MultimodalTaskTrainer


@TRAINERS.register("acr")
class ACRTrainer(MultimodalTaskTrainer):
    """L_cls + w L_conf + w' L_mix: the fused prediction the most confident, mixed embeddings a class apart.

    In training every head has one more class, that of embeddings whose modalities exchanged blocks of channels.  The
    authors drop it from a trained network; here its weights are the trainer's, and never part of the network.
    """

    @dataclass(frozen=True)
    class Params(MultimodalTaskTrainer.Params):
        """Keys of the ``trainer`` section.

        Attributes:
            weight: w, of the adaptive confidence loss.
            mixing_weight: w', of the mixed embeddings' cross-entropy.
            min_channels: least number of channels that a modality exchanges in a step.
            max_channels: greatest.  Both are at most the width of the narrowest modality.
        """

        weight: NotNegative = 2.0
        mixing_weight: NotNegative = 1.0
        min_channels: Count = 32
        max_channels: Count = 512

        def __post_init__(self) -> None:
            if self.min_channels > self.max_channels:
                raise UserError(
                    f"trainer.min_channels is {self.min_channels} and max_channels {self.max_channels}; "
                    "they must be in this order."
                )

    method: ClassVar = {
        "title": "ACR: adaptive confidence refinement",
        "venue": "CVPR",
        "year": "2026",
        "url": "https://arxiv.org/abs/2603.02200",
    }

    def __init__(self, net: Any, train_loader: Any, config: Mapping[str, Any]) -> None:
        super().__init__(net, train_loader, config)
        self.generator = torch.Generator().manual_seed(self.seed)

    def build_auxiliary(self, widths: Mapping[str, int]) -> nn.ModuleDict:
        """The additional class of each head."""
        return extra_class(widths)

    def task_loss(self, output: MultimodalOutput, labels: Tensor) -> Tensor:
        """The adaptive confidence loss."""
        return adaptive_confidence_loss(output.logits, list(output.modality_logits.values()))

    def compute_losses(self, output: MultimodalOutput, labels: Tensor, epoch_idx: int) -> dict[str, Tensor]:
        """L_cls, w L_conf and w' L_mix, and γ L_Discr with A2D: all over C + 1 classes."""
        terms = super().compute_losses(with_extra_class(self.auxiliary, output), labels, epoch_idx)
        terms["mixing"] = self.params.mixing_weight * self._mixing_loss(output, labels)
        return terms

    def _mixing_loss(self, output: MultimodalOutput, labels: Tensor) -> Tensor:
        embeddings = list(output.embeddings.values())
        most = min(self.params.max_channels, *(each.shape[1] for each in embeddings))
        least = min(self.params.min_channels, most)
        count = int(torch.randint(least, most + 1, (), generator=self.generator))
        mixed = torch.cat(mix_blocks(embeddings, count, self.generator), dim=1)
        net = self.net.module if hasattr(self.net, "module") else self.net
        head = net.get_fc_layer()  # type: ignore[operator, union-attr]
        logits = torch.cat((head(mixed), self.auxiliary["fused"](mixed)), dim=1)
        return mixed_cross_entropy(logits, labels, share=count / most)

    def extra_state(self) -> dict[str, Any]:
        """The additional class, and the generator of the blocks."""
        return {**super().extra_state(), "generator": self.generator.get_state()}

    def load_extra_state(self, state: Mapping[str, Any]) -> None:
        """Restore `extra_state`."""
        super().load_extra_state(state)
        self.generator.set_state(state["generator"])
