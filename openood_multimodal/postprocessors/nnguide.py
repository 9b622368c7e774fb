"""Nearest-neighbour guidance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..arrays import Scores
from ..linalg.rows import Floats, block_slices
from ..linalg.unit_rows import unit_rows
from ..registry import POSTPROCESSORS
from .base import Postprocessor
from .params import ScoreInfo, require_number, require_whole
from .rows import Rows
from .softmax import logsumexp

if TYPE_CHECKING:
    from .shared import Shared


@POSTPROCESSORS.register("nnguide")
class NNGuide(Postprocessor):
    """Energy times guidance: the mean of the K largest E_t · cos(x, x_t) over a bank of training rows x_t.

    E is the energy.  The bank is a random ``alpha`` of the training rows, as in the paper, and at least K of them.
    OpenOOD's class takes whole batches until it has passed ``alpha``, so that its bank depends on the batch size.
    """

    name = "nnguide"
    info = ScoreInfo(
        title="Nearest Neighbor Guidance for Out-of-Distribution Detection",
        authors="Jaewoo Park, Yoon Gyo Jung, Andrew Beng Jin Teoh",
        venue="ICCV",
        year=2023,
        url="https://arxiv.org/abs/2309.14888",
    )
    needs = frozenset({"train"})
    grows = "`alpha` of the training rows"
    fit_reads_params = True
    sweep = {"K_list": (100,), "alpha_list": (0.01,)}  # noqa: RUF012

    @dataclass(frozen=True)
    class Params(Postprocessor.Params):
        """Parameters: ``K`` and ``alpha`` (100 and 0.01: OpenOOD's), and the ``seed`` of the bank (ours)."""

        K: int = 100
        alpha: float = 0.01
        seed: int = 0

        def __post_init__(self) -> None:
            require_whole("K", self.K, 1)
            require_number("alpha", self.alpha, 0.0, 1.0, above=True)
            require_whole("seed", self.seed, 0)

    params: Params
    bank: Floats
    """Float64 ``[n, D]``, unit rows times their energies."""

    def learn(self, shared: Shared) -> None:
        """Take the bank from the training rows."""
        train = shared.train_set
        wanted = int(np.ceil(self.params.alpha * len(train)))
        size = min(len(train), max(wanted, self.params.K))
        if size < self.params.K:
            self.notes.append(
                f"nnguide: K={self.params.K} exceeds the {size} training rows; all of them count."
            )
        elif size > wanted:
            self.notes.append(
                f"nnguide: alpha={self.params.alpha} of {len(train)} training rows is {wanted}, fewer than "
                f"K={self.params.K}; the bank has {size}."
            )
        chosen = np.sort(np.random.default_rng(self.params.seed).permutation(len(train))[:size])
        self.bank = np.empty((size, train.dim))

        def bank_of(rows: Rows) -> Floats:
            own = (
                chosen[slice(*np.searchsorted(chosen, [rows.where.start, rows.where.stop]))]
                - rows.where.start
            )
            return np.asarray(unit_rows(rows.stored[own]) * logsumexp(rows.logits_at(own))[:, None])

        filled = 0
        for part in shared.of_blocks(bank_of, train):
            self.bank[filled : filled + len(part)] = part
            filled += len(part)

    def score_rows(self, rows: Rows) -> Scores:
        """Return energy times guidance."""
        unit = rows.unit
        count = len(self.bank)
        nearest = min(self.params.K, count)
        guidance = np.empty(len(rows))
        for where in block_slices(len(rows), count):
            products = np.partition(unit[where] @ self.bank.T, count - nearest, axis=1)
            guidance[where] = products[:, count - nearest :].mean(axis=1)
        return Scores(rows.pred, guidance * logsumexp(rows.logits))
