"""Agree-to-Disagree, alone and with synthesised outliers (MultiOOD, NeurIPS 2024, Section 4)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..config import bind_call
from ..config.ranges import Count, NotNegative
from ..errors import UserError
from ..losses import a2d_loss, get_discrepancy, outlier_discrepancy_loss, outlier_entropy_loss
from ..networks.fusion import MultimodalOutput
from ..registry import SYNTHESES, TRAINERS
from ..synthesis import EmbeddingBank
from .baseline import MultiHeadTrainer

MULTIOOD = {
    "title": "MultiOOD: Scaling Out-of-Distribution Detection for Multiple Modalities",
    "authors": "Hao Dong, Yue Zhao, Eleni Chatzi, Olga Fink",
    "venue": "NeurIPS",
    "year": "2024",
    "url": "https://arxiv.org/abs/2405.17419",
}


def a2d_term(params: Any, output: MultimodalOutput, labels: Tensor) -> Tensor:
    """Return γ L_Discr; ``params`` has the ``gamma``, ``discrepancy`` and ``protocol`` of `A2DTrainer.Params`."""
    heads = list(output.modality_logits.values())
    loss = a2d_loss(heads, labels, discrepancy=params.discrepancy, protocol=params.protocol)
    return params.gamma * loss


class WithA2D(MultiHeadTrainer):
    """L_cls, and `disagreement` for subclasses that add γ L_Discr to their own terms where a discrepancy is named."""

    @dataclass(frozen=True)
    class Params:
        """Keys of the ``trainer`` section.

        Attributes:
            discrepancy: a registered discrepancy, for the method with A2D; empty for the method alone.
            gamma: γ, the weight of the discrepancy.
            protocol: of the discrepancy, as A2D's.
        """

        discrepancy: str = ""
        gamma: NotNegative = 1.0
        protocol: str = "multiood-code"

    def __init__(self, net: Any, train_loader: Any, config: Mapping[str, Any]) -> None:
        super().__init__(net, train_loader, config)
        if self.params.discrepancy:
            get_discrepancy(
                self.params.discrepancy, self.params.protocol
            )  # a misspelt name, before the first step
            module = net.module if hasattr(net, "module") else net
            if len(module.modalities) < 2:
                raise UserError(
                    f"trainer.discrepancy is '{self.params.discrepancy}', which compares modalities, and the network "
                    f"has {len(module.modalities)}; leave it empty."
                )

    def disagreement(self, output: MultimodalOutput, labels: Tensor) -> dict[str, Tensor]:
        """Return γ L_Discr, or nothing without a discrepancy."""
        return {"discrepancy": a2d_term(self.params, output, labels)} if self.params.discrepancy else {}


@TRAINERS.register("a2d")
class A2DTrainer(MultiHeadTrainer):
    """L_cls + γ L_Discr (Eq. 5): modalities agree on the true class and disagree on the others."""

    @dataclass(frozen=True)
    class Params:
        """Keys of the ``trainer`` section.

        Attributes:
            protocol: ``multiood-code`` (what the published numbers were made with) or ``multiood-paper``.
            discrepancy: a registered discrepancy.
            gamma: γ, the weight of the discrepancy.
        """

        protocol: str = "multiood-code"
        discrepancy: str = "hellinger"
        gamma: NotNegative = 1.0

    method: ClassVar = MULTIOOD
    min_modalities: ClassVar[int] = 2

    def __init__(self, net: Any, train_loader: Any, config: Mapping[str, Any]) -> None:
        super().__init__(net, train_loader, config)
        get_discrepancy(
            self.params.discrepancy, self.params.protocol
        )  # a misspelt name, before the first step

    def compute_losses(self, output: MultimodalOutput, labels: Tensor, epoch_idx: int) -> dict[str, Tensor]:
        """L_cls and γ L_Discr."""
        terms = super().compute_losses(output, labels, epoch_idx)
        terms["discrepancy"] = a2d_term(self.params, output, labels)
        return terms


@TRAINERS.register("a2d_synthesis", "a2d_npmix")
class A2DSynthesisTrainer(A2DTrainer):
    """L_cls + γ (L_Discr + L_Discr_syn + L_Ent) (Eq. 9): A2D, and outliers; NP-Mix's unless another synthesis is named.

    The outliers come from a bank of detached embeddings, and only once it is full for every class and
    ``start_epoch`` is reached; they train the modality heads, not the encoders.
    """

    @dataclass(frozen=True)
    class Params(A2DTrainer.Params):
        """Keys of the ``trainer`` section.

        Attributes:
            gamma: γ, one weight for all three terms, as in Eq. 9.
            start_epoch: first epoch with outliers, counted from 1 (the authors' code: 10, counted from 0).
            bank_size: embeddings a class.
            synthesis: a registered synthesis; ``none`` for A2D alone.
            synthesis_args: its parameters; empty for its own defaults.
        """

        gamma: NotNegative = 0.5
        start_epoch: Count = 11
        bank_size: Count = 65
        synthesis: str = "npmix"
        synthesis_args: Mapping[str, Any] = field(default_factory=dict)

    needs_every_class = "the embedding bank never fills, and there would be no outliers"

    def __init__(self, net: Any, train_loader: Any, config: Mapping[str, Any]) -> None:
        super().__init__(net, train_loader, config)
        module = net.module if hasattr(net, "module") else net
        self.bank = EmbeddingBank(
            module.num_classes,
            module.feature_size,
            size=self.params.bank_size,
            device=self.device,
            widths=[stop - start for start, stop in module.slices.values()],
        )
        self.synthesis = bind_call(
            self.params.synthesis_args,
            SYNTHESES.get(self.params.synthesis),
            where="trainer.synthesis_args",
        )
        if hasattr(self.synthesis, "check"):
            self.synthesis.check(self.bank)  # what can't work, before the first step
        self.generator = torch.Generator().manual_seed(self.seed)
        self.first_synthesis_epoch: int | None = None
        """The epoch in which outliers were first used, or None: the bank may fill later than start_epoch."""

    def compute_losses(self, output: MultimodalOutput, labels: Tensor, epoch_idx: int) -> dict[str, Tensor]:
        """L_cls, γ L_Discr and, once there are outliers, γ L_Discr_syn and γ L_Ent."""
        terms = super().compute_losses(output, labels, epoch_idx)
        was_full = self.bank.full  # decided before this batch is pushed, as in the authors' code
        self.bank.push(output.features.detach(), labels)
        if was_full and epoch_idx >= self.params.start_epoch:
            if self.first_synthesis_epoch is None:
                self.first_synthesis_epoch = epoch_idx
            outliers = self.synthesis(self.bank, generator=self.generator).embeddings
            if not len(outliers):
                return terms
            net = self.net.module if hasattr(self.net, "module") else self.net
            heads = list(net.classify_modalities(net.split(outliers)).values())  # type: ignore[operator, union-attr]
            chosen = {"discrepancy": self.params.discrepancy, "protocol": self.params.protocol}
            terms["outlier_discrepancy"] = self.params.gamma * outlier_discrepancy_loss(heads, **chosen)
            terms["outlier_entropy"] = self.params.gamma * outlier_entropy_loss(
                heads, protocol=self.params.protocol
            )
        return terms

    def extra_state(self) -> dict[str, Any]:
        """The bank, the generator, and when outliers began."""
        return {
            "bank": self.bank.state_dict(),
            "generator": self.generator.get_state(),
            "first_synthesis_epoch": self.first_synthesis_epoch,
        }

    def load_extra_state(self, state: Mapping[str, Any]) -> None:
        """Restore `extra_state`."""
        self.bank.load_state_dict(state["bank"])
        self.generator.set_state(state["generator"])
        self.first_synthesis_epoch = state["first_synthesis_epoch"]


A2DNPMixTrainer = A2DSynthesisTrainer
"""Its name while NP-Mix was the only synthesis."""
