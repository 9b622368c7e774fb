"""Decoupled knowledge distillation of a fused prediction from unimodal ones, as SMOD trains its fusion head."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from .checks import check_labels, stack_logits


def weighted_teacher(modality_logits: Sequence[Tensor], labels: Tensor) -> Tensor:
    """Return the mean of modalities' logits, each weighted by exp(−its cross-entropy on the batch): ``[B, C]``.

    Without gradient, in the form of SMOD's code.

    Args:
        modality_logits: M >= 1 floating-point tensors ``[B, C]``.
        labels: integer ``[B]``.

    Raises:
        UserError: on shapes or labels that don't fit.
    """
    logits = stack_logits(modality_logits, at_least=1).detach()
    check_labels(labels, logits.shape[1], logits.shape[2])
    weights = torch.softmax(-torch.stack([cross_entropy(each, labels) for each in logits]), dim=0)
    return (weights[:, None, None] * logits).sum(0)


def decoupled_distillation_loss(
    student: Tensor,
    teacher: Tensor,
    labels: Tensor,
    target_weight: float = 0.2,
    other_weight: float = 0.8,
    temperature: float = 1.0,
) -> Tensor:
    """Return how far a student's prediction is from a teacher's, the true class and the others apart (CVPR 2022).

    α T² KL of (true class, all others) + β T² KL among the other classes, renormalised; batch means, from the teacher
    to the student.  No gradient reaches the teacher.  α = 0.2, β = 0.8 and T = 1 are SMOD's.

    Args:
        student: floating-point ``[B, C]`` logits.
        teacher: ``[B, C]``.
        labels: integer ``[B]`` in [0, C).
        target_weight: α.
        other_weight: β.  For C = 2 there is one other class, and its term is 0.
        temperature: T > 0.

    Raises:
        UserError: on shapes or labels that don't fit.
    """
    both = stack_logits([student, teacher.detach()], at_least=2) / temperature
    check_labels(labels, both.shape[1], both.shape[2])
    log_p = both.log_softmax(-1)  # [2, B, C]
    own = one_hot(labels, both.shape[2]).bool()
    true = log_p[:, own]  # [2, B]
    others = log_p[:, ~own].view(2, len(labels), -1)
    rest = others.logsumexp(-1)
    binary = _divergence(torch.stack((true, rest), dim=-1))
    among = _divergence(others - rest.unsqueeze(-1))
    return temperature**2 * (target_weight * binary + other_weight * among)


def _divergence(log_p: Tensor) -> Tensor:
    student, teacher = log_p[0], log_p[1]
    return (teacher.exp() * (teacher - student)).sum(-1).mean()
