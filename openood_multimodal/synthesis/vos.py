"""VOS: virtual outliers of low likelihood under class-conditional Gaussians (Du et al., ICLR 2022)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import chdtri

from ..registry import SYNTHESES
from .bank import EmbeddingBank
from .drawing import numpy_generator, require_at_least, require_positive
from .outliers import Outliers


@SYNTHESES.register("vos")
@dataclass(frozen=True)
class VOS:
    """One outlier a class: the least likely of ``num_candidates`` draws from the class's Gaussian.

    The classes' Gaussians have their banked means and one covariance, that of the rows' deviations from their class
    mean, plus ``ridge`` on the diagonal, as in the authors' code.

    The candidates needn't be drawn.  A draw is μ + Σ^½ g with g of standard normal entries, and its likelihood falls
    with |g|², which follows χ² with D degrees of freedom; the direction of g is independent of it.  So the
    |g|² of the least likely of n draws is the largest of n such values, whose distribution function is the
    n-th power of χ²'s.  It is drawn by inversion, and the direction uniformly.

    Args:
        num_candidates: n >= 1; the authors' 10 000.
        num_rows: R >= 1, the rows that a step estimates the covariance from: all, where the bank has no more, otherwise
            R drawn with replacement.  It bounds a step's cost, which doesn't grow with the bank.
        ridge: added to the variance in every direction; the authors' 1e-4.

    Raises:
        UserError: when a parameter is out of range.
    """

    num_candidates: int = 10_000
    num_rows: int = 256
    ridge: float = 1e-4

    def __post_init__(self) -> None:
        require_at_least(1, "VOS", num_candidates=self.num_candidates, num_rows=self.num_rows)
        require_positive("VOS", ridge=self.ridge)

    @torch.no_grad()
    def __call__(self, bank: EmbeddingBank, generator: torch.Generator | None = None) -> Outliers:
        """Draw ``[C, D]``.

        ``info`` holds ``rows``, int64 ``[R, 2]``: class and slot of what the covariance was estimated from; and
        ``squared_distances``, float64 ``[C]``: each outlier's squared Mahalanobis distance from its class mean.

        Args:
            bank: full.
            generator: as NP-Mix's.

        Raises:
            UserError: when the bank isn't full.
        """
        bank.require_full()
        rng, total = numpy_generator(generator), bank.num_classes * bank.size
        drawn = np.arange(total) if total <= self.num_rows else rng.integers(total, size=self.num_rows)
        chosen = torch.from_numpy(drawn).to(bank.device)
        classes, slots = chosen // bank.size, chosen % bank.size

        quantile = np.log(rng.random(bank.num_classes)) / self.num_candidates
        squared = torch.from_numpy(chdtri(bank.dim, -np.expm1(quantile))).to(bank.device)
        normal = rng.standard_normal((bank.num_classes, bank.dim), dtype=np.float32)
        g = torch.from_numpy(normal).to(bank.device, torch.promote_types(bank.dtype, torch.float32))
        g *= (squared.to(g.dtype).sqrt() / torch.linalg.vector_norm(g, dim=1)).unsqueeze(1)

        means = bank.prototypes().to(g.dtype)
        deviations = (bank.embeddings[classes, slots].to(g.dtype) - means[classes]) / math.sqrt(len(chosen))
        deviations_along = self._times_root(g, deviations)
        info = {"rows": torch.stack((classes, slots), dim=1), "squared_distances": squared}
        return Outliers((means + deviations_along).to(bank.dtype), info)

    def _times_root(self, g: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
        """Return ``g Σ^½`` for Σ = AᵀA + ridge · 1 with A ``[R, D]``, without a D × D matrix.

        Outside the span of A, Σ^½ is √ridge; within, its eigenvalues are those of the R × R matrix AAᵀ.
        """
        variances, vectors = torch.linalg.eigh(factor @ factor.T)
        kept = variances > 100 * torch.finfo(g.dtype).eps * variances[-1]  # below, they are rounding errors
        variances = variances[kept]
        axes = (vectors[:, kept].T @ factor) / variances.sqrt().unsqueeze(1)  # orthonormal rows
        stretch = (variances + self.ridge).sqrt() - math.sqrt(self.ridge)
        return math.sqrt(self.ridge) * g + ((g @ axes.T) * stretch) @ axes
