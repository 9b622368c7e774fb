"""Losses of dynamic prototype updating (DPU; CVPR 2025, arXiv 2411.08227), in the form of the authors' code."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize, one_hot

from .checks import check_labels, stack_embeddings


def invariant_contrastive_losses(
    embeddings: Sequence[Tensor], labels: Tensor, temperature: float = 0.05, margin: float = math.pi / 18
) -> tuple[Tensor, Tensor]:
    """Return the contrastive loss with an angular margin, and the variance of its probabilities.

    For samples i and j of a modality, z_ij is the cosine of the angle between their embeddings over the temperature;
    where they are of one class (i = j, too), the margin is added to the angle.  p_ij is the softmax over i.

    The first loss is the mean over i of Σ_j −ln p_ij over the samples of i's class, the second the mean over i of the
    variance of these p_ij; both are averaged over modalities.

    Args:
        embeddings: M >= 1 floating-point tensors ``[B, D_k]``; widths may differ.
        labels: integer ``[B]``.
        temperature: > 0.
        margin: in radians.

    Returns:
        Two scalars >= 0, to be minimised.

    Raises:
        UserError: on shapes that don't fit.
    """
    check_labels(labels, len(embeddings[0]))
    positive = labels.unsqueeze(0) == labels.unsqueeze(1)
    count = positive.sum(1)
    contrasts, variances = [], []
    for each in embeddings:
        unit = normalize(stack_embeddings([each], at_least=1)[0], dim=1)
        angles = (unit @ unit.T).clamp(-1 + 1e-7, 1 - 1e-7).arccos()
        log_p = ((angles + margin * positive).cos() / temperature).log_softmax(dim=0)
        contrasts.append(-(log_p * positive).sum(1).mean())
        p = log_p.exp() * positive
        mean = p.sum(1, keepdim=True) / count.unsqueeze(1)
        variances.append((((p - mean) * positive).square().sum(1) / count).mean())
    return torch.stack(contrasts).mean(), torch.stack(variances).mean()


def prototype_loss(embeddings: Tensor, prototypes: Tensor, labels: Tensor) -> Tensor:
    """Return the mean of −ln cos between embeddings ``[B, D]`` and their classes' prototypes ``[C, D]``.

    A cosine below 1e-6 counts as that; the authors' code has no floor there, and no finite loss.

    Raises:
        UserError: on labels that don't fit.
    """
    check_labels(labels, len(embeddings), len(prototypes))
    return -cosine_similarity(embeddings, prototypes[labels], dim=1).clamp_min(1e-6).log().mean()


@torch.no_grad()
def updated_prototypes(
    prototypes: Tensor, embeddings: Tensor, labels: Tensor, momentum: float = 0.8
) -> Tensor:
    """Return prototypes moved by a batch: ``β P_c + (1 − β) s_c (Z̄_c − P_c)`` for the classes in it.

    Z̄_c is the mean of the n_c embeddings of class c, and s_c, for each channel, ``1 / (variance + 1e-6)`` within 0.01
    and 0.5, over n_c: the more the embeddings of a class vary, the less its prototype moves.

    Args:
        prototypes: ``[C, D]``; unchanged.
        embeddings: ``[B, D]``.
        labels: integer ``[B]`` in ``[0, C)``.
        momentum: β.

    Raises:
        UserError: on labels that don't fit.
    """
    check_labels(labels, len(embeddings), len(prototypes))
    members = one_hot(labels, len(prototypes)).T.to(prototypes.dtype)  # [C, B]
    values, count = embeddings.to(prototypes.dtype), members.sum(1, keepdim=True)
    mean = members @ values / count.clamp_min(1)
    variance = members @ (values - mean[labels]).square() / count.clamp_min(1)
    speed = (1 / (variance + 1e-6)).clamp(0.01, 0.5) / count.clamp_min(1)
    moved = momentum * prototypes + (1 - momentum) * (mean - prototypes) * speed
    return torch.where(count > 0, moved, prototypes)
