"""What no exact implementation of the table can do without, in float32 with the machine's fastest BLAS at hand.

KNN can't do without the products of scored and training rows; MDS and ViM not without the second moment, a
factorisation of it, and scored rows multiplied with the factor.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.suite.measuring import Times, interleaved

from .methods import Problem

NEIGHBOUR_ROWS = 1024
PARTS = ("second moment", "cholesky", "leading eigenvectors", "triangular solve", "neighbour product, top K")
EXTRA = ("neighbour product alone",)


def measure_limit(problem: Problem, rounds: int) -> dict[str, Times]:
    """Return part → times."""
    import torch
    from scipy import linalg

    train = torch.from_numpy(problem.train.features)
    test = torch.from_numpy(problem.test.features)
    moment = train.T @ train / len(train)
    moment.diagonal().add_(1e-3 * float(moment.diagonal().mean()))  # N < D, where the small form asks for it
    factor = torch.linalg.cholesky(moment)
    dim, array = len(moment), moment.numpy()

    def leading() -> Any:
        return linalg.eigh(array, subset_by_index=[dim - problem.vim_dim, dim - 1], check_finite=False)

    def products(top: bool) -> None:
        for start in range(0, len(test), NEIGHBOUR_ROWS):
            block = test[start : start + NEIGHBOUR_ROWS] @ train.T
            if top:
                block.topk(problem.neighbours, dim=1, sorted=False)

    parts: dict[str, Callable[[], Any]] = {
        "second moment": lambda: train.T @ train,
        "cholesky": lambda: torch.linalg.cholesky(moment),
        "leading eigenvectors": leading,
        "triangular solve": lambda: torch.linalg.solve_triangular(factor, test.T, upper=False),
        "neighbour product, top K": lambda: products(top=True),
        "neighbour product alone": lambda: products(top=False),
    }
    return interleaved(parts, rounds)


def spectrum_text(problem: Problem) -> str:
    """Return how the training rows' variance is spread over directions."""
    import torch

    train = torch.from_numpy(problem.train.features)
    centred = train - train.mean(dim=0)
    values = np.sort(torch.linalg.eigvalsh(centred.T @ centred).numpy().astype(np.float64))[::-1]
    counts = [each for each in (1, 16, 256, 1024) if each < len(values)]
    shares = [f"{100 * values[:each].sum() / values.sum():.0f}" for each in counts]
    least = values[min(len(train), len(values)) - 1]
    return (
        f"the leading {'/'.join(map(str, counts))} directions hold {'/'.join(shares)} % of the variance; "
        f"largest / smallest eigenvalue {values[0] / least:.2g}"
    )
