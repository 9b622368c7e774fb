"""What scores learn from, and what those that are fitted together share: a memo of training statistics.

Everything is computed when the first score asks for it, so that an error is that score's, and kept for the others.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from ..arrays import Embeddings, LinearHead
from ..errors import UserError
from ..linalg.arithmetic import Arithmetic, Floats
from ..linalg.neighbours import RowNeighbours
from ..linalg.rows import block_slices, require_finite, require_finite_rows
from ..linalg.spectra import Subspace, eigen_of_rows, leading_subspace, leading_subspace_of_rows
from ..linalg.statistics import ClassMeans, percentile
from ..linalg.torch_arithmetic import arithmetic_for
from ..linalg.unit_rows import UnitRows
from ..linalg.whitening import EigenWhitening, Whitening, updated, whitening_of
from .inputs import NO_HEAD
from .options import ScoringOptions
from .rows import Rows, sum_of_largest_logits
from .sharded import blocks_of_shards, sum_of_shards, summed
from .training import TrainingStatistics, class_counts, training_pass

if TYPE_CHECKING:
    from .base import Postprocessor


Made = TypeVar("Made")


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
        self._found: TrainingStatistics | None = None
        self._norms: Floats | None = None
        self._whitening: Whitening | None = None
        self._neighbours: RowNeighbours | None = None
        self._fitted: set[int] = set()
        self._made: dict[str, Any] = {}

    def once(self, what: str, make: Callable[[], Made]) -> Made:
        """Return what ``make`` returns when ``what`` is first asked for."""
        if what not in self._made:
            self._made[what] = make()
        return cast("Made", self._made[what])

    @cached_property
    def unit(self) -> Shared:
        """The same of the training rows divided by their norms, which are made as they are read."""
        train = replace(self.train_set, features=cast("NDArray[Any]", UnitRows(self.train_set.features)))
        return Shared((), train, None, self.head, self.options, self.progress)

    def fit(self, score: Postprocessor, again: bool = False) -> None:
        """Fit a score, unless it is already fitted to what is shared here; ``again``: in any case."""
        if again or id(score) not in self._fitted:
            score.fit_shared(self)
            self._fitted.add(id(score))

    @property
    def train_set(self) -> Embeddings:
        """The training embeddings.

        Raises:
            UserError: where there are none.
        """
        if self.train is None:
            raise UserError("there are no training embeddings to fit on.")
        return self.train

    def validation_set(self, score: Postprocessor, what: str) -> Embeddings:
        """Return the validation set, or where there is none the training set, which ``score`` then notes.

        Args:
            score: the score that takes something from it.
            what: what it takes, for the note.

        Raises:
            UserError: where the set has no rows.
        """
        chosen = self.val if self.val is not None else self.train_set
        if self.val is None:
            score.notes.append(
                f"{score.name}: no validation features; {what} comes from the training features."
            )
        if not len(chosen):
            raise UserError(f"{score.name}: the embeddings that {what} is to come from are empty.")
        return chosen

    def percentile(self, embeddings: Embeddings, percent: float, columns: slice = slice(None)) -> float:
        """Return the ``percent``-th percentile of all features in ``columns`` of a set.

        Raises:
            UserError: for features that aren't finite: these have no place in an order.
        """

        def on_workers(function: Callable[[NDArray[Any]], Any], add: Callable[[Any, Any], Any]) -> Any:
            return self.summed(lambda rows: function(rows.stored), embeddings, add)

        here = self.options.shards is None
        if here and not self.options.checked:
            require_finite_rows(embeddings.features, "features", self.options.chunk_rows)
        over = None if here else on_workers
        return percentile(embeddings.features, percent, columns, self.options.chunk_rows, over)

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

    @cached_property
    def _no_classes(self) -> UserError | None:
        """Why labels can't group the training rows, or None."""
        try:
            class_counts(np.asarray(self.train_set.labels), self.num_classes)
        except UserError as error:
            return error
        return None

    def require_classes(self) -> None:
        """Raise `UserError` unless every label is a class and every class has a row."""
        if self._no_classes is not None:
            raise self._no_classes

    def statistics(self, products: bool = False) -> TrainingStatistics:
        """Return what a pass over the training rows found, by class where labels are classes, else of all rows.

        Args:
            products: whether second moments are wanted.  The first score that wants them makes one more pass, unless
                no pass has been made yet; that is the whole plan.
        """
        if self._found is None or (products and not self._found.products):
            self._found = training_pass(
                self.train_set,
                products,
                None if self._no_classes else self.num_classes,
                self.arithmetic,
                self.options,
                self.progress,
            )
        return self._found

    @property
    def norms(self) -> Floats:
        """Float64 ``[N]``, the norm of every training row; found by a pass of its own unless there has been one."""
        if self._found is not None or self.options.shards is not None:
            return self.statistics().norms
        if self._norms is None:
            self._norms = np.concatenate([rows.norms for rows in self.rows(self.train_set)])
        return self._norms

    def neighbours(self, most: int) -> RowNeighbours:
        """Return the training rows, to be searched as they are for ``most`` neighbours, or those that others want."""
        if self._neighbours is None:
            largest = float(self.norms.max(initial=0.0))
            self._neighbours = RowNeighbours(self.train_set.features, largest, self.arithmetic)
        self._neighbours.most = max(self._neighbours.most, most)
        return self._neighbours

    @cached_property
    def largest_logit(self) -> float:
        """The mean over training rows of the head's largest logit.

        Raises:
            UserError: without a head.
        """
        if self.head is None:
            raise UserError(f"the largest logit {NO_HEAD}.")
        return float(self.summed(sum_of_largest_logits, self.train_set)) / len(self.train_set)

    @property
    def mean(self) -> Floats:
        """Float64 ``[D]``, the mean of all training rows."""
        return self.statistics().mean

    @property
    def class_means(self) -> ClassMeans:
        """Means ``[C, D]`` and counts ``[C]`` of the classes.

        Raises:
            UserError: for a label outside the classes, or a class without a row.
        """
        self.require_classes()
        found = self.statistics()
        return ClassMeans(found.means, found.counts)

    def whitening(self) -> Whitening:
        """Return the map that makes the within-class covariance the identity.

        Raises:
            UserError: as `class_means`.
        """
        self.require_classes()
        if self._whitening is None:
            found = self.statistics(products=True)
            origin = found.means.mean(axis=0)
            if found.within is None:
                assert found.residuals is not None
                self._whitening = EigenWhitening(eigen_of_rows(found.residuals), origin)
            else:
                degrees = found.count - len(found.counts)
                self._whitening = whitening_of(found.within, degrees, origin, self.arithmetic)
        return self._whitening

    def total_whitening(self) -> Whitening:
        """Return the map that makes the covariance of all training rows the identity."""
        return self.once("total whitening", self._total_whitening)

    def _total_whitening(self) -> Whitening:
        found = self.statistics(products=True)
        if found.residuals is not None:
            return EigenWhitening(eigen_of_rows(self._rows_about_mean()), found.mean)
        cheap = self._updated_whitening(found.mean)
        return cheap or whitening_of(self.covariance(), found.count - 1, found.mean, self.arithmetic)

    def second_whitening(self) -> Whitening:
        """Return the map that makes the second moment of all training rows, around 0, the identity."""
        mean = self.mean
        origin = np.zeros(len(mean))
        cheap = self._updated_whitening(origin)
        if cheap is not None:
            return cheap
        second = self.covariance() + np.outer(mean, mean)
        return whitening_of(second, len(self.train_set), origin, self.arithmetic)

    def _updated_whitening(self, origin: Floats) -> Whitening | None:
        """Return the map of the second moment around ``origin``, from the within-class one, or None."""
        found = self.statistics(products=True)
        if found.within is None or self._no_classes:
            return None
        between = np.sqrt(found.counts / found.count)[:, None] * (found.means - origin)
        return updated(self.whitening(), between, origin)

    def covariance(self) -> Floats:
        """Return a new ``[D, D]`` second moment of the training rows around their mean."""
        found = self.statistics(products=True)
        if found.within is None:
            rows = self._rows_about_mean()
            return np.asarray(rows.T @ rows / found.count)
        between = np.sqrt(found.counts / found.count)[:, None] * (found.means - found.mean)
        covariance = between.T @ between
        covariance += found.within.T  # the same numbers, in the order that those of the product are in
        return np.asarray(covariance)

    def subspace(self, origin: Floats, size: int) -> Subspace:
        """Return the ``size`` leading eigenvectors of the second moment around ``origin``."""
        found = self.statistics(products=True)
        offset = found.mean - origin
        if found.residuals is not None:
            return leading_subspace_of_rows(self._rows_about_mean(), offset, size)
        return leading_subspace(self.covariance(), offset, size)

    def _rows_about_mean(self) -> Floats:
        found = self.statistics(products=True)
        assert found.residuals is not None
        if len(found.means) == 1:
            return found.residuals
        return np.asarray(found.residuals + (found.means - found.mean)[found.which])

    def rows(self, embeddings: Embeddings) -> Iterator[Rows]:
        """Yield a set a block at a time, as `Postprocessor.score_rows` gets the rows that it scores."""
        for where in block_slices(len(embeddings), embeddings.dim, self.options.chunk_rows):
            yield Rows(embeddings, where, self.head, self.options.checked)
            self.progress(where.stop - where.start)

    def of_blocks(self, function: Callable[[Rows], Any], embeddings: Embeddings) -> Iterator[Any]:
        """Yield what ``function`` makes of each block of a set, in order; on a cluster workers call it."""
        if self.options.shards is None:
            yield from map(function, self.rows(embeddings))
        else:
            yield from blocks_of_shards(function, embeddings, self.head, self.options, self.progress)

    def summed(
        self,
        function: Callable[..., Any],
        embeddings: Embeddings,
        add: Callable[[Any, Any], Any] = operator.add,
        labels: NDArray[np.int64] | None = None,
    ) -> Any:
        """Return the sum of what ``function`` makes of each block of a set; on a cluster workers call it, and add.

        Args:
            function: takes the rows of a block, and their labels where these are given.
            embeddings: the set.
            add: returns the sum of two.
            labels: ``[N]``, each at least 0.
        """
        if self.options.shards is None:
            return summed(function, add, self.rows(embeddings), labels)
        return sum_of_shards(function, add, embeddings, labels, self.head, self.options, self.progress)

    def feature_blocks(self, embeddings: Embeddings) -> Iterator[Floats]:
        """Yield the features of a set a block at a time, in float64, checked unless they are known to be finite."""
        for where in block_slices(len(embeddings), embeddings.dim, self.options.chunk_rows):
            block = np.asarray(embeddings.features[where])
            known = self.options.checked or (embeddings is self.train and self._found is not None)
            if not known:
                require_finite(block, "features", where.start)
            yield np.asarray(block, dtype=np.float64)
            self.progress(where.stop - where.start)
