"""NPOS: outliers around boundary samples, found by nearest neighbours (Tao et al., ICLR 2023)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

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

    The candidates' noise isn't drawn.  A candidate's distances to the rows depend on its noise's products with the
    R differences between them, which are Gaussian with the differences' products for a covariance, and on the length
    of the rest, which follows χ with D − R degrees of freedom, in a uniform direction.  So these alone are drawn for
    a candidate, and the outlier alone gets all D channels.

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
        # from the first of them on, so that distances from matrix products lose no digits to a common offset
        at = (every.unsqueeze(1) * bank.size + slots).flatten()
        rows = bank.embeddings.flatten(0, 1).index_select(0, at).view(classes, looked_at, -1).to(precise)
        first = rows[:, 0].clone()
        rows -= first.unsqueeze(1)
        products = rows @ rows.mT  # [C, R, R]
        squares = products.diagonal(dim1=1, dim2=2)
        apart = (squares.unsqueeze(1) + squares.unsqueeze(2) - 2 * products).clamp_min(0)

        near = min(self.num_neighbors, looked_at - 1)
        boundary = min(self.num_boundary, looked_at)
        own = apart.kthvalue(near + 1, dim=2).values  # the nearest is the row itself
        pick = torch.from_numpy(rng.integers(boundary, size=(classes, 1))).to(bank.device)
        place = own.topk(boundary, dim=1).indices.gather(1, pick).squeeze(1)

        spread = (squares.mean(1) - products.mean((1, 2))).clamp_min(0) / bank.dim
        std = self.std * spread.sqrt()
        noise = _Noise(rows[:, 1:], products[:, 1:, 1:], rng, self.num_candidates)
        along = pad(noise.along, (1, 0))  # the first row is 0
        along = along - along[every, :, place].unsqueeze(2)  # (row − boundary sample) · noise
        to_rows = apart[every, place].unsqueeze(1) - 2 * std[:, None, None] * along
        to_rows += (std.square()[:, None] * noise.squared).unsqueeze(2)
        distances = to_rows.kthvalue(near, dim=2).values.clamp_min(0).sqrt()
        outlier = rows[every, place] + std.unsqueeze(1) * noise.whole(distances.argmax(1)) + first
        return Outliers(
            outlier.to(bank.dtype),
            {"slots": slots, "boundary": slots[every, place], "std": std, "distances": distances},
        )


class _Noise:
    """Standard Gaussian noise in D channels for n candidates a class, of which only what distances depend on is drawn.

    Args:
        rows: ``[C, R, D]``.
        products: ``rows @ rows.mT``.
        rng: the source.
        count: n.

    Attributes:
        along: ``[C, n, R]``, the noise's products with the rows.
        squared: ``[C, n]``, its squared length.
    """

    def __init__(self, rows: Tensor, products: Tensor, rng: np.random.Generator, count: int) -> None:
        classes, looked_at, dim = rows.shape
        self.rows, self.rng = rows, rng
        self.rest = dim - looked_at
        # Coordinates of the noise: along an orthonormal basis of the rows, or all, where there are no more than rows.
        self.coordinates = self._normal(classes, count, min(looked_at, dim))
        self.squared = self.coordinates.square().sum(2)
        if self.rest > 0:
            ridge = 1e3 * torch.finfo(rows.dtype).eps * products.diagonal(dim1=1, dim2=2).mean(1)
            ridge = ridge.clamp_min(torch.finfo(rows.dtype).tiny)[:, None, None]
            self.root = torch.linalg.cholesky(products + ridge * torch.eye(looked_at).to(rows))
            self.along = self.coordinates @ self.root.mT
            chi = rng.chisquare(self.rest, size=(classes, count))
            self.beyond = torch.from_numpy(chi).to(rows)
            self.squared = self.squared + self.beyond
        else:
            self.along = self.coordinates @ rows.mT

    def _normal(self, *shape: int) -> Tensor:
        return torch.from_numpy(self.rng.standard_normal(shape, dtype=np.float32)).to(self.rows)

    def whole(self, chosen: Tensor) -> Tensor:
        """Return the noise of one candidate a class, ``[C, D]``; ``chosen`` is int64 ``[C]``."""
        classes, _, dim = self.rows.shape
        every = torch.arange(classes, device=self.rows.device)
        own = self.coordinates[every, chosen].unsqueeze(2)  # [C, R, 1]
        if self.rest <= 0:
            return own.squeeze(2)
        direction = self._normal(classes, dim)
        inside = torch.linalg.solve_triangular(self.root, self.rows @ direction.unsqueeze(2), upper=False)
        length = (
            (direction.square().sum(1) - inside.square().sum((1, 2)))
            .clamp_min(torch.finfo(own.dtype).tiny)
            .sqrt()
        )
        scale = self.beyond[every, chosen].sqrt() / length
        weights = torch.linalg.solve_triangular(self.root.mT, own - scale[:, None, None] * inside, upper=True)
        return scale.unsqueeze(1) * direction + (weights.mT @ self.rows).squeeze(1)
