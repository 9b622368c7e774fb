"""Which test clips come from a recording that training has seen.

A split that draws clips and not recordings puts clips of one recording on both sides; a network may then know the
background instead of the action.  Metrics on the other clips, beside those on all, show how much that matters.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .metrics import Metric

MIN_CLIPS = 50
"""Fewer clips than this, on either side, make no metric: at 95 % recall, less than three of them decide it."""


@dataclass(frozen=True)
class UnseenResult:
    """One OOD set, on the clips whose recording was not in training.

    Attributes:
        metrics: as on all clips; None where either side has fewer than `MIN_CLIPS`.
        n_id: ID test clips of unseen recordings.
        n_ood: OOD clips of unseen recordings.
    """

    metrics: dict[str, Metric] | None
    n_id: int
    n_ood: int

    def as_dict(self) -> dict[str, Any]:
        """Return the plain values that a record stores."""
        metrics = None if self.metrics is None else {k: v.as_dict() for k, v in self.metrics.items()}
        return {"metrics": metrics, "n_id": self.n_id, "n_ood": self.n_ood}


def unseen_rows(recordings: Sequence[str], in_training: Collection[str]) -> NDArray[np.bool_] | None:
    """Return which rows come from a recording outside ``in_training``, or None where a recording is unknown.

    Args:
        recordings: the recording of each row; empty where it is unknown.
        in_training: recordings of the training clips, likewise.
    """
    seen = frozenset(in_training)
    if not seen or "" in seen or "" in recordings:
        return None
    return np.fromiter((each not in seen for each in recordings), dtype=np.bool_, count=len(recordings))


def unseen_sets(
    recordings: Mapping[str, Sequence[str]], in_training: Collection[str]
) -> dict[str, NDArray[np.bool_]]:
    """Return set → `unseen_rows`, without the sets of which nothing can be told."""
    masks = {name: unseen_rows(rows, in_training) for name, rows in recordings.items()}
    return {name: mask for name, mask in masks.items() if mask is not None}
