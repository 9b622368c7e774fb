"""Trainers of other multimodal tasks, which MultiOOD compares A2D with (Table 10).

Each adds one weighted term to the classification loss of all heads, and A2D's discrepancy where one is named.  What a
task learns beside the network (projections, translators) belongs to the trainer: the optimiser trains it, the state
holds it, and the checkpoint, which scores read, doesn't.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import permutations
from typing import Any, ClassVar

from torch import Tensor, nn

from ..config.ranges import Count, NotNegative, Positive
from ..losses import (
    cross_modal_distillation_loss,
    cross_modal_translation_loss,
    relative_norm_alignment_loss,
    supervised_contrastive_loss,
)
from ..networks.fusion import MultimodalOutput
from ..registry import TRAINERS
from .a2d import WithA2D


class MultimodalTaskTrainer(WithA2D):
    """L_cls + w L_task, and γ L_Discr where a discrepancy is named.

    A subclass gives `task_loss`, and where it learns something of its own `build_auxiliary`.
    """

    @dataclass(frozen=True)
    class Params(WithA2D.Params):
        """Keys of the ``trainer`` section.

        Attributes:
            weight: w, of the task's loss.
        """

        weight: NotNegative = 1.0

    min_modalities: ClassVar[int] = 2

    def __init__(self, net: Any, train_loader: Any, config: Mapping[str, Any]) -> None:
        super().__init__(net, train_loader, config)
        self.auxiliary = self.learn_beside(self.build_auxiliary)

    @abstractmethod
    def task_loss(self, output: MultimodalOutput, labels: Tensor) -> Tensor:
        """Return the task's loss, a scalar, unweighted."""

    def build_auxiliary(self, widths: Mapping[str, int]) -> nn.ModuleDict:
        """Return what the task learns beside the network.

        Args:
            widths: modality → width of its embedding.
        """
        return nn.ModuleDict()

    def compute_losses(self, output: MultimodalOutput, labels: Tensor, epoch_idx: int) -> dict[str, Tensor]:
        """L_cls, w L_task and, with A2D, γ L_Discr."""
        terms = super().compute_losses(output, labels, epoch_idx)
        terms["task"] = self.params.weight * self.task_loss(output, labels)
        return {**terms, **self.disagreement(output, labels)}

    def extra_state(self) -> dict[str, Any]:
        """What the task learns beside the network."""
        return {"auxiliary": dict(self.auxiliary.state_dict())}

    def load_extra_state(self, state: Mapping[str, Any]) -> None:
        """Restore `extra_state`."""
        self.auxiliary.load_state_dict(state["auxiliary"])


@TRAINERS.register("multimodal_contrastive")
class ContrastiveTrainer(MultimodalTaskTrainer):
    """Supervised contrastive loss between the projected embeddings of all modalities."""

    @dataclass(frozen=True)
    class Params(MultimodalTaskTrainer.Params):
        """Keys of the ``trainer`` section.

        Attributes:
            temperature: of the contrast.
            hidden_dim: width of the hidden layer of each modality's projection.
            projection_dim: width of the projections.
        """

        temperature: Positive = 0.1
        hidden_dim: Count = 2048
        projection_dim: Count = 128

    method: ClassVar = {
        "title": "Supervised Contrastive Learning",
        "authors": "Prannay Khosla, Piotr Teterwak, Chen Wang, Aaron Sarna, Yonglong Tian, Phillip Isola, "
        "Aaron Maschinot, Ce Liu, Dilip Krishnan",
        "venue": "NeurIPS",
        "year": "2020",
        "url": "https://arxiv.org/abs/2004.11362",
    }

    def build_auxiliary(self, widths: Mapping[str, int]) -> nn.ModuleDict:
        """A projection of two layers a modality."""
        hidden, out = self.params.hidden_dim, self.params.projection_dim
        return nn.ModuleDict({name: _two_layers(width, hidden, out) for name, width in widths.items()})

    def task_loss(self, output: MultimodalOutput, labels: Tensor) -> Tensor:
        """The contrast of the projections."""
        projected = [self.auxiliary[name](each) for name, each in output.embeddings.items()]
        return supervised_contrastive_loss(projected, labels, temperature=self.params.temperature)


@TRAINERS.register("multimodal_rna")
class RelativeNormAlignmentTrainer(MultimodalTaskTrainer):
    """Relative norm alignment: embeddings of all modalities get the same mean norm."""

    method: ClassVar = {
        "title": "Domain Generalization through Audio-Visual Relative Norm Alignment "
        "in First Person Action Recognition",
        "authors": "Mirco Planamente, Chiara Plizzari, Emanuele Alberti, Barbara Caputo",
        "venue": "WACV",
        "year": "2022",
        "url": "https://arxiv.org/abs/2110.10101",
    }

    def task_loss(self, output: MultimodalOutput, labels: Tensor) -> Tensor:
        """The alignment of the mean norms."""
        return relative_norm_alignment_loss(list(output.embeddings.values()))


@TRAINERS.register("cross_modal_distillation")
class DistillationTrainer(MultimodalTaskTrainer):
    """Cross-modal distillation: each modality's head learns from the predictions of the others'."""

    @dataclass(frozen=True)
    class Params(MultimodalTaskTrainer.Params):
        """Keys of the ``trainer`` section.

        Attributes:
            temperature: of the predictions.
        """

        temperature: Positive = 2.0

    method: ClassVar = {
        "title": "Cross Modal Distillation for Supervision Transfer",
        "authors": "Saurabh Gupta, Judy Hoffman, Jitendra Malik",
        "venue": "CVPR",
        "year": "2016",
        "url": "https://arxiv.org/abs/1507.00448",
    }

    def task_loss(self, output: MultimodalOutput, labels: Tensor) -> Tensor:
        """The divergence of students from teachers."""
        heads = list(output.modality_logits.values())
        return cross_modal_distillation_loss(heads, temperature=self.params.temperature)


@TRAINERS.register("cross_modal_translation")
class TranslationTrainer(MultimodalTaskTrainer):
    """Cross-modal translation: each modality's embedding is predicted from each other one's."""

    @dataclass(frozen=True)
    class Params(MultimodalTaskTrainer.Params):
        """Keys of the ``trainer`` section.

        Attributes:
            hidden_dim: width of the hidden layer of each translator.
        """

        weight: NotNegative = 0.1
        hidden_dim: Count = 2048

    method: ClassVar = {
        "title": "SimMMDG: A Simple and Effective Framework for Multi-modal Domain Generalization",
        "authors": "Hao Dong, Ismail Nejjar, Han Sun, Eleni Chatzi, Olga Fink",
        "venue": "NeurIPS",
        "year": "2023",
        "url": "https://arxiv.org/abs/2310.19795",
    }

    def build_auxiliary(self, widths: Mapping[str, int]) -> nn.ModuleDict:
        """A translator of two layers from each modality to each other one."""
        hidden = self.params.hidden_dim
        pairs = permutations(widths, 2)
        return nn.ModuleDict({f"{a} to {b}": _two_layers(widths[a], hidden, widths[b]) for a, b in pairs})

    def task_loss(self, output: MultimodalOutput, labels: Tensor) -> Tensor:
        """The distance of translations to what they translate to."""
        pairs = list(permutations(output.embeddings, 2))
        translated = [self.auxiliary[f"{a} to {b}"](output.embeddings[a]) for a, b in pairs]
        return cross_modal_translation_loss(translated, [output.embeddings[b] for _, b in pairs])


def _two_layers(width: int, hidden: int, out: int) -> nn.Module:
    return nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, out))
