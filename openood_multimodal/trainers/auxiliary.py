"""Trainers that are shown auxiliary outliers: outlier exposure, energy margins, MixOE, DOS.

Each was published for one modality.  Here its loss is the mean over the fusion head and the modality heads, as L_cls is
(MultiOOD, Eq. 11).  With a discrepancy named, A2D's terms are added for both kinds of samples: Eq. 2 for those of known
classes, and Eq. 7, with auxiliary outliers in place of synthesised ones.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import softmax

from .. import ranks
from ..config.ranges import Count, Finite, NotNegative, Positive
from ..datasets.auxiliary import AuxiliaryOutliers
from ..datasets.batch import ModalityBatch
from ..errors import UserError
from ..losses import (
    absent_class_loss,
    energy_margin_loss,
    mixed_outlier_loss,
    outlier_discrepancy_loss,
    outlier_exposure_loss,
)
from ..networks.fusion import MultimodalOutput
from ..registry import TRAINERS
from ..synthesis.diverse import diverse_outliers
from ..synthesis.drawing import numpy_generator
from .a2d import WithA2D
from .extra_class import extra_class, with_extra_class


class AuxiliaryTrainer(WithA2D):
    """L_cls + w L_aux, and γ (L_Discr + L_Discr_aux) where a discrepancy is named.

    The outliers are ``train_loader.auxiliary``, a `datasets.auxiliary.AuxiliaryOutliers`; hosts make it of the config's
    section ``dataset.auxiliary``.  A subclass gives `auxiliary_loss`.
    """

    @dataclass(frozen=True)
    class Params(WithA2D.Params):
        """Keys of the ``trainer`` section.

        Attributes:
            weight: w, of the outliers' loss.
        """

        weight: NotNegative = 1.0

    needs_auxiliary: ClassVar[bool] = True
    outliers_disagree: ClassVar[bool] = True
    """Whether modalities shall disagree on what `auxiliary_loss` is given as outliers."""

    def __init__(self, net: Any, train_loader: Any, config: Mapping[str, Any]) -> None:
        super().__init__(net, train_loader, config)
        outliers = getattr(train_loader, "auxiliary", None)
        if not isinstance(outliers, AuxiliaryOutliers):
            raise UserError(
                f"the trainer '{TRAINERS.name_of(type(self))}' needs auxiliary outliers: set train_loader.auxiliary to "
                "those that datasets.auxiliary.build_auxiliary(config) returns."
            )
        self.outliers = outliers
        self.taken = 0
        self._batches: Iterator[dict[str, Any]] = iter(())
        self.generator = torch.Generator().manual_seed(self.seed)

    @abstractmethod
    def auxiliary_loss(self, known: MultimodalOutput, unknown: MultimodalOutput, labels: Tensor) -> Tensor:
        """Return L_aux, a scalar, unweighted, of the outputs on a training batch and on outliers."""

    def train_epoch(self, epoch_idx: int) -> tuple[nn.Module, dict[str, float]]:
        """As `MultimodalTrainer.train_epoch`; outliers go on where the last epoch took the last ones."""
        self._batches = self.outliers.batches(self.taken, epoch_idx)
        return super().train_epoch(epoch_idx)

    def batch_losses(self, data: Any, labels: Tensor, epoch_idx: int) -> dict[str, Tensor]:
        """L_cls, w L_aux and, with A2D, γ L_Discr and γ L_Discr_aux, in one forward pass of both kinds of samples."""
        outliers = self.choose(self.next_outliers())
        both = self._forward(data.map_with(outliers, lambda a, b: torch.cat((a, b))))
        known, unknown = (_part(both, rows) for rows in _places(len(data), len(outliers)))
        return self.losses_of(known, unknown, labels, epoch_idx)

    def losses_of(
        self, known: MultimodalOutput, unknown: MultimodalOutput, labels: Tensor, epoch_idx: int
    ) -> dict[str, Tensor]:
        """Return the weighted terms from the outputs on a training batch and on outliers."""
        terms = self.compute_losses(known, labels, epoch_idx)
        terms["auxiliary"] = self.params.weight * self.auxiliary_loss(known, unknown, labels)
        if self.params.discrepancy and self.outliers_disagree:
            chosen = {"discrepancy": self.params.discrepancy, "protocol": self.params.protocol}
            loss = outlier_discrepancy_loss(list(unknown.modality_logits.values()), **chosen)
            terms["outlier_discrepancy"] = self.params.gamma * loss
        return terms

    def compute_losses(self, output: MultimodalOutput, labels: Tensor, epoch_idx: int) -> dict[str, Tensor]:
        """L_cls and, with A2D, γ L_Discr, of known samples."""
        return {**super().compute_losses(output, labels, epoch_idx), **self.disagreement(output, labels)}

    def next_outliers(self) -> ModalityBatch:
        """Return the next batch of outliers, on the device."""
        for batch in self._batches:
            self.taken += 1
            if any(ranks.gather_counts(len(batch["label"]))):
                data: ModalityBatch = batch["data"].to(self.device, non_blocking=True)
                return data
        raise UserError("dataset.auxiliary gave no outlier; train_epoch was not called, or none can be read.")

    def choose(self, outliers: ModalityBatch) -> ModalityBatch:
        """Return those of a batch of outliers that are trained on: all."""
        return outliers

    def extra_state(self) -> dict[str, Any]:
        """How many batches of outliers were taken, and the generator."""
        return {"taken": self.taken, "generator": self.generator.get_state()}

    def load_extra_state(self, state: Mapping[str, Any]) -> None:
        """Restore `extra_state`."""
        self.taken = int(state["taken"])
        self.generator.set_state(state["generator"])


def _places(first: int, others: int) -> tuple[Any, Any]:
    """Return where an output has the first samples of every rank's batch, and the others; given this rank's numbers."""
    if ranks.world() == 1:
        return slice(first), slice(first, None)
    counts = zip(ranks.gather_counts(first), ranks.gather_counts(others), strict=True)
    are_first = torch.cat([torch.arange(known + unknown) < known for known, unknown in counts])
    return are_first, ~are_first


def _part(output: MultimodalOutput, rows: Any) -> MultimodalOutput:
    return MultimodalOutput(
        output.logits[rows],
        output.features[rows],
        {name: each[rows] for name, each in output.embeddings.items()},
        {name: each[rows] for name, each in output.modality_logits.items()},
    )


def _over_heads(loss: Callable[..., Tensor], *outputs: MultimodalOutput) -> Tensor:
    """Return the mean of a loss over the fusion head and the modality heads."""
    heads = zip(*([each.logits, *each.modality_logits.values()] for each in outputs), strict=True)
    return torch.stack([loss(*each) for each in heads]).mean()


@TRAINERS.register("outlier_exposure")
class OutlierExposureTrainer(AuxiliaryTrainer):
    """Outlier exposure: predictions of outliers are made uniform."""

    @dataclass(frozen=True)
    class Params(AuxiliaryTrainer.Params):
        """Keys of the ``trainer`` section: `AuxiliaryTrainer.Params`; w is the authors' 0.5."""

        weight: NotNegative = 0.5

    method: ClassVar = {
        "title": "Deep Anomaly Detection with Outlier Exposure",
        "authors": "Dan Hendrycks, Mantas Mazeika, Thomas Dietterich",
        "venue": "ICLR",
        "year": "2019",
        "url": "https://arxiv.org/abs/1812.04606",
    }

    def auxiliary_loss(self, known: MultimodalOutput, unknown: MultimodalOutput, labels: Tensor) -> Tensor:
        """The cross-entropy from uniform to the outliers' predictions."""
        return _over_heads(outlier_exposure_loss, unknown)


