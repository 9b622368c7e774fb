"""HEAT's Langevin dynamics: slopes in closed form are those of the energies."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from literal_scores import make_case
from torch import nn

from openood_multimodal.postprocessors.heat import HEAT, SLOPE, slope_of


def slope_by_autograd(energy: object, values: torch.Tensor) -> torch.Tensor:
    moved = values.clone().requires_grad_(True)
    return torch.autograd.grad(energy(moved).sum(), [moved])[0]  # type: ignore[operator]


@pytest.mark.parametrize("layers", [1, 3])
def test_the_slope_of_a_correction(layers: int) -> None:
    torch.manual_seed(0)
    sizes = [5, *[16] * layers]
    hidden = [(nn.Linear(a, b), nn.LeakyReLU(SLOPE)) for a, b in itertools.pairwise(sizes)]
    network = nn.Sequential(*(part for pair in hidden for part in pair), nn.Linear(16, 1))
    values = torch.randn(7, 5)
    torch.testing.assert_close(slope_of(network, values), slope_by_autograd(network, values))


def test_the_slopes_of_the_priors() -> None:
    problem = make_case("more_rows_than_columns")
    score = HEAT(steps=1, hidden=8).fit(problem.train, None, problem.head)
    torch.manual_seed(0)
    values = torch.randn(9, score._vectors.shape[1]) * 0.1
    means, shares = (torch.from_numpy(each) for each in (score._means, score._log_shares))
    white = torch.from_numpy(score._whiten)

    def mixture(z: torch.Tensor) -> torch.Tensor:
        squared = ((z.double()[:, None] - means) @ white).square().sum(-1)
        return -torch.logsumexp(shares - 0.5 * squared, dim=1)

    def logits(z: torch.Tensor) -> torch.Tensor:
        rows = z.double() @ torch.from_numpy(score._vectors.T * score._spread) + torch.from_numpy(score._mean)
        weight, bias = (
            torch.from_numpy(np.asarray(each)) for each in (problem.head.weight, problem.head.bias)
        )
        return -torch.logsumexp(rows @ weight.double().T + bias, dim=1)

    for (slope, _), energy in ((score._mixture(torch), mixture), (score._logits(torch), logits)):
        torch.testing.assert_close(slope(values), slope_by_autograd(energy, values), rtol=1e-3, atol=1e-4)
