"""Mahalanobis distance."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..arrays import Scores
from ..errors import UserError
from ..linalg.rows import Floats
from ..linalg.spectra import nearest_squared_distance
from ..linalg.whitening import Whitening
from ..registry import POSTPROCESSORS
from .base import Postprocessor
from .params import ScoreInfo
from .rows import Rows

if TYPE_CHECKING:
    from .shared import Shared


@POSTPROCESSORS.register("mds")
class MDS(Postprocessor):
    """Minus the squared Mahalanobis distance to the nearest class mean, one covariance for all classes.

    The covariance is inverted on its numerical range only (see `whitening`), as scikit-learn's
    `EmpiricalCovariance` does; predictions are the head's.
    """

    name = "mds"
    info = ScoreInfo(
        title="A Simple Unified Framework for Detecting Out-of-Distribution Samples and Adversarial Attacks",
        authors="Kimin Lee, Kibok Lee, Honglak Lee, Jinwoo Shin",
        venue="NeurIPS",
        year=2018,
        url="https://arxiv.org/abs/1807.03888",
    )
    needs = frozenset({"train"})

    whitening: Whitening
    means: Floats
    _centres: Floats

    def learn(self, shared: Shared) -> None:
        """Take class means and the whitening of the shared covariance.

        Raises:
            UserError: for a label outside the classes, or a class without a row.
        """
        train = shared.train_set
        if shared.head is None and train.logits is None:
            raise UserError(
                f"{self.name} needs the head (or training logits) to know how many classes there are."
            )
        shared.require_classes()
        self.whitening = shared.whitening()
        self.means = shared.class_means.means
        rank = self.whitening.rank
        if rank == 0:
            self.notes.append(
                f"{self.name}: no class varies in the training features, so every distance is 0 and every score equal."
            )
        elif rank < train.dim:
            self.notes.append(
                f"{self.name}: the covariance of {len(train)} rows has rank {rank} of {train.dim}; "
                "distances are taken within its range (pseudo-inverse)."
            )
        self._centres = self.whitening.centres(self.means)

    def score_rows(self, rows: Rows) -> Scores:
        """Return minus the smallest squared Mahalanobis distance to a class mean."""
        return Scores(rows.pred, -nearest_squared_distance(rows.whitened(self.whitening), self._centres))
