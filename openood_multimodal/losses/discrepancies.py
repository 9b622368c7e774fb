"""Discrepancies between the predictions of two modalities.

Each is a function ``(p, q) -> [...]`` of two tensors ``[..., B, K]`` of probabilities: B samples, K classes,
any leading dimensions (the losses put the modality pairs there), and has averaged over the batch.  A result
is 0, with a gradient of 0, where ``p`` equals ``q``.

Two families, named by the protocol that uses them: the authors' published code (``*_code``) and the paper's
equations (``*_paper``); see ``docs/losses.md``.  Your own discrepancy is a function of this kind with
a new name, ``@DISCREPANCIES.register("mine")``; it may also return one scalar for all pairs.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.linalg import vector_norm

from ..registry import DISCREPANCIES

CODE_FLOOR = 1e-6
"""The authors' code raises probabilities to this before the Hellinger distance takes square roots."""


def _hellinger(p: Tensor, q: Tensor, floor: float) -> Tensor:
    # vector_norm has the subgradient 0 at 0, where the square root of a sum of squares has NaN.
    roots = p.clamp_min(floor).sqrt() - q.clamp_min(floor).sqrt()
    return vector_norm(roots, dim=-1).mean(-1) / math.sqrt(2.0)


@DISCREPANCIES.register("hellinger")
def hellinger_code(p: Tensor, q: Tensor) -> Tensor:
    """Hellinger distance of probabilities raised to at least 1e-6 (not renormalised), mean over the batch.

    Args:
        p: ``[..., B, K]`` probabilities of one modality.
        q: ``[..., B, K]`` probabilities of another.

    Returns:
        ``[...]`` in ``[0, 1]``, up to the effect of the floor.

    >>> import torch
    >>> p, q = torch.tensor([[0.9, 0.1]]), torch.tensor([[0.1, 0.9]])
    >>> round(hellinger_code(p, q).item(), 4), hellinger_code(p, p).item()
    (0.6325, 0.0)
    """
    return _hellinger(p, q, CODE_FLOOR)


def hellinger_paper(p: Tensor, q: Tensor) -> Tensor:
    """Hellinger distance, mean over the batch (Eq. 3); arguments and result as ``hellinger_code``.

    The floor is the smallest normal number of the dtype: it keeps the slope of the square root finite at a
    probability of exactly 0, and moves the distance by less than 1e-18.
    """
    return _hellinger(p, q, torch.finfo(p.dtype).tiny)


@DISCREPANCIES.register("l1")
def l1_code(p: Tensor, q: Tensor) -> Tensor:
    """Absolute difference, mean over the batch **and the classes**; ``[..., B, K]`` twice → ``[...]``."""
    return (p - q).abs().mean(dim=(-2, -1))


def l1_paper(p: Tensor, q: Tensor) -> Tensor:
    """Absolute differences, summed over classes, mean over the batch; ``[..., B, K]`` twice → ``[...]``.

    >>> import torch
    >>> p, q = torch.tensor([[0.75, 0.25]]), torch.tensor([[0.25, 0.75]])
    >>> l1_paper(p, q).item(), l1_code(p, q).item()
    (1.0, 0.5)
    """
    return (p - q).abs().sum(dim=-1).mean(-1)


@DISCREPANCIES.register("l2")
def l2_code(p: Tensor, q: Tensor) -> Tensor:
    """Squared difference, mean over the batch **and the classes**; ``[..., B, K]`` twice → ``[...]``."""
    return (p - q).square().mean(dim=(-2, -1))


def l2_paper(p: Tensor, q: Tensor) -> Tensor:
    """Euclidean distance, mean over the batch; ``[..., B, K]`` twice → ``[...]``."""
    return vector_norm(p - q, dim=-1).mean(-1)


@DISCREPANCIES.register("wasserstein")
def wasserstein(p: Tensor, q: Tensor) -> Tensor:
    """The authors' "Wasserstein" term: distance to the nearest prediction of the other modality in the batch.

    For each sample the Euclidean distance from its ``p`` to the nearest ``q`` of **any** sample of the batch,
    averaged over the batch, and the same from ``q`` to ``p``; the mean of both.  It is a Chamfer distance
    between the two sets of predictions, not an optimal transport.

    Args:
        p: ``[..., B, K]`` probabilities of one modality.
        q: ``[..., B, K]`` probabilities of another.

    Returns:
        ``[...]`` in ``[0, √2]``.
    """
    with torch.no_grad():
        # The search is exact (no expansion into a matrix product, which can't tell small distances from 0);
        # only the B nearest of the B × B distances need a gradient.
        distances = torch.cdist(p, q, compute_mode="donot_use_mm_for_euclid_dist")
        nearest_q, nearest_p = _nearest(distances), _nearest(distances.transpose(-1, -2))
    there = vector_norm(p - _rows(q, nearest_q), dim=-1).mean(-1)
    back = vector_norm(q - _rows(p, nearest_p), dim=-1).mean(-1)
    return (there + back) / 2


def _nearest(distances: Tensor) -> Tensor:
    """Return the column of the least entry of each row of ``[..., B, B]``; the diagonal wins ties.

    So equal predictions are at a distance of exactly 0, even beside others whose distance underflows to 0.
    """
    least, column = distances.min(dim=-1)
    own = torch.arange(distances.shape[-1], device=distances.device)
    return torch.where(distances.diagonal(dim1=-2, dim2=-1) <= least, own, column)


def _rows(values: Tensor, index: Tensor) -> Tensor:
    return values.gather(-2, index.unsqueeze(-1).expand(values.shape))
