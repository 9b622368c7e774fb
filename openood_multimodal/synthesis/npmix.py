"""NP-Mix: nearest-neighbour prototype mixup (Dong et al., MultiOOD, Sec. 4.3, Eq. 6)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..errors import UserError
from ..registry import SYNTHESES
from .bank import EmbeddingBank
from .drawing import mix_rows, numpy_generator, require_at_least, require_positive
from .outliers import Outliers


@SYNTHESES.register("npmix")
@dataclass(frozen=True)
class NPMix:
    """One outlier a class: a row of the class mixed with a row of a class whose prototype is near.

    ``Z = λ Z1 + (1 − λ) Z2``; Z1 is a uniformly drawn row of class c, Z2 of a class drawn uniformly from the
    ``num_neighbors`` classes with the nearest prototypes, and λ ~ Beta(α, α), one for all modalities.

    Args:
        num_neighbors: N >= 1, **not** counting the class itself (the authors' ``nn_k`` of 3 counts it).  With
            fewer than N other classes, all of them are neighbours.
        alpha: α > 0.  Above 1, λ gathers round 1/2.

    Raises:
        UserError: when a parameter is out of range.

    >>> import torch
    >>> bank = EmbeddingBank(num_classes=3, dim=4, size=2)
    >>> bank.push(torch.randn(6, 4), torch.tensor([0, 0, 1, 1, 2, 2]))
    >>> outliers = NPMix(num_neighbors=2)(bank, torch.Generator().manual_seed(0))
    >>> outliers.embeddings.shape
    torch.Size([3, 4])
    """

    num_neighbors: int = 2
    alpha: float = 10.0

    def __post_init__(self) -> None:
        require_at_least(1, "NP-Mix", num_neighbors=self.num_neighbors)
        require_positive("NP-Mix", alpha=self.alpha)

    def from_rows(
        self, features: NDArray[Any], labels: NDArray[np.int64], num_classes: int, count: int, seed: int = 0
    ) -> NDArray[Any]:
        """Return ``count`` outliers mixed from stored embeddings, ``[count, D]``, float32 (float64 for such features).

        The bank holds as many rows of every class as its smallest one has, 65 at most, drawn at random.

        Args:
            features: float ``[N, D]``.
            labels: int64 ``[N]``, in [0, C).
            num_classes: C >= 2.
            count: outliers wanted.
            seed: of all draws.

        Raises:
            UserError: for a single class, or a class without a row.
        """
        rows = np.random.default_rng(seed).permutation(len(labels))
        counts = np.bincount(labels, minlength=num_classes)
        if not counts.all():
            raise UserError(
                f"class {int(counts.argmin())} has no training row; NP-Mix mixes rows of every class."
            )
        size = min(65, int(counts.min()))
        dtype = torch.float64 if features.dtype == np.float64 else torch.float32
        bank = EmbeddingBank(num_classes, features.shape[1], size, dtype=dtype)
        for label in range(num_classes):
            chosen = np.sort(rows[labels[rows] == label][:size])
            bank.push(torch.tensor(features[chosen], dtype=dtype), torch.from_numpy(labels[chosen]))
        generator = torch.Generator().manual_seed(seed)
        mixed = [self(bank, generator).embeddings.numpy() for _ in range(-(-count // num_classes))]
        return np.concatenate(mixed)[:count]

    @torch.no_grad()
    def __call__(self, bank: EmbeddingBank, generator: torch.Generator | None = None) -> Outliers:
        """Draw one outlier a class, ``[C, D]``.

        ``info`` holds ``neighbours``, int64 ``[C]``: the class that class c was mixed with, never c itself; ``lam``,
        ``[C]`` in [0, 1], the weight of class c's own row, in the embeddings' dtype; and ``rows``, int64 ``[C, 2]``,
        slots in the bank: row c is ``lam[c] * bank.embeddings[c, rows[c, 0]] + (1 - lam[c]) *
        bank.embeddings[neighbours[c], rows[c, 1]]``.

        Args:
            bank: full; C >= 2 classes.
            generator: one 64-bit number is drawn from it and seeds NumPy's generator for this call (torch
                offers no seeded Beta); None takes torch's global CPU generator.  The same state and bank give
                the same outliers under one NumPy version.

        Raises:
            UserError: when the bank isn't full, or has a single class.
        """
        classes = bank.num_classes
        if classes < 2:
            raise UserError("NP-Mix mixes a class with another one; the bank has a single class.")
        bank.require_full()
        nearest = bank.nearest(min(self.num_neighbors, classes - 1))
        rng = numpy_generator(generator)
        pick = torch.from_numpy(rng.integers(nearest.shape[1], size=(classes, 1))).to(bank.device)
        neighbours = nearest.gather(1, pick).squeeze(1)
        pairs = torch.stack((torch.arange(classes, device=bank.device), neighbours), dim=1)
        mixed, drawn = mix_rows(bank, pairs, self.alpha, rng)
        return Outliers(mixed, {"neighbours": neighbours, **drawn})
