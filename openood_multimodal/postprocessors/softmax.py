"""Softmax quantities in float64 that don't saturate: every function keeps its order at any logit.

A confident network has most of its samples at a float32 probability of exactly 1; ties ruin FPR@95.  Even
in float64, 1 - p is lost beyond a gap of some 37 between logits, so nothing here goes through p itself.
"""

from __future__ import annotations

import numpy as np

from ..linalg.rows import Floats


def logsumexp(logits: Floats) -> Floats:
    """Return ``[B]`` log Σ exp of ``logits`` ``[B, C]``, without overflow."""
    top = logits.max(axis=1)
    return top + np.log(np.exp(logits - top[:, None]).sum(axis=1))


def log_softmax(logits: Floats) -> Floats:
    """Return ``[B, C]`` log softmax of ``logits``."""
    return np.asarray(logits - logsumexp(logits)[:, None])


def softmax(logits: Floats) -> Floats:
    """Return ``[B, C]`` softmax of ``logits``.

    >>> import numpy as np
    >>> softmax(np.array([[0.0, 0.0], [1000.0, 0.0]])).tolist()
    [[0.5, 0.5], [1.0, 0.0]]
    """
    return np.asarray(np.exp(log_softmax(logits)))


def energy(logits: Floats, temperature: float = 1.0) -> Floats:
    """Return ``[B]`` T·logsumexp(z / T), the negative free energy of ``logits`` ``[B, C]``.

    >>> import numpy as np
    >>> energy(np.array([[0.0, 0.0]])).round(4).tolist()  # log 2
    [0.6931]
    """
    return temperature * logsumexp(logits / temperature)


def max_log_odds(logits: Floats) -> Floats:
    """Return ``[B]`` log(p / (1 - p)) of the largest softmax probability p of ``logits`` ``[B, C]``.

    It is z_max - logsumexp of the other logits, so it grows strictly with p and never saturates.  With one
    class p is always 1; the odds are then given as 0.

    >>> import numpy as np
    >>> max_log_odds(np.array([[2.0, 0.0], [100.0, 0.0]])).tolist()  # a float32 probability would be 1 for the second
    [2.0, 100.0]
    """
    if logits.shape[1] == 1:
        return np.zeros(len(logits))
    others = np.partition(logits, -1, axis=1)
    return others[:, -1] - logsumexp(others[:, :-1])


def log_entropy(logits: Floats) -> Floats:
    """Return ``[B]`` log H of the entropy H = -Σ p log p; 0 with one class, where H is 0 for every sample.

    Neither H nor log p of the largest p is formed, so nothing underflows before the odds themselves do.
    """
    if logits.shape[1] == 1:
        return np.zeros(len(logits))
    top = logits.max(axis=1, keepdims=True)
    odds = max_log_odds(logits)[:, None]
    surprise = np.logaddexp(0.0, -odds)  # -log p of the largest
    log_p = logits - top - surprise
    # of the largest p: log(-log p) is log log(1 + exp(-odds)), some -odds where these are large
    with np.errstate(divide="ignore"):
        inner = np.where(logits < top, np.log(-log_p), np.where(odds > 40.0, -odds, np.log(surprise)))
    return logsumexp(log_p + inner)


def log_generalised_entropy(logits: Floats, gamma: float, top: int | None) -> Floats:
    """Return ``[B]`` log Σ p^γ (1 - p)^γ over the ``top`` largest probabilities (None: all).

    With one class the sum is 0 for every sample; 0 is returned in place of its logarithm.
    """
    count = logits.shape[1]
    if count == 1:
        return np.zeros(len(logits))
    kept = count if top is None else min(top, count)
    ordered = np.partition(logits, [count - kept, count - 1], axis=1)[:, count - kept :]
    odds = max_log_odds(logits)[:, None]
    log_max = -np.logaddexp(0.0, -odds)  # log p of the largest
    terms = np.empty_like(ordered)
    log_p = ordered[:, :-1] - ordered[:, -1:] + log_max  # the others: each p is at most 1/2
    terms[:, :-1] = gamma * (log_p + np.log1p(-np.exp(log_p)))
    terms[:, -1:] = gamma * (log_max - np.logaddexp(0.0, odds))
    return logsumexp(terms)
