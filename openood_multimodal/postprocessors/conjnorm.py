"""Density of an exponential family with a conjugate norm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..arrays import Scores
from ..linalg.rows import Floats, of_float64_parts
from ..registry import POSTPROCESSORS
from .base import Postprocessor
from .params import ScoreInfo, require_number
from .rows import Rows

if TYPE_CHECKING:
    from .shared import Shared


@POSTPROCESSORS.register("conjnorm")
class ConjNorm(Postprocessor):
    """log Σ_c exp(d(x, μ_c) / T) / Z_c, with d minus the Bregman divergence of ½‖·‖_q² but for terms of c alone.

    x and the class means μ_c are divided by their p-norm, 1/p + 1/q = 1,
    d(x, μ) = x · ∇½‖μ‖_q² - ½‖x‖_q², and Z_c is the mean of exp(d / T) over the training rows, all of them (the
    authors draw as many with replacement).  Their code takes the norm of μ over classes in place of columns; here it
    is the paper's.
    """

    name = "conjnorm"
    info = ScoreInfo(
        title="ConjNorm: Tractable Density Estimation for Out-of-Distribution Detection",
        authors="Bo Peng, Yadan Luo, Yonggang Zhang, Yixuan Li, Zhen Fang",
        venue="ICLR",
        year=2024,
        url="https://arxiv.org/abs/2402.17888",
    )
    needs = frozenset({"train"})
    fit_reads_params = True

    @dataclass(frozen=True)
    class Params(Postprocessor.Params):
        """Parameters: ``p`` of the norm, above 1, and ``temperature`` (2.2 and 0.05: the authors', on CIFAR-10)."""

        p: float = 2.2
        temperature: float = 0.05

        def __post_init__(self) -> None:
            require_number("p", self.p, 1.0, above=True)
            require_number("temperature", self.temperature, 0.0, above=True)

    params: Params
    gradients: Floats
    """Float64 ``[C, D]`` ∇½‖μ_c‖_q²."""
    log_partition: Floats

    @property
    def _q(self) -> float:
        return self.params.p / (self.params.p - 1.0)

    def learn(self, shared: Shared) -> None:
        """Take the class means' gradients and the partition functions from the training rows.

        Raises:
            UserError: for a label outside the classes, or a class without a row.
        """
        means = _divided(shared.class_means.means, self.params.p)
        sizes = _norms(means, self._q)[0][:, None]
        scaled = np.abs(means) / np.where(sizes > 0.0, sizes, 1.0)
        self.gradients = np.sign(means) * sizes * scaled ** (self._q - 1.0)
        found = shared.summed(
            lambda rows: np.logaddexp.reduce(self._exponents(rows.features), axis=0),
            shared.train_set,
            np.logaddexp,
        )
        self.log_partition = found - np.log(len(shared.train_set))

    def _exponents(self, features: Floats) -> Floats:
        found = np.empty((len(features), len(self.gradients)))

        def part(where: slice, values: Floats) -> None:
            sizes, other = _norms(values, self.params.p, self._q)
            sizes = np.where(sizes > 0.0, sizes, 1.0)
            half = 0.5 * np.square(other / sizes)
            found[where] = values @ self.gradients.T / sizes[:, None] - half[:, None]

        of_float64_parts(features, part)
        found /= self.params.temperature
        return found

    def score_rows(self, rows: Rows) -> Scores:
        """Return the log density of each row, up to a constant."""
        exponents = self._exponents(rows.features) - self.log_partition
        return Scores(rows.pred, np.logaddexp.reduce(exponents, axis=1))


def _norms(rows: Floats, *orders: float) -> list[Floats]:
    """Return the norms ``[B]`` of each order, with one logarithm for all powers."""
    logs = np.abs(rows)
    size = logs.max(axis=1, initial=0.0)
    logs /= np.where(size > 0.0, size, 1.0)[:, None]
    with np.errstate(divide="ignore"):
        np.log(logs, out=logs)
    room = np.empty_like(logs)
    found = []
    for order in orders:
        np.exp(np.multiply(logs, order, out=room), out=room)
        found.append(size * room.sum(axis=1) ** (1.0 / order))
    return found


def _divided(rows: Floats, p: float) -> Floats:
    (norms,) = _norms(rows, p)
    return np.asarray(rows / np.where(norms > 0.0, norms, 1.0)[:, None])
