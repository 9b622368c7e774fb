"""Cross-entropies: over all heads, and with normalised logits."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.linalg import vector_norm

from ..errors import UserError


def logit_norm_cross_entropy(logits: Tensor, labels: Tensor, tau: float = 0.04) -> Tensor:
    """Return the cross-entropy of logits divided by their norm and a temperature.

    Wei et al., "Mitigating Neural Network Overconfidence with Logit Normalization", ICML 2022.  τ = 0.04 and
    the 1e-7 added to the norm are MultiOOD's; scores are computed on the raw logits.

    Args:
        logits: ``[B, C]``.
        labels: integer ``[B]`` in ``[0, C)``.
        tau: temperature > 0.

    Returns:
        Scalar, mean over the batch.

    Raises:
        UserError: when ``tau`` isn't positive.
    """
    if not tau > 0:
        raise UserError(f"LogitNorm's tau must be > 0, got {tau}; MultiOOD's is 0.04.")
    norms = vector_norm(logits, dim=-1, keepdim=True) + 1e-7
    return F.cross_entropy(logits / (norms * tau), labels)


def multihead_cross_entropy(
    fused_logits: Tensor,
    modality_logits: Sequence[Tensor],
    labels: Tensor,
    cross_entropy: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy,
) -> Tensor:
    """Return the mean of the fused head's and every modality head's cross-entropy (Eq. 4; Eq. 11 for M).

    Args:
        fused_logits: ``[B, C]`` of the head on the concatenated embedding.
        modality_logits: M >= 1 tensors ``[B, C]``.
        labels: integer ``[B]`` in ``[0, C)``.
        cross_entropy: ``(logits, labels) → scalar``, e.g. ``logit_norm_cross_entropy``.

    Returns:
        Scalar: the mean of the M + 1 terms.

    Raises:
        UserError: when there is no modality, or a head's logits differ in shape from the fused ones.

    >>> import torch
    >>> logits, labels = torch.zeros(4, 2), torch.tensor([0, 1, 0, 1])
    >>> round(multihead_cross_entropy(logits, [logits, logits], labels).item(), 4)  # log 2
    0.6931
    """
    heads = [fused_logits, *modality_logits]
    if len(heads) < 2:
        raise UserError("modality_logits is empty; pass the logits of at least one modality's head.")
    for m, each in enumerate(heads[1:]):
        if each.shape != fused_logits.shape:
            raise UserError(
                f"modality_logits[{m}] has shape {list(each.shape)}, "
                f"the fused logits {list(fused_logits.shape)}."
            )
    return torch.stack([cross_entropy(each, labels) for each in heads]).mean()
