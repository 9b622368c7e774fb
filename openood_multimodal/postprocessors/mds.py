"""Mahalanobis distance."""

from __future__ import annotations

from ..arrays import Embeddings, LinearHead, Scores
from ..errors import UserError
from ..registry import POSTPROCESSORS
from .base import Postprocessor
from .params import ScoreInfo
from .rows import Floats, Rows
from .spectra import Whitening, nearest_squared_distance, whitening
from .statistics import Centred, class_means


@POSTPROCESSORS.register("mds")
class MDS(Postprocessor):
    """Minus the squared Mahalanobis distance to the nearest class mean, one covariance for all classes.

    The covariance is inverted on its numerical range only (see `spectra`), as scikit-learn's
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

    def estimate(self, train: Embeddings | None, val: Embeddings | None, head: LinearHead | None) -> None:
        """Estimate class means and the shared covariance from ``train``.

        Raises:
            UserError: for a label outside the classes, or a class without a row.
        """
        assert train is not None
        if head is None and train.logits is None:
            raise UserError("mds needs the head (or training logits) to know how many classes there are.")
        count = head.num_classes if head is not None else train.logits.shape[1]  # type: ignore[union-attr]
        self.means, _ = class_means(train.features, train.labels, count)
        self.whitening = whitening(Centred(train.features, self.means, train.labels))
        if self.whitening.rank == 0:
            self.notes.append(
                "mds: no class varies in the training features, so every distance is 0 and every score equal."
            )
        elif self.whitening.rank < train.dim:
            self.notes.append(
                f"mds: the covariance of {len(train)} rows has rank {self.whitening.rank} of {train.dim}; "
                "distances are taken within its range (pseudo-inverse)."
            )
        # one origin near the data: differences between whitened points stay the same, their size shrinks
        self._origin = self.means.mean(axis=0)
        self._centres = (self.means - self._origin) @ self.whitening.matrix

    def score_rows(self, rows: Rows) -> Scores:
        """Return minus the smallest squared Mahalanobis distance to a class mean."""
        whitened = (rows.features - self._origin) @ self.whitening.matrix
        return Scores(rows.pred, -nearest_squared_distance(whitened, self._centres))
