"""HEAT: two densities of embeddings, each corrected by a small energy network, and combined."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.special import logsumexp

from ..arrays import Scores
from ..linalg.rows import Floats
from ..linalg.spectra import EPS, squared_distances
from ..registry import POSTPROCESSORS
from .base import Postprocessor
from .params import ScoreInfo, require_number, require_whole
from .rows import Rows
from .trained import (
    TrainingParams,
    applied,
    components,
    require_trained,
    row_batches,
    training,
    unit_components,
    weights_of,
)
from .unit_norm import unit_moments

if TYPE_CHECKING:
    from .shared import Shared

SLOPE = 0.2
"""Of the leaky ReLUs, the authors'."""
DATA_NOISE = 1e-4
"""Deviation of the noise on the rows that the loss sees, the authors'."""


class Chain(NamedTuple):
    """How a prior is corrected, with the authors' values for CIFAR-10.

    Attributes:
        prior: what the prior's energy is divided by.
        step, noise: Langevin dynamics' first step size and deviation; both fall to a tenth, quadratically.
        penalty: weight of the squared energies.
    """

    prior: float
    step: float
    noise: float
    penalty: float


DENSITY, ENERGY = Chain(1e3, 1e-4, 5e-3, 10.0), Chain(1.0, 0.1, 0.1, 0.1)


