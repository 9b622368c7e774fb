"""Z-scores by the statistics of a training set."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Standardizer:
    """Column means and deviations.

    Attributes:
        mean: float64 ``[D]``.
        std: float64 ``[D]``, population standard deviations; 0 for a constant column.
    """

    mean: NDArray[np.float64]
    std: NDArray[np.float64]

    @classmethod
    def fit(cls, train: NDArray[np.float64]) -> Standardizer:
        """Return the statistics of the training rows ``[N, D]``."""
        constant = train.min(axis=0) == train.max(axis=0)
        return cls(train.mean(axis=0), np.where(constant, 0.0, train.std(axis=0)))

    def apply(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return z-scores of ``values`` ``[N, D]``; 0 throughout a column that was constant in training."""
        constant = self.std == 0
        return np.where(constant, 0.0, (values - self.mean) / np.where(constant, 1.0, self.std))
