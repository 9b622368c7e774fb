"""Losses of auxiliary outliers: outlier exposure, energy margins, mixed outliers, an absent class."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from ..errors import UserError
from .checks import check_labels, stack_logits


def outlier_exposure_loss(logits: Tensor) -> Tensor:
    """Return the cross-entropy from the uniform distribution to predictions (Hendrycks et al., ICLR 2019).

    Args:
        logits: floating-point ``[B, C]`` of outliers.

    Returns:
        Scalar >= ln C, mean over the batch: ln C where every prediction is uniform.

    Raises:
        UserError: on another shape.
    """
    (checked,) = stack_logits([logits], at_least=1)
    return (torch.logsumexp(checked, dim=1) - checked.mean(1)).mean()


def energy_margin_loss(
    known_logits: Tensor, outlier_logits: Tensor, margin_in: float = -25.0, margin_out: float = -7.0
) -> Tensor:
    """Return by how much energies miss their margins, squared (Liu et al., NeurIPS 2020, Eq. 9).

    The energy is E = −ln Σ exp(logits).  The loss is the mean of max(0, E − m_in)² over in-distribution samples, plus
    the mean of max(0, m_out − E)² over outliers.  The defaults are those of the authors' code.

    Args:
        known_logits: floating-point ``[B, C]`` of in-distribution samples.
        outlier_logits: floating-point ``[B', C]`` of outliers.
        margin_in: m_in, at most m_out.
        margin_out: m_out.

    Returns:
        Scalar >= 0.

    Raises:
        UserError: on another shape, or margins in another order.
    """
    if not margin_in <= margin_out:
        raise UserError(f"margin_in is {margin_in} and margin_out {margin_out}; they must be in this order.")
    known, unknown = (
        -torch.logsumexp(stack_logits([each], at_least=1)[0], dim=1)
        for each in (known_logits, outlier_logits)
    )
    above, below = (known - margin_in).clamp_min(0), (margin_out - unknown).clamp_min(0)
    return above.square().mean() + below.square().mean()


def mixed_outlier_loss(logits: Tensor, labels: Tensor, share: float) -> Tensor:
    """Return the cross-entropy of samples mixed with outliers, whose target falls to uniform (MixOE, WACV 2023).

    The target is λ y + (1 − λ) / C.

    Args:
        logits: floating-point ``[B, C]`` of ``λ x + (1 − λ) o``.
        labels: integer ``[B]`` of the samples x.
        share: λ, in [0, 1].

    Returns:
        Scalar, mean over the batch.

    Raises:
        UserError: on shapes or labels that don't fit, or a share outside [0, 1].
    """
    (checked,) = stack_logits([logits], at_least=1)
    classes = checked.shape[1]
    check_labels(labels, len(checked), classes)
    if not 0 <= share <= 1:
        raise UserError(f"share must be in [0, 1], got {share}.")
    return cross_entropy(checked, share * one_hot(labels, classes).to(checked.dtype) + (1 - share) / classes)


def absent_class_loss(logits: Tensor) -> Tensor:
    """Return the cross-entropy of outliers whose class is the last one (DOS, ICLR 2024).

    Args:
        logits: floating-point ``[B, C + 1]`` of outliers.

    Returns:
        Scalar >= 0, mean over the batch.

    Raises:
        UserError: on another shape.
    """
    (checked,) = stack_logits([logits], at_least=1)
    return (torch.logsumexp(checked, dim=1) - checked[:, -1]).mean()
