"""What syntheses share: one seeded source of random numbers a call, and mixes of two rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import UserError
from .bank import EmbeddingBank


def numpy_generator(generator: torch.Generator | None) -> np.random.Generator:
    """Return NumPy's generator, seeded with one 64-bit number from ``generator`` (None: torch's global CPU one)."""
    device = generator.device if generator is not None else "cpu"
    seed = torch.randint(2**63 - 1, (), generator=generator, device=device)
    return np.random.default_rng(int(seed))


def require_at_least(least: int, synthesis: str, **values: int) -> None:
    """Raise a UserError that names the first of ``values`` below ``least``."""
    for name, value in values.items():
        if value < least:
            raise UserError(f"{synthesis} needs {name} >= {least}, got {value}.")


def require_positive(synthesis: str, **values: float) -> None:
    """Raise a UserError that names the first of ``values`` that isn't positive and finite."""
    for name, value in values.items():
        if not (value > 0 and np.isfinite(value)):
            raise UserError(f"{synthesis} needs a finite {name} > 0, got {value}.")


def mix_rows(
    bank: EmbeddingBank, labels: Tensor, alpha: float, rng: np.random.Generator
) -> tuple[Tensor, dict[str, Tensor]]:
    """Draw a row of each of two classes, and λ ~ Beta(α, α); return the mixes and what was drawn.

    Args:
        bank: full.
        labels: int64 ``[K, 2]`` on the bank's device.
        alpha: α > 0.
        rng: rows are drawn before λ.

    Returns:
        ``λ Z1 + (1 − λ) Z2``, ``[K, D]``, and ``lam [K]`` in the bank's dtype with ``rows``, int64 ``[K, 2]``, slots.
    """
    count = len(labels)
    rows = _on(bank, rng.integers(bank.size, size=(count, 2)))
    lam = _on(bank, rng.beta(alpha, alpha, size=count)).to(bank.dtype)
    mixed = bank.weighted_rows(labels, rows, torch.stack((lam, 1 - lam), dim=1))
    return mixed, {"lam": lam, "rows": rows}


def _on(bank: EmbeddingBank, values: Any) -> Tensor:
    return torch.from_numpy(values).to(bank.device)
