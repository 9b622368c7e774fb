"""An embedding set while it is scored, a block of rows at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..arrays import Embeddings, LinearHead, Scores
from ..errors import UserError
from ..linalg.neighbours import RowNeighbours
from ..linalg.rows import (
    Floats,
    as_float64,
    block_slices,
    largest,
    of_float64_parts,
    require_finite,
    row_norms,
)
from ..linalg.unit_rows import unit_rows
from ..linalg.whitening import UpdatedWhitening, Whitening
from ..naming import did_you_mean
from .options import ScoringOptions

if TYPE_CHECKING:
    from .base import Postprocessor

Around = Callable[["Postprocessor"], AbstractContextManager[Any]]
"""Score → the context that its own work runs in, e.g. to say whose an error is."""


def nothing_around(score: Postprocessor) -> AbstractContextManager[Any]:
    """Return a context that does nothing."""
    return nullcontext()


Shaping = Callable[[Floats], Floats]
"""``[n, D]`` features → shaped ones, each row by itself."""


def float64_logits(head: LinearHead, features: NDArray[Any], shape: Shaping | None = None) -> Floats:
    """Return float64 ``[B, C]`` logits of ``[B, D]`` features of any precision, or of what ``shape`` makes of them."""
    double = LinearHead(np.asarray(head.weight, dtype=np.float64), np.asarray(head.bias, dtype=np.float64))
    out = np.empty((len(features), head.num_classes))

    def part(where: slice, values: Floats) -> None:
        out[where] = double.logits(values if shape is None else shape(values))

    of_float64_parts(features, part)
    return out


def sum_of_largest_logits(rows: Rows) -> float:
    """Return the sum of the head's largest logit of each row."""
    return float(rows.own_logits.max(axis=1).sum())


class Rows:
    """One block of an embedding set while it is scored.  Its arrays are made on demand and are read-only.

    All scores of a run get the same object, so that what several of them read is computed once.

    Args:
        embeddings: the set.
        where: the rows meant.
        head: the fusion head, or None where it isn't known.
        checked: whether the set is known to be finite.
    """

    def __init__(
        self, embeddings: Embeddings, where: slice, head: LinearHead | None, checked: bool = False
    ) -> None:
        self._embeddings = embeddings
        self._where = where
        self._head = head
        self._checked = checked
        self._of_modality: dict[tuple[str, int], Rows] = {}
        self._scored: dict[int, Scores] = {}
        self._whitened: dict[int, Floats] = {}
        self._nearest: dict[int, Floats] = {}

    def __len__(self) -> int:
        return self._where.stop - self._where.start

    @property
    def where(self) -> slice:
        """Which rows of the set these are."""
        return self._where

    @property
    def head(self) -> LinearHead | None:
        """The fusion head, or None."""
        return self._head

    @property
    def set_rows(self) -> int:
        """The number of rows of the whole set."""
        return len(self._embeddings)

    @property
    def slices(self) -> dict[str, tuple[int, int]]:
        """Modality → ``(start, stop)`` columns; empty if unknown."""
        return dict(self._embeddings.slices)

    @cached_property
    def stored(self) -> NDArray[Any]:
        """``[B, D]`` features in the precision they are stored in, finite."""
        block = np.asarray(self._embeddings.features[self._where])
        if not self._checked:
            require_finite(block, "features", self._where.start)
        return _frozen(block)

    @cached_property
    def features(self) -> Floats:
        """Float64 ``[B, D]``."""
        return _frozen(np.asarray(self.stored, dtype=np.float64))

    @cached_property
    def norms(self) -> Floats:
        """Float64 ``[B]``, Euclidean norms of the features."""
        return row_norms(self.at_hand)

    def norms_about(self, point: Floats) -> Floats:
        """Return float64 ``[B]``, Euclidean distances of the features to ``point`` ``[D]``."""
        norms = np.empty(len(self))

        def part(where: slice, values: Floats) -> None:
            norms[where] = row_norms(values - point)

        of_float64_parts(self.at_hand, part)
        return norms

    @cached_property
    def unit(self) -> Floats:
        """Float64 ``[B, D]`` features divided by their norms; a row of zeros stays one."""
        return _frozen(unit_rows(self.features, self.norms))

    def unit_products(self, matrix: Floats) -> Floats:
        """Return float64 ``[B, k]``, products of `unit` with ``matrix`` ``[D, k]``; `unit` isn't made for it."""
        return np.asarray(self.features @ matrix / np.where(self.norms > 0.0, self.norms, 1.0)[:, None])

    @cached_property
    def of_unit(self) -> Rows:
        """The same rows divided by their norms, with the predictions and logits of the rows as they are."""
        unit = Embeddings(self.unit, self.pred, self.logits)
        return Rows(unit, slice(0, len(self)), self.head, checked=True)

    def whitened(self, whitening: Whitening) -> Floats:
        """Return float64 ``[B, r]``, what a map of `Shared` makes of the features."""
        if id(whitening) not in self._whitened:
            if isinstance(whitening, UpdatedWhitening):
                found = whitening.updated(self.whitened(whitening.base))
            else:
                found = whitening.exact_rows(self.at_hand)
            self._whitened[id(whitening)] = _frozen(found)
        return self._whitened[id(whitening)]

    def nearest(self, neighbours: RowNeighbours, count: int) -> Floats:
        """Return float64 ``[B, count]``, squared distances to the nearest training rows, rising; one search for all."""
        found = self._nearest.get(id(neighbours))
        if found is None or found.shape[1] < count:
            found = neighbours.smallest_squared_distances(self.stored, max(count, neighbours.most))
            self._nearest[id(neighbours)] = found
        return found[:, :count]

    @cached_property
    def logits(self) -> Floats:
        """Float64 ``[B, C]``: the stored ones, or the head's."""
        if self._embeddings.logits is not None:
            stored = np.asarray(self._embeddings.logits[self._where])
            if not self._checked:
                require_finite(stored, "logits", self._where.start)
            return _frozen(np.asarray(stored, dtype=np.float64))
        return self.own_logits

    def logits_at(self, which: NDArray[np.int64]) -> Floats:
        """Return float64 ``[n, C]``, `logits` of the rows at ``which``; the head is asked for no others."""
        if self._embeddings.logits is None and self._head is not None:
            found = float64_logits(self._head, self.stored[which])
            if np.isfinite(found).all():
                return found
        return self.logits[which]  # where one isn't finite, this names its row

    @cached_property
    def own_logits(self) -> Floats:
        """Float64 ``[B, C]``: the head's, of the features as they are, whatever logits are stored."""
        return self.head_logits(self.at_hand)

    @property
    def at_hand(self) -> NDArray[Any]:
        """`features` where a score has asked for them already, else `stored`: for what takes either."""
        return self.features if "features" in vars(self) else self.stored

    def head_logits(self, features: NDArray[Any], shape: Shaping | None = None) -> Floats:
        """Return the head's float64 logits ``[B, C]`` of ``features`` ``[B, D]``, or of what ``shape`` makes of them.

        Args:
            features: of any precision.
            shape: called with float64 features, a few rows at a time and by several threads; it must not change them.
        """
        if self._head is None:
            raise UserError(
                "these embeddings have no logits, and no head was given to fit(); give one of the two."
            )
        logits = float64_logits(self._head, features, shape)
        return _frozen(as_float64(logits, "logits", self._where.start))

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names of the modalities, in the order of ``modality_logits``; empty if unknown."""
        return self._embeddings.modalities

    @cached_property
    def modality_logits(self) -> Floats:
        """Float64 ``[B, M, C]``: the stored logits of each modality's own head, or those that the heads give."""
        stored = self._embeddings.modality_logits
        if stored is None:
            own = [self.modality(name).logits for name in self.modalities]
            return _frozen(np.stack(own, axis=1))
        block = np.asarray(stored[self._where])
        if not self._checked:
            require_finite(block.reshape(len(block), -1), "modality_logits", self._where.start)
        return _frozen(np.asarray(block, dtype=np.float64))

    def modality_features(self, name: str) -> Floats:
        """Return the float64 ``[B, D_k]`` embedding of one modality.

        Raises:
            UserError: for an unknown modality, or where the columns of the modalities aren't known.
        """
        if name not in self.slices:
            raise UserError(f"no columns are known of a modality '{name}'.{did_you_mean(name, self.slices)}")
        return self.features[:, slice(*self.slices[name])]

    def modality(self, name: str) -> Rows:
        """Return the same rows of one modality alone: its features, its own head and that head's logits."""
        head = self._head.modality_heads.get(name) if self._head is not None else None
        key = (name, id(head))
        if key not in self._of_modality:
            part = self._embeddings.modality(name)
            self._of_modality[key] = Rows(part, self._where, head, self._checked)
        return self._of_modality[key]

    def scores_of(self, score: Postprocessor) -> Scores:
        """Return what ``score`` makes of these rows; computed once, also where several scores combine it."""
        if id(score) not in self._scored:
            self._scored[id(score)] = score.score_rows(self)
        return self._scored[id(score)]

    @cached_property
    def pred(self) -> NDArray[np.int64]:
        """Int64 ``[B]``: the class of the largest logit, the first one of several."""
        return largest(self.logits)


