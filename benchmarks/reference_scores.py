"""The nine scores in float64, as literally as full size allows: what figures are held against.

Written from the papers' formulas and OpenOOD's conventions, with nothing of the package's own scores: no shared
statistics, no expanded squares, no mixed precision.  Rows are taken in blocks for the sake of memory only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import linalg
from scipy.special import logsumexp, softmax

from .parts.methods import Problem

Floats = NDArray[np.float64]

BLOCK_ROWS = 1024


def _blocks(features: NDArray[Any]) -> Iterator[Floats]:
    for start in range(0, len(features), BLOCK_ROWS):
        yield features[start : start + BLOCK_ROWS].astype(np.float64)


def _each_block(features: NDArray[Any], function: Callable[[Floats], Floats]) -> Floats:
    return np.concatenate([function(block) for block in _blocks(features)])


def _logits(problem: Problem, features: Floats) -> Floats:
    weight, bias = problem.head.weight.astype(np.float64), problem.head.bias.astype(np.float64)
    return np.asarray(features @ weight.T + bias)


def msp(problem: Problem) -> Floats:
    """Largest softmax probability."""
    return _each_block(problem.test.features, lambda x: softmax(_logits(problem, x), axis=1).max(axis=1))


def ebo(problem: Problem) -> Floats:
    """Log-sum-exp of the logits."""
    return _each_block(problem.test.features, lambda x: logsumexp(_logits(problem, x), axis=1))


def mls(problem: Problem) -> Floats:
    """Largest logit."""
    return _each_block(problem.test.features, lambda x: _logits(problem, x).max(axis=1))


def gen(problem: Problem) -> Floats:
    """Minus the generalised entropy, γ = 0.1, of the 100 largest probabilities."""

    def block(x: Floats) -> Floats:
        p = np.sort(softmax(_logits(problem, x), axis=1), axis=1)[:, -100:]
        return np.asarray(-np.sum(p**0.1 * (1.0 - p) ** 0.1, axis=1))

    return _each_block(problem.test.features, block)


def react(problem: Problem) -> Floats:
    """Energy of features clipped at the validation features' 90th percentile."""
    threshold = np.percentile(problem.val.features.astype(np.float64), 90)
    return _each_block(
        problem.test.features, lambda x: logsumexp(_logits(problem, np.minimum(x, threshold)), axis=1)
    )


def ash(problem: Problem) -> Floats:
    """Energy of features whose largest tenth share the row's sum, the rest being 0 (ASH-B, 90 %)."""
    dim = problem.head.dim
    kept = dim - int(np.round(dim * 0.9))

    def block(x: Floats) -> Floats:
        shaped = np.zeros_like(x)
        largest = np.argsort(-x, axis=1, kind="stable")[:, :kept]
        np.put_along_axis(shaped, largest, x.sum(axis=1, keepdims=True) / kept, axis=1)
        return np.asarray(logsumexp(_logits(problem, shaped), axis=1))

    return _each_block(problem.test.features, block)


def knn(problem: Problem) -> Floats:
    """Minus the squared distance to the K-th neighbour, rows of unit norm.

    The K + 16 nearest by float64 products are measured again by differences.
    """

    def unit(x: Floats) -> Floats:
        return np.asarray(x / np.linalg.norm(x, axis=1, keepdims=True) + 1e-10)

    bank = np.concatenate([unit(block) for block in _blocks(problem.train.features)])
    candidates = min(problem.neighbours + 16, len(bank))

    def block(x: Floats) -> Floats:
        rows = unit(x)
        near = np.argpartition(-(rows @ bank.T), candidates - 1, axis=1)[:, :candidates]
        return np.array(
            [
                -np.sort(np.sum((bank[index] - row) ** 2, axis=1))[problem.neighbours - 1]
                for row, index in zip(rows, near, strict=True)
            ]
        )

    return _each_block(problem.test.features, block)


def mds(problem: Problem) -> Floats:
    """Minus the smallest Mahalanobis distance to a class mean, under the pooled within-class covariance.

    The covariance comes from centred rows; directions whose eigenvalue is rounding are left out.
    """
    train, labels = problem.train.features, problem.train.labels
    classes, dim = problem.head.num_classes, problem.head.dim
    means = np.stack([train[labels == c].astype(np.float64).mean(axis=0) for c in range(classes)])
    covariance = np.zeros((dim, dim))
    for number, rows in enumerate(_blocks(train)):
        where = slice(number * BLOCK_ROWS, number * BLOCK_ROWS + len(rows))
        centred = rows - means[labels[where]]
        covariance += centred.T @ centred
    covariance /= len(train)
    values, vectors = linalg.eigh(covariance)
    kept = values > dim * np.finfo(np.float64).eps * values[-1]
    whiten = vectors[:, kept] / np.sqrt(values[kept])
    centres = means @ whiten

    def block(x: Floats) -> Floats:
        white = x @ whiten
        return np.asarray(-np.stack([np.sum((white - each) ** 2, axis=1) for each in centres]).min(axis=0))

    return _each_block(problem.test.features, block)


def vim(problem: Problem) -> Floats:
    """Energy minus α times the norm outside the leading directions, around the head's origin."""
    weight, bias = problem.head.weight.astype(np.float64), problem.head.bias.astype(np.float64)
    origin = -linalg.pinv(weight) @ bias
    moment = np.zeros((problem.head.dim, problem.head.dim))
    for block in _blocks(problem.train.features):
        moment += (block - origin).T @ (block - origin)
    _, vectors = linalg.eigh(moment)  # ascending
    rest = vectors[:, : problem.head.dim - problem.vim_dim]

    def residual(x: Floats) -> Floats:
        return np.asarray(np.linalg.norm((x - origin) @ rest, axis=1))

    norms = _each_block(problem.train.features, residual)
    largest = _each_block(problem.train.features, lambda x: _logits(problem, x).max(axis=1))
    alpha = largest.mean() / norms.mean()
    return _each_block(
        problem.test.features, lambda x: logsumexp(_logits(problem, x), axis=1) - alpha * residual(x)
    )


REFERENCES: Mapping[str, Callable[[Problem], Floats]] = {
    "msp": msp,
    "ebo": ebo,
    "mls": mls,
    "gen": gen,
    "mds": mds,
    "react": react,
    "ash": ash,
    "knn": knn,
    "vim": vim,
}