@TRAINERS.register("energy_margin")
class EnergyMarginTrainer(AuxiliaryTrainer):
    """Energy margins: energies of known samples below one margin, those of outliers above another."""

    @dataclass(frozen=True)
    class Params(AuxiliaryTrainer.Params):
        """Keys of the ``trainer`` section.

        Attributes:
            margin_in: m_in.
            margin_out: m_out >= m_in.  The defaults, and w, are those of the authors' code, for CIFAR.
        """

        weight: NotNegative = 0.1
        margin_in: Finite = -25.0
        margin_out: Finite = -7.0

        def __post_init__(self) -> None:
            if self.margin_in > self.margin_out:
                raise UserError(
                    f"trainer.margin_in is {self.margin_in} and margin_out {self.margin_out}; they must be in this "
                    "order."
                )

    method: ClassVar = {
        "title": "Energy-based Out-of-distribution Detection",
        "authors": "Weitang Liu, Xiaoyun Wang, John D. Owens, Yixuan Li",
        "venue": "NeurIPS",
        "year": "2020",
        "url": "https://arxiv.org/abs/2010.03759",
    }

    def auxiliary_loss(self, known: MultimodalOutput, unknown: MultimodalOutput, labels: Tensor) -> Tensor:
        """By how much the energies miss their margins."""
        margins = self.params.margin_in, self.params.margin_out
        return _over_heads(lambda a, b: energy_margin_loss(a, b, *margins), known, unknown)


