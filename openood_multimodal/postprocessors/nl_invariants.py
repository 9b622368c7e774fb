"""Non-linear invariants: functions of the embedding that are nearly zero on the training rows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arrays import Embeddings, Scores
from ..errors import UserError
from ..linalg.rows import Floats
from ..registry import POSTPROCESSORS
from .base import Postprocessor
from .dte import DTENonParametric
from .params import ScoreInfo, require_number, require_whole
from .rows import Rows
from .trained import TrainingParams, require_trained, row_batches, training, unit_components
from .unit_norm import unit_moments

if TYPE_CHECKING:
    from .shared import Shared

SAMPLE = 1000
"""Training rows at most whose distances to their neighbours give the mean distance."""
LAST_RATE = 0.1
"""The learning rate falls linearly to this share of itself; the authors'."""


@POSTPROCESSORS.register("nl_invariants")
class NonLinearInvariants(Postprocessor):
    """Minus Σ_j f_j(x)² / mean f_j², plus J times the relative squared distance to the K nearest training rows.

    f_1 .. f_J are the last outputs of a volume-preserving network of the leading components of x / ‖x‖: orthogonal
    maps, each but the last followed by an additive coupling.  It is trained to make them small on the training rows,
    and to restore x with them set to 0.  J is the number of principal components that hold the last ``variance`` of
    the variance.  The distances are those of x itself, over their mean on training rows.
    """

    name = "nl_invariants"
    info = ScoreInfo(
        title="Learning Non-Linear Invariants for Unsupervised Out-of-Distribution Detection",
        authors="Lars Doorenbos, Raphael Sznitman, Pablo Márquez-Neila",
        venue="ECCV",
        year=2024,
        url="https://arxiv.org/abs/2407.04022",
    )
    needs = frozenset({"train"})
    grows = "`dim` numbers a training row"
    fit_reads_params = True

    @dataclass(frozen=True)
    class Params(TrainingParams):
        """Parameters: ``layers``, ``variance``, ``K`` and ``batch_size`` (4, 0.05, 2 and 64: the authors'); ``dim``,
        components at most, ``steps``, ``lr`` and ``seed`` (64, 300, 0.001 and 0, ours: theirs are all components and 5
        epochs at 0.0001; the cost of a step grows with the cube of the components).
        """

        steps: int = 300
        dim: int = 64
        layers: int = 4
        variance: float = 0.05
        K: int = 2

        def __post_init__(self) -> None:
            super().__post_init__()
            require_whole("dim", self.dim, 2)
            require_whole("layers", self.layers, 1)
            require_number("variance", self.variance, 0.0, 1.0)
            require_whole("K", self.K, 1)

    params: Params

    def learn(self, shared: Shared) -> None:
        """Train the network on the training rows.

        Raises:
            UserError: where the training rows vary in fewer than 2 directions, are fewer than K + 1 or have K
                duplicates each; where training diverges.
        """
        import torch  # here: scores that need no torch shouldn't wait for it

        self._learn_distances(shared)
        values, self._vectors = unit_components(shared, self.params.dim)
        if len(values) < 2:
            raise UserError(
                f"{self.name}: the training features vary in fewer than 2 directions; nothing is invariant."
            )
        self._middle = unit_moments(shared).mean @ self._vectors
        data = np.concatenate(list(shared.of_blocks(self._components, shared.train_set)))
        explained = np.cumsum(values) / values.sum()
        self.count = len(values) - int(np.argmax(explained > min(1.0 - self.params.variance, explained[-2])))
        self._net = self._trained(torch, torch.from_numpy(data.astype(np.float32)), shared)
        require_trained(self.name, self._net.parameters())
        self._net.double()
        self._scale: Floats = self._invariants(data).mean(axis=0)

    def _learn_distances(self, shared: Shared) -> None:
        train, count = shared.train_set, self.params.K
        if len(train) <= count:
            raise UserError(
                f"{self.name}: K={count} needs more than {len(train)} training rows; set a smaller {self.name}.K."
            )
        self._near, others = DTENonParametric(K=count), DTENonParametric(K=count + 1)
        for each in (self._near, others):
            each.fit_shared(shared)
        spread = np.linspace(0, len(train) - 1, min(len(train), SAMPLE)).astype(np.int64)
        sample = Embeddings(np.asarray(train.features[spread]), np.asarray(train.labels)[spread],
                            np.zeros((len(spread), 1)))  # fmt: skip
        confidences = np.concatenate(
            list(shared.of_blocks(lambda rows: others.score_rows(rows).conf, sample))
        )
        # a training row is its own nearest neighbour, at distance 0
        self._usual = -confidences.mean() * (count + 1) / count
        if not self._usual > 0.0:
            raise UserError(
                f"{self.name}: every training row has {count} duplicates or more, so that distances have no scale; "
                "leave duplicates out."
            )

    def _components(self, rows: Rows) -> Floats:
        return np.asarray(rows.unit_products(self._vectors) - self._middle)

    def _trained(self, torch: Any, data: Any, shared: Shared) -> Any:
        settings = self.params
        with training(self, shared, settings.steps) as stepped:
            net = _network(torch, data.shape[1], settings.layers)
            optimiser = torch.optim.Adam(net.parameters(), lr=settings.lr, fused=True)
            schedule = torch.optim.lr_scheduler.LinearLR(
                optimiser, 1.0, LAST_RATE, total_iters=settings.steps
            )
            for rows in row_batches(len(data), settings.batch_size, settings.steps, settings.seed):
                x = data[torch.from_numpy(rows)]
                outputs = mapped(net, x)
                for loss in (
                    lambda: outputs[:, -self.count :].square().mean(),  # noqa: B023  (called at once)
                    lambda: (restored(net, self._without(outputs)) - x).square().mean(),  # noqa: B023
                ):
                    optimiser.zero_grad()
                    loss().backward()
                    optimiser.step()
                schedule.step()
                stepped()
        return net.eval()

    def _without(self, outputs: Any) -> Any:
        kept = outputs.detach().clone()
        kept[:, -self.count :] = 0.0
        return kept

    def _invariants(self, values: Floats) -> Floats:
        import torch

        with torch.no_grad():
            return np.square(mapped(self._net, torch.from_numpy(values))[:, -self.count :].numpy())

    def score_rows(self, rows: Rows) -> Scores:
        """Return minus each row's sum."""
        found = self._invariants(self._components(rows))
        distances = -rows.scores_of(self._near).conf / self._usual
        return Scores(rows.pred, -(found / self._scale).sum(axis=1) - self.count * distances)


