"""What no exact implementation of the table can do without, each part done in the fastest way at hand.

KNN can't do without the products of scored and training rows (in any precision: candidates are finished apart); MDS
and ViM not without the second moment, a factorisation of it, and scored rows multiplied with the factor.  Every way is
measured in the run; the first one of each part is the one that the limit of earlier versions took.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.suite.measuring import Times, interleaved

from .methods import Problem

NEIGHBOUR_ROWS = 1024
WAYS = {
    "second moment": ("general product", "symmetric product"),
    "cholesky": ("torch", "LAPACK"),
    "leading eigenvectors": ("LAPACK", "block Lanczos"),
    "triangular solve": ("torch", "BLAS"),
    "neighbour product, top K": ("torch", "NumPy", "bfloat16"),
}
"""Part → ways of doing it."""

EXTRA = "neighbour product alone"
LOGITS = "logits alone: float64"
"""The bare product of scored rows, in float64 already, and the head's weight: what a score of logits takes at least."""


def fastest(parts: dict[str, Times]) -> dict[str, str]:
    """Return each part's fastest way, by the median of its wall times."""
    return {part: min(ways, key=lambda way: parts[f"{part}: {way}"].wall_s) for part, ways in WAYS.items()}


def measure_limit(problem: Problem, rounds: int) -> dict[str, Times]:
    """Return ``"<part>: <way>"`` → times, and those of `EXTRA` and `LOGITS`."""
    import torch
    from scipy import linalg
    from scipy.linalg import blas, lapack

    from openood_multimodal.linalg.spectra import leading_eigenpairs

    train, test = (torch.from_numpy(each.features) for each in (problem.train, problem.test))
    moment = train.T @ train / len(train)
    moment.diagonal().add_(1e-3 * float(moment.diagonal().mean()))  # N < D, where the small form asks for it
    factor = torch.linalg.cholesky(moment)
    dim, array, lower = len(moment), moment.numpy(), np.asfortranarray(factor.numpy())
    double, short = array.astype(np.float64), train.bfloat16()

    def dense() -> Any:
        return linalg.eigh(array, subset_by_index=[dim - problem.vim_dim, dim - 1], check_finite=False)

    def products(multiply: Callable[[slice], Any], top: bool = True) -> None:
        for start in range(0, len(test), NEIGHBOUR_ROWS):
            block = multiply(slice(start, start + NEIGHBOUR_ROWS))
            if top:
                block.topk(problem.neighbours, dim=1, sorted=False)

    def with_numpy(rows: slice) -> Any:
        return torch.from_numpy(problem.test.features[rows] @ problem.train.features.T)

    ways: dict[str, tuple[Callable[[], Any], ...]] = {
        "second moment": (
            lambda: train.T @ train,
            lambda: blas.ssyrk(1.0, problem.train.features.T, lower=1),
        ),
        "cholesky": (lambda: torch.linalg.cholesky(moment), lambda: lapack.spotrf(array, lower=1)),
        "leading eigenvectors": (dense, lambda: leading_eigenpairs(double, problem.vim_dim)),
        "triangular solve": (
            lambda: torch.linalg.solve_triangular(factor, test.T, upper=False),
            lambda: blas.strsm(1.0, lower, problem.test.features.T, lower=1),
        ),
        "neighbour product, top K": (
            lambda: products(lambda rows: test[rows] @ train.T),
            lambda: products(with_numpy),
            lambda: products(lambda rows: test[rows].bfloat16() @ short.T),
        ),
    }
    named = {
        f"{part}: {way}": function
        for part, functions in ways.items()
        for way, function in zip(WAYS[part], functions, strict=True)
    }
    named[EXTRA] = lambda: products(lambda rows: test[rows] @ train.T, top=False)
    rows, weight = (each.astype(np.float64) for each in (problem.test.features, problem.head.weight))
    named[LOGITS] = lambda: rows @ weight.T
    named["logits alone: float32"] = lambda: problem.test.features @ problem.head.weight.T
    return interleaved(named, rounds)


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
