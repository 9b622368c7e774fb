"""Density of a normalizing flow that is trained on the embeddings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arrays import Scores
from ..errors import UserError
from ..linalg.rows import Floats
from ..registry import POSTPROCESSORS
from .base import Postprocessor
from .params import ScoreInfo, require_number, require_whole
from .rows import Rows
from .trained import components, require_trained, training

if TYPE_CHECKING:
    from .shared import Shared


@POSTPROCESSORS.register("flow")
class Flow(Postprocessor):
    """Log density of a RealNVP flow: log N(g(v); 0, I) + log |det ∂g/∂v|, v the whitened leading components of x.

    g is a chain of affine coupling layers, each of which scales and shifts one half of v by two-layer networks of the
    other half; scales are exp of values within ±2.  It is fitted to the training rows by maximum likelihood.
    """

    name = "flow"
    info = ScoreInfo(
        title="Density estimation using Real NVP",
        authors="Laurent Dinh, Jascha Sohl-Dickstein, Samy Bengio",
        venue="ICLR",
        year=2017,
        url="https://arxiv.org/abs/1605.08803",
    )
    needs = frozenset({"train"})
    grows = "`dim` float32 numbers a training row"
    fit_reads_params = True

    @dataclass(frozen=True)
    class Params(Postprocessor.Params):
        """Parameters, all ours: ``dim``, components at most; ``layers``, ``hidden`` units, ``epochs``, ``lr``,
        ``batch_size``, ``weight_decay`` and ``seed``.
        """

        dim: int = 64
        layers: int = 6
        hidden: int = 128
        epochs: int = 20
        lr: float = 0.001
        batch_size: int = 256
        weight_decay: float = 0.01
        seed: int = 0

        def __post_init__(self) -> None:
            require_whole("dim", self.dim, 2)
            for name in ("layers", "hidden", "epochs", "batch_size"):
                require_whole(name, getattr(self, name), 1)
            require_number("lr", self.lr, 0.0, 1e30, above=True)
            require_number("weight_decay", self.weight_decay, 0.0)
            require_whole("seed", self.seed, 0)

    params: Params

    def learn(self, shared: Shared) -> None:
        """Train the flow on the whitened training rows.

        Raises:
            UserError: where the training rows vary in fewer than 2 directions; where training diverges.
        """
        import torch  # here: scores that need no torch shouldn't wait for it

        train = shared.train_set
        self._mean = shared.mean
        values, vectors = components(shared, self.params.dim)
        if len(values) < 2:
            raise UserError(
                "flow: the training features vary in fewer than 2 directions, so there is no density."
            )
        self._whiten: Floats = vectors / np.sqrt(values)
        blocks = shared.of_blocks(lambda rows: self._components(rows.features).astype(np.float32), train)
        self._net = self._trained(torch, torch.from_numpy(np.concatenate(list(blocks))), shared)
        require_trained(self.name, self._net.parameters())
        self._net.double()

    def _components(self, features: Floats) -> Floats:
        return np.asarray(features @ self._whiten - self._mean @ self._whiten)

    def _trained(self, torch: Any, data: Any, shared: Shared) -> Any:
        settings, dim = self.params, data.shape[1]
        batches = -(-len(data) // settings.batch_size)
        with training(self, shared, settings.epochs * batches) as stepped:
            net = torch.nn.ModuleList(
                torch.nn.Sequential(
                    torch.nn.Linear(dim - dim // 2 if layer % 2 else dim // 2, settings.hidden),
                    torch.nn.ReLU(),
                    torch.nn.Linear(settings.hidden, 2 * (dim // 2 if layer % 2 else dim - dim // 2)),
                )
                for layer in range(settings.layers)
            )
            for each in net:  # the flow starts as the identity
                torch.nn.init.zeros_(each[2].weight)
                torch.nn.init.zeros_(each[2].bias)
            optimiser = torch.optim.AdamW(
                net.parameters(), lr=settings.lr, weight_decay=settings.weight_decay, fused=True
            )
            for _ in range(settings.epochs):
                for rows in torch.randperm(len(data)).split(settings.batch_size):
                    optimiser.zero_grad()
                    (-log_density(net, data[rows]).mean()).backward()
                    torch.nn.utils.clip_grad_norm_(net.parameters(), 5.0)
                    optimiser.step()
                    stepped()
        return net.eval()

    def score_rows(self, rows: Rows) -> Scores:
        """Return each row's log density."""
        import torch

        with torch.no_grad():
            found = log_density(self._net, torch.from_numpy(self._components(rows.features)))
        return Scores(rows.pred, found.numpy())


def couple(net: Any, values: Any) -> tuple[Any, Any]:
    """Return g(v) ``[B, K]`` and log |det ∂g/∂v| ``[B]`` of ``values`` ``[B, K]`` under the coupling layers ``net``."""
    import torch

    half, scales = values.shape[1] // 2, []
    one, other = values[:, :half], values[:, half:]
    for layer in net:  # each moves the half that the one before it read
        scale, shift = layer(one).chunk(2, dim=1)
        scales.append(2.0 * torch.tanh(scale / 2.0))
        one, other = torch.addcmul(shift, other, scales[-1].exp()), one
    halves = [other, one] if len(net) % 2 else [one, other]
    return torch.cat(halves, dim=1), torch.cat(scales, dim=1).sum(1)


def log_density(net: Any, values: Any) -> Any:
    """Return ``[B]`` log density of ``values`` ``[B, K]``, up to a constant."""
    found, volume = couple(net, values)
    return volume - 0.5 * found.square().sum(1)
