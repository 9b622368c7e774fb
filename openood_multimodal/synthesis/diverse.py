"""Diverse outliers of a batch: the one of each cluster that looks most like a known class (DOS, ICLR 2024)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

ROUNDS = 10
"""Of k-means."""


@torch.no_grad()
def diverse_outliers(
    features: Tensor, absent: Tensor, count: int, generator: torch.Generator | None = None
) -> Tensor:
    """Choose ``count`` of N candidates (Jiang et al., ICLR 2024, in the form of the authors' code).

    Normalised features are clustered by k-means, from ``count`` candidates drawn at random.  Of each cluster the
    candidate with the least probability of the absent class is taken; what empty clusters leave is filled at random
    from the rest.

    Args:
        features: ``[N, D]``.
        absent: ``[N]``, the probability of the absent class.
        count: 1 to N.
        generator: on the CPU; None takes torch's global one.

    Returns:
        int64 ``[count]``, distinct rows, on the device of ``features``.
    """
    rows = len(features)
    order = torch.randperm(rows, generator=generator).to(features.device)
    unit = normalize(features, dim=1)
    clusters = _k_means(unit, order[:count])
    # rows by cluster, within one by probability: the first of each cluster is its hardest
    ranked = absent.argsort(stable=True)
    ranked = ranked[clusters[ranked].argsort(stable=True)]
    first = torch.ones(rows, dtype=torch.bool, device=features.device)
    first[1:] = clusters[ranked[1:]] != clusters[ranked[:-1]]
    chosen = ranked[first]
    left = torch.ones(rows, dtype=torch.bool, device=features.device)
    left[chosen] = False
    return torch.cat((chosen, order[left[order]][: count - len(chosen)]))


def _k_means(points: Tensor, first: Tensor) -> Tensor:
    """Return each point's cluster, int64 ``[N]``, after `ROUNDS` of Lloyd's algorithm from the points ``first``."""
    centres = points[first]
    clusters = torch.cdist(points, centres).argmin(1)
    for _ in range(ROUNDS):
        counts = torch.bincount(clusters, minlength=len(centres)).unsqueeze(1)
        sums = torch.zeros_like(centres).index_add_(0, clusters, points)
        centres = torch.where(
            counts > 0, sums / counts.clamp_min(1), centres
        )  # an empty cluster stays where it is
        moved = torch.cdist(points, centres).argmin(1)
        if torch.equal(moved, clusters):
            break
        clusters = moved
    return clusters