def score_blocks(
    scores: Sequence[Postprocessor],
    embeddings: Embeddings,
    options: ScoringOptions,
    around: Around,
    progress: Callable[[int], object] = lambda rows: None,
    part: slice | None = None,
) -> list[Scores]:
    """Return each fitted score's result on a set; every block of rows is read once for all of them.

    Args:
        scores: fitted.
        embeddings: the set.
        options: how to compute.
        around: score → the context that its own work runs in.
        progress: called with the number of rows after every block.
        part: the rows meant, or None for all.

    Raises:
        UserError: as `Postprocessor.score`.
    """
    part = slice(0, len(embeddings)) if part is None else part
    count = part.stop - part.start
    found = []
    for score in scores:
        with around(score):
            score.check_ready(embeddings)
        found.append(Scores(np.empty(count, dtype=np.int64), np.empty(count, dtype=np.float64)))
    for block in block_slices(count, widest(scores, embeddings), options.chunk_rows):
        where = slice(part.start + block.start, part.start + block.stop)
        blocks: list[Rows] = []  # one a head; scores that were fitted together have the same
        for score, out in zip(scores, found, strict=True):
            rows = next((each for each in blocks if each.head is score.head), None)
            if rows is None:
                rows = Rows(embeddings, where, score.head, options.checked)
                blocks.append(rows)
            with around(score):
                pred, conf = rows.scores_of(score)
                if np.shape(pred) != (len(rows),) or np.shape(conf) != (len(rows),):
                    raise UserError(
                        f"{score.name}: score_rows must return pred and conf of shape ({len(rows)},), one a row; "
                        f"got {np.shape(pred)} and {np.shape(conf)}."
                    )
                out.pred[block], out.conf[block] = pred, conf
        progress(where.stop - where.start)
    return found


def widest(scores: Sequence[Postprocessor], embeddings: Embeddings) -> int:
    """Return the widest row that scoring makes, for the size of a block."""
    return max((score.block_width(embeddings) for score in scores), default=1)


def _frozen(array: NDArray[Any]) -> NDArray[Any]:
    view = array.view()
    view.flags.writeable = False
    return view
