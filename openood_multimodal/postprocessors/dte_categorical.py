"""Diffusion time estimation by a classifier of noise levels that is trained on the embeddings."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import log_softmax, logsumexp

from ..arrays import Scores
from ..registry import POSTPROCESSORS
from .base import Postprocessor
from .dte import DTENonParametric
from .params import require_number, require_whole
from .rows import Rows
from .trained import Standard, TrainingParams, require_trained, row_batches, training, weights_of

if TYPE_CHECKING:
    from .shared import Shared

HIDDEN = (256, 512, 256)
"""Units of the hidden layers, the authors'."""
DROPOUT = 0.5
BETAS = (0.0001, 0.01)
"""First and last variance of the noise schedule, linear between them; the authors'."""


@POSTPROCESSORS.register("dte_c")
class DTECategorical(Postprocessor):
    """DTE-C: small expected noise level Σ_k k p_k(x), as log Σ_k (K - 1 - k) p_k - log Σ_k k p_k.

    A network learns which of K intervals a diffusion time t came from, t uniform on 0 .. T - 1, from x + σ_t ε, with
    columns x of unit variance and σ_t² = 1 - Π_{s <= t} (1 - β_s).  The log-ratio falls strictly with the expected
    level, without its ties at either end.  (The authors' code takes the softmax twice, in the network and in the
    cross-entropy; here it is taken once, as the paper writes it.)
    """

    name = "dte_c"
    info = DTENonParametric.info
    needs = frozenset({"train"})
    fit_reads_params = True

    @dataclass(frozen=True)
    class Params(TrainingParams):
        """Parameters: ``bins`` K, ``times`` T, ``batch_size`` and ``weight_decay`` (7, 400, 64, 0.0005: the authors');
        ``steps``, ``lr`` and ``seed`` (500, 0.001 and 0, ours: theirs are 400 epochs at 0.0001, on smaller tables).
        """

        steps: int = 500
        weight_decay: float = 0.0005
        bins: int = 7
        times: int = 400

        def __post_init__(self) -> None:
            super().__post_init__()
            require_number("weight_decay", self.weight_decay, 0.0)
            require_whole("bins", self.bins, 2)
            require_whole("times", self.times, self.bins)

    params: Params

    def learn(self, shared: Shared) -> None:
        """Train the classifier on the training rows, noised.

        Raises:
            UserError: where training diverges.
        """
        import torch  # here: scores that need no torch shouldn't wait for it

        train, settings = shared.train_set, self.params
        mean = shared.mean
        squares = shared.summed(lambda rows: np.square(rows.features - mean).sum(axis=0), train)
        deviations = np.sqrt(squares / len(train))
        self._standard = Standard(mean, np.where(deviations > 0.0, deviations, 1.0))
        noise = np.sqrt(1.0 - np.cumprod(1.0 - np.linspace(*BETAS, settings.times)))
        levels = torch.from_numpy(noise.astype(np.float32))
        with training(self, shared, settings.steps) as stepped:
            sizes = [train.dim, *HIDDEN]
            layers: list[torch.nn.Module] = []
            for place, (inner, outer) in enumerate(pairwise(sizes)):
                layers += [torch.nn.Linear(inner, outer), torch.nn.ReLU()]
                layers += [torch.nn.Dropout(DROPOUT)] if place else []
            network = torch.nn.Sequential(*layers, torch.nn.Linear(sizes[-1], settings.bins))
            optimiser = torch.optim.Adam(
                network.parameters(), lr=settings.lr, weight_decay=settings.weight_decay, fused=True
            )
            for rows in row_batches(len(train), settings.batch_size, settings.steps, settings.seed):
                x = torch.from_numpy(self._standard.float32(train.features[rows]))
                t = torch.randint(0, settings.times, (len(x),))
                noised = x + levels[t][:, None] * torch.randn_like(x)
                loss = torch.nn.functional.cross_entropy(network(noised), t * settings.bins // settings.times)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                stepped()
        require_trained(self.name, network.parameters())
        self._layers = weights_of(network)

    def score_rows(self, rows: Rows) -> Scores:
        """Return each row's log-ratio."""
        log_p = log_softmax(self._standard.applied(self._layers, rows.features), axis=1)
        with np.errstate(divide="ignore"):
            level = np.log(np.arange(log_p.shape[1]))
        return Scores(rows.pred, logsumexp(log_p + level[::-1], axis=1) - logsumexp(log_p + level, axis=1))
