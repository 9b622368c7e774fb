"""What scores that are fitted together share: one pass over the training rows, one factorisation.

Everything is computed when the first score asks for it, so that an error is that score's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arrays import Embeddings, LinearHead
from ..errors import UserError
from ..linalg.arithmetic import Arithmetic, Floats
from ..linalg.rows import block_slices, require_finite
from ..linalg.spectra import Subspace, eigen_of_rows, leading_subspace, leading_subspace_of_rows
from ..linalg.statistics import ClassMeans
from ..linalg.torch_arithmetic import arithmetic_for
from ..linalg.whitening import EigenWhitening, Whitening, whitening_of
from .options import ScoringOptions
from .training import Needs, TrainingStatistics, class_counts, training_pass

if TYPE_CHECKING:
    from .base import Postprocessor


class Shared:
    """What scores learn from, and what they share.  Everything is computed when it is first asked for.

    Attributes:
        scores: those fitted together.
        train: training embeddings, or None.
        val: validation embeddings, or None.
        head: the head, or None.
        options: how to compute.
        arithmetic: where to compute.
    """

    def __init__(
        self,
        scores: Sequence[Postprocessor],
        train: Embeddings | None,
        val: Embeddings | None,
        head: LinearHead | None,
        options: ScoringOptions | None = None,
        progress: Callable[[int], object] = lambda rows: None,
    ) -> None:
        self.scores = tuple(scores)
        self.train = train
        self.val = val
        self.head = head
        self.options = options if options is not None else ScoringOptions()
        self.arithmetic: Arithmetic = arithmetic_for(self.options.device)
        self.progress = progress
        self._needs = frozenset(need for score in scores for need in score.uses)
        self._found: TrainingStatistics | None = None
        self._whitening: Whitening | None = None
        self._fitted: set[int] = set()
        self._no_classes: UserError | None = None
        if head is None:
            self._needs -= {Needs.LARGEST_LOGIT}  # who asks for it says so
        self._num_classes = self._usable_classes()

    def fit(self, score: Postprocessor) -> None:
        """Fit a score, unless it is already fitted to what is shared here."""
        if id(score) not in self._fitted:
            score.fit_shared(self)
            self._fitted.add(id(score))

    def _usable_classes(self) -> int | None:
        """Return C where some score groups by class and the labels allow it; keep the error for those scores."""
        if not self._needs & {Needs.CLASS_MEANS, Needs.WITHIN_SCATTER} or self.train is None:
            return None
        try:
            count = self.num_classes
            class_counts(np.asarray(self.train.labels), count)
        except UserError as error:
            self._no_classes = error
            self._needs -= {Needs.CLASS_MEANS, Needs.WITHIN_SCATTER}
            return None
        return count

    @property
    def train_set(self) -> Embeddings:
        """The training embeddings.

        Raises:
            UserError: where there are none.
        """
        if self.train is None:
            raise UserError("there are no training embeddings to fit on.")
        return self.train

    @property
    def num_classes(self) -> int:
        """C, from the head or the training logits.

        Raises:
            UserError: where there is neither.
        """
        if self.head is not None:
            return self.head.num_classes
        if self.train_set.logits is None:
            raise UserError("the head (or training logits) is needed to know how many classes there are.")
        return int(self.train_set.logits.shape[1])

    @property
    def statistics(self) -> TrainingStatistics:
        """What the pass over the training rows found."""
        if self._found is None:
            self._found = training_pass(
                self.train_set,
                self._needs,
                self._num_classes,
                self.head,
                self.arithmetic,
                self.options,
                self.progress,
            )
        return self._found

    @property
    def norms(self) -> Floats:
        """Float64 ``[N]``, the norm of every training row (`Needs.NORMS`)."""
        return _asked_for(self.statistics.norms, Needs.NORMS)

    @property
    def largest_logit(self) -> float:
        """The mean over training rows of the head's largest logit (`Needs.LARGEST_LOGIT`)."""
        return float(_asked_for(self.statistics.largest_logit, Needs.LARGEST_LOGIT))

    @property
    def mean(self) -> Floats:
        """Float64 ``[D]``, the mean of all training rows (`Needs.CLASS_MEANS` or either scatter)."""
        if not self._needs & {Needs.CLASS_MEANS, Needs.WITHIN_SCATTER, Needs.SCATTER}:
            self.require_classes()
            _asked_for(None, Needs.CLASS_MEANS)
        return self.statistics.mean

    def require_classes(self) -> None:
        """Raise `UserError` unless every label is a class and every class has a row."""
        if self._no_classes is not None:
            raise self._no_classes

    @property
    def class_means(self) -> ClassMeans:
        """Means ``[C, D]`` and counts ``[C]`` of the classes (`Needs.CLASS_MEANS`).

        Raises:
            UserError: for a label outside the classes, or a class without a row.
        """
        self.require_classes()
        found = self.statistics
        means = _asked_for(found.means if found.by_class else None, Needs.CLASS_MEANS)
        return ClassMeans(means, found.counts)

    def whitening(self) -> Whitening:
        """Return the map that makes the within-class covariance the identity (`Needs.WITHIN_SCATTER`).

        Raises:
            UserError: as `class_means`.
        """
        self.require_classes()
        if self._whitening is None:
            _asked_for(Needs.WITHIN_SCATTER in self._needs or None, Needs.WITHIN_SCATTER)
            found = self.statistics
            origin = found.means.mean(axis=0)
            if found.residuals is not None:
                self._whitening = EigenWhitening(eigen_of_rows(found.residuals), origin)
            else:
                degrees = found.count - len(found.counts)
                within = _asked_for(found.within, Needs.WITHIN_SCATTER)
                self._whitening = whitening_of(within, degrees, origin, self.arithmetic)
        return self._whitening

    def covariance(self) -> Floats:
        """Return a new ``[D, D]`` second moment of the training rows around their mean (`Needs.SCATTER`)."""
        found = self.statistics
        if found.residuals is not None:
            rows = self._rows_about_mean()
            return np.asarray(rows.T @ rows / found.count)
        between = self._between()
        return np.asarray(_asked_for(found.within, Needs.SCATTER) + between.T @ between)

    def subspace(self, origin: Floats, size: int) -> Subspace:
        """Return the ``size`` leading eigenvectors of the second moment around ``origin`` (`Needs.SCATTER`)."""
        offset = self.mean - origin
        if self.statistics.residuals is not None:
            return leading_subspace_of_rows(self._rows_about_mean(), offset, size)
        return leading_subspace(self.covariance(), offset, size)

    def _between(self) -> Floats:
        found = self.statistics
        return np.asarray(np.sqrt(found.counts / found.count)[:, None] * (found.means - found.mean))

    def _rows_about_mean(self) -> Floats:
        found = self.statistics
        assert found.residuals is not None
        if len(found.means) == 1:
            return found.residuals
        return np.asarray(found.residuals + (found.means - found.mean)[found.which])

    def feature_blocks(self, embeddings: Embeddings) -> Iterator[Floats]:
        """Yield the features of a set a block at a time, in float64, checked unless they are known to be finite."""
        for where in block_slices(len(embeddings), embeddings.dim, self.options.chunk_rows):
            block = np.asarray(embeddings.features[where])
            known = self.options.checked or (embeddings is self.train and self._found is not None)
            if not known:
                require_finite(block, "features", where.start)
            yield np.asarray(block, dtype=np.float64)
            self.progress(where.stop - where.start)


def _asked_for(value: Any, need: Needs) -> Any:
    if value is None:
        raise RuntimeError(f"a score read {need}, which its `uses` doesn't name.")
    return value
