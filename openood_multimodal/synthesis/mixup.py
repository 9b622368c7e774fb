"""Mixup of random classes (Zhang et al., ICLR 2018), as the paper of MultiOOD compares it with NP-Mix (Table 6)."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..registry import SYNTHESES
from .bank import EmbeddingBank
from .drawing import mix_rows, numpy_generator, require_positive
from .outliers import Outliers


@SYNTHESES.register("mixup")
@dataclass(frozen=True)
class Mixup:
    """As many outliers as classes, each ``λ Z1 + (1 − λ) Z2`` of two uniformly drawn rows of any classes.

    The classes are drawn independently, so that one mix in C is within a class: the paper's objection to it.

    Args:
        alpha: α > 0 of λ ~ Beta(α, α).  The paper doesn't state it; the default is NP-Mix's, so that only the choice
            of the rows differs.

    Raises:
        UserError: when ``alpha`` isn't a finite number above 0.
    """

    alpha: float = 10.0

    def __post_init__(self) -> None:
        require_positive("mixup", alpha=self.alpha)

    @torch.no_grad()
    def __call__(self, bank: EmbeddingBank, generator: torch.Generator | None = None) -> Outliers:
        """Draw ``[C, D]``.

        ``info`` holds ``classes``, int64 ``[C, 2]``; ``lam`` and ``rows`` as NP-Mix's.

        Args:
            bank: full.
            generator: as NP-Mix's.

        Raises:
            UserError: when the bank isn't full.
        """
        bank.require_full()
        rng = numpy_generator(generator)
        drawn = rng.integers(bank.num_classes, size=(bank.num_classes, 2))
        classes = torch.from_numpy(drawn).to(bank.device)
        mixed, info = mix_rows(bank, classes, self.alpha, rng)
        return Outliers(mixed, {"classes": classes, **info})
