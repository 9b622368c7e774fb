"""What arrays look like they are and should not be: probabilities for logits, embeddings cut to length 1."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

PROBABILITIES = (
    "the {what} look like probabilities (every row is between 0 and 1 and sums to 1): energy, the largest logit and "
    "other scores of logits come out wrong on them. Save them before the softmax"
)
_CLOSE = 1e-3  # float16 rounds a sum of probabilities by less
_BLOCK_BYTES = 16 * 2**20


def look_like_probabilities(logits: NDArray[Any]) -> bool:
    """Tell whether all values of ``logits`` ``[..., C]``, C > 1, are in [0, 1] and sum to 1 over the classes."""
    rows = logits.reshape(-1, logits.shape[-1])
    if rows.shape[1] < 2 or not len(rows):
        return False
    return all(
        block.min() >= 0 and block.max() <= 1 + _CLOSE and np.abs(block.sum(axis=1) - 1).max() <= _CLOSE
        for block in _blocks(rows)
    )


def look_normalised(features: NDArray[Any]) -> bool:
    """Tell whether every row of ``features`` ``[N, D]``, D > 1, has the length 1."""
    if features.shape[1] < 2 or not len(features):
        return False
    return all(np.abs(np.linalg.norm(block, axis=1) - 1).max() <= _CLOSE for block in _blocks(features))


def _blocks(rows: NDArray[Any]) -> Any:
    """Yield blocks of rows in float64; `all` stops at the first that tells, so most arrays cost one block."""
    step = max(1, _BLOCK_BYTES // (8 * rows.shape[1]))
    return (np.asarray(rows[i : i + step], dtype=np.float64) for i in range(0, len(rows), step))
