"""DOS: the hardest candidate of each cluster."""

from __future__ import annotations

import pytest
import torch

from openood_multimodal.synthesis import diverse_outliers


def test_the_hardest_of_each_cluster_is_taken():
    """Well separated clusters, one start in each: then the clusters are known."""
    generator = torch.Generator().manual_seed(0)
    directions = torch.eye(4)
    features = torch.cat([directions * scale for scale in (1.0, 3.0, 7.0)])  # normalised: three alike each
    features = features + 0.01 * torch.randn(12, 4, generator=generator)
    absent = torch.rand(12, generator=generator)
    hit = 0
    for seed in range(30):
        start = torch.randperm(12, generator=torch.Generator().manual_seed(seed))[:4]
        chosen = diverse_outliers(features, absent, 4, torch.Generator().manual_seed(seed))
        assert len(set(chosen.tolist())) == 4
        if len(set((start % 4).tolist())) == 4:
            hit += 1
            hardest = {min(range(c, 12, 4), key=lambda row: float(absent[row])) for c in range(4)}
            assert set(chosen.tolist()) == hardest
    assert hit > 0


@pytest.mark.parametrize("count", [1, 3, 7])
def test_as_many_as_asked_for_also_where_clusters_are_empty(count):
    chosen = diverse_outliers(torch.ones(7, 2), torch.linspace(1, 0, 7), count)  # one cluster has all
    assert len(set(chosen.tolist())) == count
    assert chosen[0] == 6
