"""No outliers: what the other syntheses are compared with, everything else being equal."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..registry import SYNTHESES
from .bank import EmbeddingBank
from .outliers import Outliers


@SYNTHESES.register("none")
@dataclass(frozen=True)
class NoOutliers:
    """A2D alone: the loss has no terms of outliers."""

    def __call__(self, bank: EmbeddingBank, generator: torch.Generator | None = None) -> Outliers:
        """Return ``[0, D]``.

        Args:
            bank: full.
            generator: not drawn from.

        Raises:
            UserError: when the bank isn't full.
        """
        bank.require_full()
        return Outliers(bank.embeddings.new_empty(0, bank.dim))