@TRAINERS.register("multimodal_mixoe")
class MixOETrainer(AuxiliaryTrainer):
    """MixOE: confidence falls linearly from known samples to outliers.

    The inputs of every modality are mixed with one λ ~ Beta(α, α) a step, in a forward pass of their own, as in the
    authors' code with ``--mix-op mixup``.  Where a batch has fewer outliers than samples, the first samples are mixed.
    Each of several ranks mixes its own; the pairs are those of one process where both batch sizes are equal.
    """

    @dataclass(frozen=True)
    class Params(AuxiliaryTrainer.Params):
        """Keys of the ``trainer`` section.

        Attributes:
            alpha: α.
        """

        alpha: Positive = 1.0

    method: ClassVar = {
        "title": "Mixture Outlier Exposure: Towards Out-of-Distribution Detection in Fine-grained Environments",
        "authors": "Jingyang Zhang, Nathan Inkawhich, Randolph Linderman, Yiran Chen, Hai Li",
        "venue": "WACV",
        "year": "2023",
        "url": "https://arxiv.org/abs/2106.03917",
    }

    outliers_disagree: ClassVar = False  # a mix is as much a known sample as an outlier
    share = 1.0
    """λ of the last step."""
    mixed: Any = slice(None)
    """Which samples of the last step were mixed."""

    def batch_losses(self, data: Any, labels: Tensor, epoch_idx: int) -> dict[str, Tensor]:
        """L_cls of the samples, and w L_aux of their mixes with outliers."""
        outliers = self.next_outliers()
        self.share = share = float(numpy_generator(self.generator).beta(self.params.alpha, self.params.alpha))
        pairs = min(len(data), len(outliers))
        self.mixed, _ = _places(pairs, len(data) - pairs)
        mixed = data.map_with(outliers, lambda a, b: share * a[:pairs] + (1 - share) * b[:pairs])
        return self.losses_of(self._forward(data), self._forward(mixed), labels, epoch_idx)

    def auxiliary_loss(self, known: MultimodalOutput, unknown: MultimodalOutput, labels: Tensor) -> Tensor:
        """The cross-entropy of mixes to λ y + (1 − λ) / C."""
        of_mixed = labels[self.mixed]
        return _over_heads(lambda logits: mixed_outlier_loss(logits, of_mixed, self.share), unknown)


@TRAINERS.register("dos")
class DOSTrainer(AuxiliaryTrainer):
    """DOS: diverse and hard outliers of each batch of candidates, in a class of their own.

    In training every head has one more class, the absent one; its weights are the trainer's, as ACR's.  The authors
    score with the absent class's probability; scores here see the C known classes.
    """

    @dataclass(frozen=True)
    class Params(AuxiliaryTrainer.Params):
        """Keys of the ``trainer`` section.

        Attributes:
            num_outliers: outliers chosen of each batch of candidates (``dataset.auxiliary.batch_size``), all where it
                has no more.  The authors choose 64 of 384.
        """

        num_outliers: Count = 64

    method: ClassVar = {
        "title": "DOS: Diverse Outlier Sampling for Out-of-Distribution Detection",
        "authors": "Wenyu Jiang, Hao Cheng, Mingcai Chen, Chongjun Wang, Hongxin Wei",
        "venue": "ICLR",
        "year": "2024",
        "url": "https://arxiv.org/abs/2306.02031",
    }

    def __init__(self, net: Any, train_loader: Any, config: Mapping[str, Any]) -> None:
        super().__init__(net, train_loader, config)
        self.absent = self.learn_beside(extra_class)

    def choose(self, outliers: ModalityBatch) -> ModalityBatch:
        """Return the hardest outlier of each cluster."""
        count = min(self.params.num_outliers, sum(ranks.gather_counts(len(outliers))))
        self.net.eval()
        with torch.no_grad():
            output = self._forward(outliers)
        self.net.train()
        absent = softmax(self.wider(output).logits, dim=1)[:, -1]
        rows = diverse_outliers(output.features, absent, count, self.generator)
        if ranks.world() > 1:  # those of this rank, as rank 0 has chosen them
            start = sum(ranks.gather_counts(len(outliers))[: ranks.rank()])
            chosen = torch.tensor(ranks.gather(rows.tolist())[0], device=rows.device) - start
            rows = chosen[(chosen >= 0) & (chosen < len(outliers))]
        return outliers.map(lambda each: each[rows])

    def wider(self, output: MultimodalOutput) -> MultimodalOutput:
        """Return an output with logits over C + 1 classes."""
        return with_extra_class(self.absent, output)

    def losses_of(
        self, known: MultimodalOutput, unknown: MultimodalOutput, labels: Tensor, epoch_idx: int
    ) -> dict[str, Tensor]:
        """As `AuxiliaryTrainer.losses_of`, over C + 1 classes."""
        return super().losses_of(self.wider(known), self.wider(unknown), labels, epoch_idx)

    def auxiliary_loss(self, known: MultimodalOutput, unknown: MultimodalOutput, labels: Tensor) -> Tensor:
        """The cross-entropy of outliers to the absent class."""
        return _over_heads(absent_class_loss, unknown)

    def extra_state(self) -> dict[str, Any]:
        """And the absent class's weights."""
        return {**super().extra_state(), "absent": dict(self.absent.state_dict())}

    def load_extra_state(self, state: Mapping[str, Any]) -> None:
        """Restore `extra_state`."""
        super().load_extra_state(state)
        self.absent.load_state_dict(state["absent"])
