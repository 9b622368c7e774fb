"""NPOS: outliers around boundary samples, found by nearest neighbours (Tao et al., ICLR 2023)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..errors import UserError
from ..registry import SYNTHESES
from .bank import EmbeddingBank
from .drawing import numpy_generator, require_at_least, require_positive
from .outliers import Outliers


@SYNTHESES.register("npos")
@dataclass(frozen=True)
class NPOS:
    """One outlier a class: the farthest of some Gaussian draws around a boundary sample of the class.

    Of a class's rows, the ``num_boundary`` with the greatest distance to their k-th nearest row of the class are its
    boundary; one of them is drawn.  Of ``num_candidates`` points around it, the one with the greatest distance to
    its k-th nearest row is the outlier.

    The authors add noise of standard deviation 0.1 to embeddings of unit norm and width 128.  Embeddings here have any
    norm and width, so the noise is given in units of the class's own spread, and distances are Euclidean.

    Args:
        num_neighbors: k >= 1; where a class has fewer other rows, the farthest of them.
        num_rows: rows of a class that a step looks at, >= 2: consecutive slots of the bank from a random one on.  It
            bounds a step's cost, which doesn't grow with the bank.
        num_boundary: rows that are drawn from, >= 1.
        num_candidates: >= 1.
        std: > 0, of the noise in every channel, times the root mean square deviation of the class's rows from their
            mean.

    Raises:
        UserError: when a parameter is out of range.
    """

    num_neighbors: int = 8
    num_rows: int = 32
    num_boundary: int = 4
    num_candidates: int = 16
    std: float = 1.0

    def __post_init__(self) -> None:
        require_at_least(2, "NPOS", num_rows=self.num_rows)
        require_at_least(1, "NPOS", num_neighbors=self.num_neighbors, num_boundary=self.num_boundary)
        require_at_least(1, "NPOS", num_candidates=self.num_candidates)
        require_positive("NPOS", std=self.std)

    def check(self, bank: EmbeddingBank) -> None:
        """Raise a UserError when the bank holds one row a class."""
        if bank.size < 2:
            raise UserError("NPOS compares a class's rows; a bank of size 1 has one. Raise its size.")

    @torch.no_grad()
    def __call__(self, bank: EmbeddingBank, generator: torch.Generator | None = None) -> Outliers:
        """Draw ``[C, D]``.

        ``info`` holds ``slots``, int64 ``[C, R]``, of the rows looked at; ``boundary``, int64 ``[C]``, the slot of the
        boundary sample; ``std``, ``[C]``, of the noise; and ``distances``, ``[C, num_candidates]``, of the candidates
        to their k-th nearest row: the outlier has the greatest.

        Args:
            bank: full, with at least two rows a class.
            generator: as NP-Mix's.

        Raises:
            UserError: when the bank isn't full, or holds one row a class.
        """
        self.check(bank)
        bank.require_full()
        rng, classes = numpy_generator(generator), bank.num_classes
        looked_at = min(self.num_rows, bank.size)
        start = rng.integers(bank.size, size=(classes, 1))
        slots = torch.from_numpy((start + np.arange(looked_at)) % bank.size).to(bank.device)
        every = torch.arange(classes, device=bank.device)
        precise = torch.promote_types(bank.dtype, torch.float32)
        means = bank.prototypes().to(precise)
        # about their mean, so that distances from matrix products lose no digits to a common offset
        rows = bank.embeddings[every.unsqueeze(1), slots].to(precise) - means.unsqueeze(1)

        near = min(self.num_neighbors, looked_at - 1)
        boundary = min(self.num_boundary, looked_at)
        own = _distance_to(rows, rows, near + 1)  # the nearest is the row itself
        pick = torch.from_numpy(rng.integers(boundary, size=(classes, 1))).to(bank.device)
        place = own.topk(boundary, dim=1).indices.gather(1, pick).squeeze(1)

        spread = (rows - rows.mean(1, keepdim=True)).square().mean((1, 2)).sqrt()
        noise = rng.standard_normal((classes, self.num_candidates, bank.dim), dtype=np.float32)
        candidates = torch.from_numpy(noise).to(bank.device, rows.dtype)
        candidates *= self.std * spread[:, None, None]
        candidates += rows[every, place].unsqueeze(1)
        distances = _distance_to(candidates, rows, near)
        farthest = candidates[every, distances.argmax(1)] + means
        return Outliers(
            farthest.to(bank.dtype),
            {
                "slots": slots,
                "boundary": slots[every, place],
                "std": self.std * spread,
                "distances": distances,
            },
        )


def _distance_to(points: Tensor, rows: Tensor, near: int) -> Tensor:
    """Return each point's distance to its ``near``-th nearest of ``rows [C, R, D]``: ``[C, P]``."""
    return torch.cdist(points, rows, compute_mode="use_mm_for_euclid_dist").kthvalue(near, dim=2).values