def _network(torch: Any, dim: int, layers: int) -> Any:
    """Return the layers: ``turns``, of which the upper triangles count, ``shifts`` and ``couplings``."""
    nn, half = torch.nn, dim - dim // 2
    turns = [torch.empty(dim, dim).uniform_(-math.pi, math.pi) for _ in range(layers + 1)]
    shifts = [torch.empty(dim).uniform_(-1, 1) / math.sqrt(dim) for _ in range(layers + 1)]
    couplings = [
        nn.Sequential(
            *(part for _ in range(3) for part in (nn.Linear(half, half), nn.ReLU())),
            nn.Linear(half, dim // 2),
        )
        for _ in range(layers)
    ]
    return nn.ModuleDict(
        {"turns": nn.ParameterList(turns), "shifts": nn.ParameterList(shifts), "couplings": nn.ModuleList(couplings)}
    )  # fmt: skip


def _rotations(net: Any) -> Any:
    """Return ``[L + 1, n, n]`` orthogonal matrices: exponentials of skew-symmetric ones."""
    import torch

    upper = torch.stack(list(net["turns"])).triu(1)
    return torch.linalg.matrix_exp(upper - upper.mT)


def mapped(net: Any, values: Any) -> Any:
    """Return the network's outputs ``[B, n]`` for ``values`` ``[B, n]``."""
    import torch

    half = values.shape[1] // 2
    rotations = _rotations(net)
    for place, (turn, shift) in enumerate(zip(rotations, net["shifts"], strict=True)):
        values = values @ turn.T + shift
        if place < len(net["couplings"]):
            one, other = values[:, :half], values[:, half:]
            values = torch.cat([one + net["couplings"][place](other), other], dim=1)
    return values


def restored(net: Any, outputs: Any) -> Any:
    """Return the values ``[B, n]`` that the network maps to ``outputs``."""
    import torch

    half = outputs.shape[1] // 2
    rotations = _rotations(net)
    for place in reversed(range(len(rotations))):
        if place < len(net["couplings"]):
            one, other = outputs[:, :half], outputs[:, half:]
            outputs = torch.cat([one - net["couplings"][place](other), other], dim=1)
        outputs = (outputs - net["shifts"][place]) @ rotations[place]
    return outputs