@POSTPROCESSORS.register("heat")
class HEAT(Postprocessor):
    """Minus combined energies E_k(x) = P_k(x) / T_k + g_k(x) of two priors: a Gaussian mixture and the logits' energy.

    P_1 is minus the log density of x / ‖x‖ (one component a class, one covariance), P_2 = -log Σ exp z.  Each g_k is a
    network, trained by contrastive divergence: small on training rows, large on samples of Langevin dynamics on E_k.
    Energies are brought to mean 0 and deviation 1 on training rows, and combined as (1 / β) log Σ exp(β E_k); β = 0
    adds them.  All of it is on leading components, the authors' option.  Their third prior needs the spread of feature
    maps, which embeddings don't hold.  (In their code the hidden layers share one weight, since a list is multiplied;
    here each has its own, as in the paper.)
    """

    name = "heat"
    info = ScoreInfo(
        title="Hybrid Energy Based Model in the Feature Space for Out-of-Distribution Detection",
        authors="Marc Lafon, Elias Ramzi, Clément Rambour, Nicolas Thome",
        venue="ICML",
        year=2023,
        url="https://arxiv.org/abs/2305.16966",
    )
    needs = frozenset({"train"})
    grows = "2 `dim` numbers a training row"
    needs_head = True
    fit_reads_params = True

    @dataclass(frozen=True)
    class Params(TrainingParams):
        """Parameters: ``beta`` and the number of hidden ``layers`` (0 and 2: the defaults of the authors' code);
        ``dim``, components at most, ``hidden`` units, ``langevin`` steps, ``steps``, ``lr``, ``batch_size`` and
        ``seed`` (64, 256, 10, 200, 0.001, 64 and 0, ours: theirs are all components, 1024, 40 or 50, some 500 to 2000,
        0.00001 and 256 or 1024).
        """

        steps: int = 200
        beta: float = 0.0
        dim: int = 64
        hidden: int = 256
        layers: int = 2
        langevin: int = 10

        def __post_init__(self) -> None:
            super().__post_init__()
            require_number("beta", self.beta, -1e30)
            for name in ("dim", "hidden", "layers", "langevin"):
                require_whole(name, getattr(self, name), 1)

    params: Params

    def learn(self, shared: Shared) -> None:
        """Fit both priors, and train their corrections.

        Raises:
            UserError: for a label outside the classes, or a class without a row; where training diverges.
        """
        import torch  # here: scores that need no torch shouldn't wait for it

        shared.require_classes()
        train, size = shared.train_set, self.params.dim
        self._unit_vectors = unit_components(shared, size).vectors
        self._unit_middle = unit_moments(shared).mean @ self._unit_vectors
        self._mean = shared.mean
        values, self._vectors = components(shared, size)
        self._spread = float(np.sqrt(values.mean())) if len(values) else 1.0
        inputs = (
            np.empty((len(train), self._unit_vectors.shape[1])),
            np.empty((len(train), self._vectors.shape[1])),
            np.empty(len(train)),
        )
        blocks: list[slice] = []
        for parts in shared.of_blocks(self._inputs, train):
            start = blocks[-1].stop if blocks else 0
            blocks.append(slice(start, start + len(parts[0])))
            for whole, part in zip(inputs, parts, strict=True):
                whole[blocks[-1]] = part
        density, energy, _ = inputs
        self._fit_mixture(density, np.asarray(train.labels), shared.num_classes)
        total = training(self, shared, 2 * self.params.steps)
        with total as stepped:
            self._corrections = [
                self._corrected(torch, *each, stepped)
                for each in (
                    (density, *self._mixture(torch), DENSITY),
                    (energy, *self._logits(torch), ENERGY),
                )
            ]
        found = np.concatenate([self._energies(*(whole[each] for whole in inputs)) for each in blocks])
        deviations = found.std(axis=0)
        self._usual, self._deviations = found.mean(axis=0), np.where(deviations > 0.0, deviations, 1.0)

    def _inputs(self, rows: Rows) -> tuple[Floats, Floats, Floats]:
        """Return the inputs of both corrections, ``[B, dim]`` each, and the logits' energy ``[B]``."""
        unit = rows.unit_products(self._unit_vectors) - self._unit_middle
        inside = (rows.features @ self._vectors - self._mean @ self._vectors) / self._spread
        return unit, inside, -logsumexp(rows.own_logits, axis=1)

    def _fit_mixture(self, rows: Floats, labels: Any, classes: int) -> None:
        counts = np.bincount(labels, minlength=classes)
        means = np.stack([rows[labels == each].mean(axis=0) for each in range(classes)])
        about = means[labels]
        np.subtract(rows, about, out=about)
        values, vectors = np.linalg.eigh(about.T @ about / len(rows))
        # of the rows' own variance: where each class is one point, all within it is rounding
        kept = values > len(values) * EPS * np.square(rows, out=about).mean()
        values, vectors = values[kept], vectors[:, kept]
        self._whiten, self._root = vectors / np.sqrt(values), vectors * np.sqrt(values)
        self._means, self._log_shares = means, np.log(counts / counts.sum())

    def _mixture(self, torch: Any) -> tuple[Callable[[Any], Any], Callable[[int], Any]]:
        """Return the slope of the mixture's energy, and samples of it."""
        whiten, root, means, shares = (
            torch.from_numpy(each.astype(np.float32))
            for each in (self._whiten, self._root, self._means, self._log_shares)
        )

        centres = means @ whiten

        def slope(values: Any) -> Any:
            white = values @ whiten
            near = torch.softmax(shares - 0.5 * torch.cdist(white, centres).square(), dim=1)
            return (white - near @ centres) @ whiten.T

        def drawn(count: int) -> Any:
            which = torch.multinomial(shares.exp(), count, replacement=True)
            return means[which] + torch.randn(count, root.shape[1]) @ root.T

        return slope, drawn

    def _logits(self, torch: Any) -> tuple[Callable[[Any], Any], Callable[[int], Any]]:
        """Return the slope of the logits' energy of a row that lies in the components, and normal samples."""
        assert self.head is not None
        weight = torch.from_numpy((self.head.weight @ self._vectors * self._spread).astype(np.float32))
        bias = torch.from_numpy(np.asarray(self.head.logits(self._mean[None])[0], dtype=np.float32))
        return (
            lambda values: -(torch.softmax(torch.addmm(bias, values, weight.T), dim=1) @ weight),
            lambda count: torch.randn(count, weight.shape[1]),
        )

    def _corrected(self, torch: Any, rows: Floats, prior: Callable[[Any], Any], drawn: Callable[[int], Any],
                   chain: Chain, stepped: Callable[[], object]) -> list[tuple[Floats, Floats]]:  # fmt: skip
        """Train one correction; return its layers."""
        settings, data = self.params, torch.from_numpy(rows.astype(np.float32))
        sizes = [data.shape[1], *[settings.hidden] * (settings.layers + 1)]
        layers: list[Any] = []
        for inner, outer in pairwise(sizes):
            layers += [torch.nn.Linear(inner, outer), torch.nn.LeakyReLU(SLOPE)]
        network = torch.nn.Sequential(*layers, torch.nn.Linear(sizes[-1], 1))
        optimiser = torch.optim.Adam(network.parameters(), lr=settings.lr, betas=(0.0, 0.999), fused=True)
        for chosen in row_batches(len(data), settings.batch_size, settings.steps, settings.seed):
            known = data[torch.from_numpy(chosen)]
            start = drawn(len(known))
            with torch.no_grad():
                moved = langevin(
                    torch,
                    lambda z: slope_of(network, z) + prior(z) / chain.prior,
                    start,
                    chain,
                    settings.langevin,
                )
            both = torch.cat([known, moved, start])
            energy = network(both + DATA_NOISE * torch.randn_like(both))[:, 0]
            real, made = energy[: len(known)], energy[len(known) :]
            loss = real.mean() - made.mean() + chain.penalty * (real.square().mean() + made.square().mean())
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            stepped()
        require_trained(self.name, network.parameters())
        return weights_of(network)

    def _energies(self, density: Floats, energy: Floats, logits: Floats) -> Floats:
        """Return ``[B, 2]``, the corrected energies, of what `_inputs` returns."""
        middle = self._means.mean(axis=0)
        squared = squared_distances((density - middle) @ self._whiten, (self._means - middle) @ self._whiten)
        mixture = -logsumexp(self._log_shares - 0.5 * squared, axis=1)
        priors = (mixture / DENSITY.prior, logits / ENERGY.prior)
        inputs = zip(priors, (density, energy), self._corrections, strict=True)
        return np.stack([prior + applied(layers, x, SLOPE)[:, 0] for prior, x, layers in inputs], axis=1)

    def score_rows(self, rows: Rows) -> Scores:
        """Return minus each row's combined energy."""
        energies, beta = (
            (self._energies(*self._inputs(rows)) - self._usual) / self._deviations,
            self.params.beta,
        )
        combined = energies.sum(axis=1) if beta == 0.0 else logsumexp(beta * energies, axis=1) / beta
        return Scores(rows.pred, -combined)


def langevin(torch: Any, slope: Callable[[Any], Any], start: Any, chain: Chain, steps: int) -> Any:
    """Return what Langevin dynamics on an energy of a ``slope`` make of the samples ``start`` ``[n, dim]``."""
    values = start
    for step in range(steps):
        share = 0.1 + 0.9 * (1.0 - step / steps) ** 2
        values = values - share * (chain.step * slope(values) + chain.noise * torch.randn_like(values))
    return values


def slope_of(network: Any, values: Any) -> Any:
    """Return ``[n, dim]``, the gradient of each row's output by the row, of linear layers with leaky ReLUs between."""
    *hidden, last = network[::2]
    slopes = []
    for layer in hidden:
        values = layer(values)
        slopes.append((values > 0.0) * (1.0 - SLOPE) + SLOPE)
        values = values * slopes[-1]
    found = last.weight
    for layer, slope in zip(reversed(hidden), reversed(slopes), strict=True):
        found = (found * slope) @ layer.weight
    return found
