"""What scores share that train a small network on the embeddings: seed, bar, batches, and the check at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..linalg.rows import Floats
from ..linalg.spectra import EPS, Eigen, leading_eigenpairs
from ..progress import progress_bar
from .base import Postprocessor
from .params import require_number, require_whole
from .unit_norm import unit_moments

if TYPE_CHECKING:
    from .shared import Shared


@dataclass(frozen=True)
class TrainingParams(Postprocessor.Params):
    """Parameters of scores whose network is trained for a number of ``steps``, whatever the number of rows."""

    steps: int = 500
    lr: float = 0.001
    batch_size: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        require_whole("steps", self.steps, 1)
        require_number("lr", self.lr, 0.0, 1e30, above=True)
        require_whole("batch_size", self.batch_size, 1)
        require_whole("seed", self.seed, 0)


@contextmanager
def training(score: Postprocessor, shared: Shared, steps: int) -> Iterator[Callable[[], object]]:
    """Train inside: torch's random numbers are the score's own, gradients are on.  Call what it gives after each step.

    Args:
        score: its parameter ``seed`` is taken, and its name for the bar.
        shared: whether a bar is shown.
        steps: how many there will be.
    """
    import torch  # here: scores that need no torch shouldn't wait for it

    with (
        torch.random.fork_rng(devices=[]),
        torch.enable_grad(),
        progress_bar(total=steps, desc=score.name, leave=False, quiet=not shared.options.progress) as bar,
    ):
        torch.manual_seed(getattr(score.params, "seed", 0))
        yield bar.update


def row_batches(count: int, size: int, steps: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """Yield ``steps`` batches of row numbers, each sorted: all rows in random order, then all again."""
    random = np.random.default_rng(seed)
    order = random.permutation(count)
    start = 0
    for _ in range(steps):
        if start >= count:
            order, start = random.permutation(count), 0
        yield np.sort(order[start : start + size])
        start += size


def require_trained(name: str, weights: Iterable[Any]) -> None:
    """Raise `UserError` where a weight of a trained network isn't finite; ``name`` is the score."""
    if not all(bool(each.isfinite().all()) for each in weights):
        raise UserError(f"{name}: training diverged; set a smaller {name}.lr.")


def components(shared: Shared, size: int) -> Eigen:
    """Return at most ``size`` leading eigenpairs above rounding of the training rows' covariance.  They are shared."""
    return shared.once(f"{size} components", lambda: _components(shared.covariance(), size))


def unit_components(shared: Shared, size: int) -> Eigen:
    """Return the same of the training rows divided by their norms."""
    return shared.once(f"{size} unit components", lambda: _components(unit_moments(shared).covariance, size))


def _components(covariance: Floats, size: int) -> Eigen:
    """Vectors have a positive largest entry: a sign is rounding's choice, and what is learnt shouldn't be."""
    values, vectors = leading_eigenpairs(covariance, min(size, len(covariance)))
    kept = values > len(covariance) * EPS * values.max(initial=0.0)
    largest = np.abs(vectors).argmax(axis=0)
    return Eigen(values[kept], (vectors * np.sign(vectors[largest, np.arange(len(values))]))[:, kept])


def weights_of(network: Any) -> list[tuple[Floats, Floats]]:
    """Return the float64 weight ``[out, in]`` and bias ``[out]`` of every linear layer of a torch network, in order."""
    import torch

    return [
        (each.weight.detach().numpy().astype(np.float64), each.bias.detach().numpy().astype(np.float64))
        for each in network.modules()
        if isinstance(each, torch.nn.Linear)
    ]


def applied(layers: list[tuple[Floats, Floats]], values: Floats, slope: float = 0.0) -> Floats:
    """Return what linear ``layers`` make of ``values`` ``[B, in]``, with (leaky) ReLUs between them."""
    for place, (weight, bias) in enumerate(layers):
        values = values if place == 0 else np.where(values > 0.0, values, slope * values)
        values = values @ weight.T
        values += bias
    return values


@dataclass(frozen=True)
class Standard:
    """What (x - ``mean``) / ``scale`` is made with: ``mean`` ``[D]``, ``scale`` ``[D]`` or a number."""

    mean: Floats
    scale: Floats | float

    def float32(self, features: NDArray[Any]) -> NDArray[np.float32]:
        """Return it for features ``[B, D]``; features wider than float32 are rounded last."""
        dtype = np.result_type(features.dtype, np.float32)
        values = np.subtract(features, self.mean.astype(dtype), dtype=dtype)
        values /= np.asarray(self.scale, dtype=dtype)
        return values.astype(np.float32, copy=False)

    def applied(self, layers: list[tuple[Floats, Floats]], features: Floats) -> Floats:
        """Return what linear ``layers`` make of it, with ReLUs between them; it isn't made."""
        (weight, bias), *rest = layers
        weight = weight / self.scale
        return applied([(weight, bias - weight @ self.mean), *rest], features)
