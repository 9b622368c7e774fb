"""OpenOOD's trainers on networks of several inputs, and ours on several processes.

Our trainers call ``forward_modalities``, past DistributedDataParallel's own ``forward``, which would not notice: so
`keep_in_step` averages gradients before each step of the optimiser.  An outlier bank stays each process's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.functional import dropout, one_hot

from ..errors import UserError
from ..registry import NETWORKS, TRAINERS
from .batches import ArithmeticBatch, ConvertedLoader

TRAINING = ("train", "finetune", "multimodal_train")
"""Pipelines that augment the training split start with one of these."""

RUNS: Mapping[str, str] = {
    "base": "",
    "logitnorm": "",
    "ish": "",
    "mixup": "mixes every modality of two samples with the same weight",
    "regmixup": "mixes every modality of two samples with the same weight",
    "dropout": "dropout on the concatenated embedding",
}
"""OpenOOD's trainer → what is particular about it here."""

_ANOMALY = "it trains image anomaly detection, with its own networks and pipeline"
_HEAD = "it trains a network with a head of its own"
_CROPS = "it makes its training samples from image pixels [B, C, H, W]"
_OUTLIERS = "it asks for a set of outliers to train with, which these benchmarks don't have"
UNSUITABLE: Mapping[str, str] = {
    "arpl": f"{_HEAD} (reciprocal points)",
    "arpl_gan": f"{_HEAD} (reciprocal points), and an image generator",
    "ascood": _CROPS,
    "augmix": "it asks for three augmented versions of one image",
    "cider": f"{_HEAD} (a projection), on two augmented views of an image",
    "conf_branch": f"{_HEAD} (a confidence branch)",
    "csi": f"{_CROPS}, rotated",
    "cutmix": f"{_CROPS}, pasted into each other",
    "cutpaste": _ANOMALY,
    "dcae": _ANOMALY,
    "draem": _ANOMALY,
    "dsvdd": _ANOMALY,
    "godin": f"{_HEAD} (G-ODIN's dividing head)",
    "kdad": _ANOMALY,
    "mcd": _OUTLIERS,
    "mixoe": _OUTLIERS,
    "mos": "it asks for groups of classes",
    "npos": f"{_HEAD} (a projection), on two augmented views of an image",
    "oe": _OUTLIERS,
    "opengan": "it trains a discriminator on features that OpenOOD's own extraction wrote",
    "palm": f"{_HEAD} (a projection), on two augmented views of an image",
    "rd4ad": _ANOMALY,
    "reweightood": f"{_HEAD} (a projection), on two augmented views of an image",
    "rotpred": f"{_CROPS}, rotated",
    "rts": f"{_HEAD} (a variance)",
    "sae": "it fits Gaussian mixtures to the feature maps of convolutional blocks",
    "t2fnorm": f"{_HEAD} (on normalised features: T2FNormNet)",
    "udg": _OUTLIERS,
    "vos": "it spells CUDA out, and asks for keys that no multimodal config has (sample_number, feature_dim)",
}
"""OpenOOD's trainer → why it can't train a network of several inputs."""
PIPELINES: Mapping[str, str] = {
    "feat_extract_opengan": "it extracts features for OpenGAN; openood-mm's multimodal_extract keeps embeddings",
    "train_ad": _ANOMALY,
    "train_arplgan": UNSUITABLE["arpl_gan"],
    "train_oe": _OUTLIERS,
    "train_opengan": UNSUITABLE["opengan"],
}
"""OpenOOD's pipeline → why it can't train, whatever the trainer."""
EVALUATORS: Mapping[str, str] = {
    "ad": _ANOMALY,
    "arpl": f"{_HEAD} (reciprocal points)",
    "ece": "it uses numpy.float, which NumPy 1.24 removed",
    "mos": "it asks for groups of classes",
    "patch": _ANOMALY,
}
"""OpenOOD's evaluator → why it can't measure the accuracy of a network of several inputs."""


def check_suitable(network: str, pipeline: str, trainer: str, evaluator: str) -> None:
    """Refuse a training of OpenOOD's that can't train a network of ours; another network passes.

    Args:
        network: the config's ``network.name``; ``"None"`` where it has none, as for the others.
        pipeline: ``pipeline.name``.
        trainer: ``trainer.name``.
        evaluator: ``evaluator.name``.

    Raises:
        UserError: with the reason and what can be used instead.
    """
    trains = pipeline in PIPELINES or (
        pipeline.startswith(TRAINING) and not pipeline.startswith("multimodal_")
    )
    if network not in NETWORKS or not trains:
        return
    what, reason = f"trainer '{trainer}'", UNSUITABLE.get(trainer, "") if trainer not in TRAINERS else ""
    if not reason:
        what, reason = f"pipeline '{pipeline}'", PIPELINES.get(pipeline, "")
    if reason:
        raise UserError(
            f"OpenOOD's {what} can't train the network '{network}': {reason}. Those that can: "
            f"{', '.join(RUNS)}; and this package's own (openood-mm list trainers)."
        )
    if evaluator in EVALUATORS:
        raise UserError(
            f"OpenOOD's evaluator '{evaluator}' can't evaluate the network '{network}' in a training: "
            f"{EVALUATORS[evaluator]}. Set --evaluator.name base."
        )


def make_ready(trainer: Any, name: str, net: nn.Module, num_classes: int) -> None:
    """Let one of OpenOOD's trainers train a network of ours; changes the trainer, not the network's weights.

    Args:
        trainer: OpenOOD's, just made.
        name: OpenOOD's name for it.
        net: the network.
        num_classes: C.
    """
    if name in ("mixup", "regmixup"):
        trainer.train_loader = _SoftLabels(trainer.train_loader, ArithmeticBatch.of, num_classes)
    if name == "dropout":

        def forward_with_dropout(data: Any, p: float) -> Tensor:
            _, features = net(data, return_feature=True)
            logits: Tensor = net.fc(dropout(features, p, training=True))  # type: ignore[operator]
            return logits

        net.forward_with_dropout = forward_with_dropout  # type: ignore[assignment]


class _SoftLabels(ConvertedLoader):
    """Adds ``"soft_label"`` ``[B, C]``, which OpenOOD's image datasets have."""

    def __init__(self, loader: Any, convert: Any, num_classes: int) -> None:
        super().__init__(loader, convert, self._add)
        self.num_classes = num_classes

    def _add(self, batch: dict[str, Any]) -> None:
        batch["soft_label"] = one_hot(batch["label"], self.num_classes).to(torch.float32)


def is_first_process() -> bool:
    """Whether this process writes files: the first of its group, or the only one."""
    return not (dist.is_available() and dist.is_initialized()) or dist.get_rank() == 0


def keep_in_step(net: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Start all processes from the first one's weights, and average gradients from now on.

    Does nothing outside a process group of several.
    """
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return
    for tensor in (*net.parameters(), *net.buffers()):
        dist.broadcast(tensor.data, src=0)
    parameters = [p for group in optimizer.param_groups for p in group["params"] if p.requires_grad]

    def average(*_: Any) -> None:
        # one that no process has a gradient of stays without, as with a single process
        present = torch.tensor([p.grad is not None for p in parameters], dtype=torch.int64)
        present = present.to(parameters[0].device)
        dist.all_reduce(present, op=dist.ReduceOp.MAX)
        for parameter, anywhere in zip(parameters, present.tolist(), strict=True):
            if anywhere:
                gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
                dist.all_reduce(gradient)
                parameter.grad = gradient.div_(dist.get_world_size())

    optimizer.register_step_pre_hook(average)
