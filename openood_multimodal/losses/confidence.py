"""Losses of adaptive confidence refinement (ACR, CVPR 2026)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot, softmax

from ..errors import UserError
from .checks import check_labels, stack_logits


def adaptive_confidence_loss(fused_logits: Tensor, modality_logits: Sequence[Tensor]) -> Tensor:
    """Return by how much the modalities' confidences exceed the fused prediction's, as the authors' code has it.

    The mean over modalities and samples of ``max(0, conf_k − conf)``; a confidence is the largest softmax probability.

    Args:
        fused_logits: floating-point ``[B, C]``.
        modality_logits: M >= 1 tensors of that shape.

    Returns:
        Scalar in [0, 1), to be minimised.

    Raises:
        UserError: on shapes that don't fit, or without a modality.
    """
    fused, *modalities = softmax(stack_logits([fused_logits, *modality_logits], at_least=1), dim=-1).amax(-1)
    if not modalities:
        raise UserError("modality_logits is empty; pass the logits of at least one modality's head.")
    return (torch.stack(modalities) - fused).clamp_min(0).mean()


def mixed_cross_entropy(logits: Tensor, labels: Tensor, share: float) -> Tensor:
    """Return the cross-entropy with a target that moves from the label to the last class (ACR).

    Args:
        logits: ``[B, C + 1]``; the last class is that of mixed embeddings.
        labels: integer ``[B]`` in ``[0, C)``.
        share: of the last class in the target, in [0, 1]; the label has the rest.

    Returns:
        Scalar, mean over the batch.

    Raises:
        UserError: on labels that don't fit, or a share outside [0, 1].
    """
    classes = logits.shape[1] - 1
    check_labels(labels, len(logits), classes)
    if not 0 <= share <= 1:
        raise UserError(f"share must be in [0, 1], got {share}.")
    target = (1 - share) * one_hot(labels, classes + 1).to(logits.dtype)
    target[:, -1] += share
    return cross_entropy(logits, target)
