"""Random-projection outlyingness."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..arrays import Scores
from ..linalg.rows import Floats, block_slices
from ..registry import POSTPROCESSORS
from .base import Postprocessor
from .params import ScoreInfo, require_whole
from .rows import Rows

if TYPE_CHECKING:
    from .shared import Shared


HELD_BYTES = 256 * 2**20
"""Size of the projections that are held at once; with more training rows, these are read again for the others."""


@POSTPROCESSORS.register("rpo")
class RPO(Postprocessor):
    """Minus the largest outlyingness over random directions u: |uᵀx - med uᵀX| / MAD uᵀX, X the training rows.

    MAD is the median absolute deviation; directions in which it is 0 are left out.  (The paper also trains a network
    for the projections; this is its fixed-projection baseline, an approximation of Stahel and Donoho's outlyingness.)
    """

    name = "rpo"
    info = ScoreInfo(
        title="Deep Random Projection Outlyingness for Unsupervised Anomaly Detection",
        authors="Martin Bauw, Santiago Velasco-Forero, Jesus Angulo, Claude Adnet, Olivier Airiau",
        venue="arXiv",
        year=2021,
        url="https://arxiv.org/abs/2106.15307",
    )
    needs = frozenset({"train"})
    fit_reads_params = True

    @dataclass(frozen=True)
    class Params(Postprocessor.Params):
        """Parameters: ``projections`` (1000: the paper's) and their ``seed`` (ours)."""

        projections: int = 1000
        seed: int = 0

        def __post_init__(self) -> None:
            require_whole("projections", self.projections, 1)
            require_whole("seed", self.seed, 0)

    params: Params

    def learn(self, shared: Shared) -> None:
        """Take median and deviation of the training rows in each direction."""
        train = shared.train_set
        random = np.random.default_rng(self.params.seed)
        directions = random.standard_normal((train.dim, self.params.projections))
        directions /= np.linalg.norm(directions, axis=0)
        medians, deviations = np.empty(directions.shape[1]), np.empty(directions.shape[1])
        for some in block_slices(directions.shape[1], len(train), max(1, HELD_BYTES // (8 * len(train)))):
            here = directions[:, some]
            projected = np.concatenate(list(shared.of_blocks(lambda rows: rows.features @ here, train)))  # noqa: B023
            medians[some] = np.median(projected, axis=0)
            projected -= medians[some]
            deviations[some] = np.median(np.abs(projected, out=projected), axis=0, overwrite_input=True)
        varying = deviations > 0.0
        self._directions: Floats = directions[:, varying]
        self._medians, self._deviations = medians[varying], deviations[varying]
        if not varying.any():
            self.notes.append("rpo: the training features don't vary; every score is equal.")

    def score_rows(self, rows: Rows) -> Scores:
        """Return minus each row's largest outlyingness."""
        off = np.abs(rows.features @ self._directions - self._medians) / self._deviations
        return Scores(rows.pred, -off.max(axis=1, initial=0.0))
