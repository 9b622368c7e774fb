"""Rows of embeddings, a block at a time, in float64 and known to be finite.

Everything that reads an embedding reads it through here, so that memory is set by the block and not by N,
and so that a NaN is named by its row instead of spoiling a score.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..arrays import Embeddings, LinearHead, Scores
from ..errors import UserError
from ..naming import did_you_mean

if TYPE_CHECKING:
    from ..postprocessors.base import Postprocessor

Floats = NDArray[np.float64]

BLOCK_BYTES = 64 * 2**20
"""Size of one float64 block of features, unless a number of rows is asked for."""


LARGEST = 1e150
"""Features beyond it are refused: sums of their squares overflow float64."""


def block_slices(count: int, dim: int, rows: int | None = None) -> Iterator[slice]:
    """Yield slices that cover ``count`` rows of width ``dim`` in order: nearly even ones, of ``rows`` at most."""
    limit = rows if rows is not None else max(1, BLOCK_BYTES // (8 * max(1, dim)))
    blocks = -(-count // limit)
    step = -(-count // max(1, blocks))
    for start in range(0, count, max(1, step)):
        yield slice(start, min(start + step, count))


def require_finite(block: NDArray[Any], what: str, first_row: int = 0) -> None:
    """Raise `UserError` where ``block`` [B, W] holds NaN or infinity, or features beyond `LARGEST`.

    The message names row and column.
    """
    finite = np.isfinite(block)
    if not finite.all():
        row, column = np.argwhere(~finite)[0]
        raise UserError(
            f"{what} hold {block[row, column]} at row {first_row + row}, column {column}; "
            "leave such rows out, or find out why the network made them."
        )
    if block.dtype.itemsize > 4 and block.size and what.endswith("features"):
        size = np.abs(block)
        if size.max() > LARGEST:
            row, column = np.unravel_index(int(size.argmax()), size.shape)
            raise UserError(
                f"{what} hold {block[row, column]:.3g} at row {first_row + row}, column {column}, whose square "
                "overflows float64; divide all embeddings by one number, and multiply the head's weight by it."
            )


def as_float64(block: NDArray[Any], what: str, first_row: int = 0) -> Floats:
    """Return ``block`` [B, W] in float64; it may be the same memory, so it is never to be written to.

    Raises:
        UserError: when a value is NaN or infinite; the message names its row and column.
    """
    require_finite(block, what, first_row)
    return np.asarray(block, dtype=np.float64)


def feature_blocks(features: NDArray[Any], rows: int | None = None) -> Iterator[tuple[slice, Floats]]:
    """Yield ``(slice, block)``: every row of ``features`` [N, D] once, in order, in float64."""
    for where in block_slices(len(features), features.shape[1], rows):
        yield where, as_float64(features[where], "features", where.start)


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

    def __len__(self) -> int:
        return self._where.stop - self._where.start

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
        return row_norms(self.features)

    @cached_property
    def logits(self) -> Floats:
        """Float64 ``[B, C]``: the stored ones, or the head's."""
        if self._embeddings.logits is not None:
            stored = np.asarray(self._embeddings.logits[self._where])
            if not self._checked:
                require_finite(stored, "logits", self._where.start)
            return _frozen(np.asarray(stored, dtype=np.float64))
        return self.own_logits

    @cached_property
    def own_logits(self) -> Floats:
        """Float64 ``[B, C]``: the head's, of the features as they are, whatever logits are stored."""
        return self.head_logits(self.features)

    def head_logits(self, features: Floats) -> Floats:
        """Return the head's float64 logits ``[B, C]`` of (shaped) ``features`` ``[B, D]``."""
        if self._head is None:
            raise UserError(
                "these embeddings have no logits, and no head was given to fit(); give one of the two."
            )
        return _frozen(as_float64(self._head.logits(features), "logits", self._where.start))

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


def largest(logits: Floats) -> NDArray[np.int64]:
    """Return int64 ``[B]``: the column of each row's largest logit, the first one of several."""
    return np.argmax(logits, axis=1).astype(np.int64, copy=False)


def row_norms(block: NDArray[Any]) -> Floats:
    """Return float64 ``[B]`` Euclidean norms of ``[B, W]``, right to float64 also where squares would underflow."""
    values = np.asarray(block, dtype=np.float64)
    squares = np.einsum("ij,ij->i", values, values)
    norms = np.sqrt(squares)
    extreme = (squares < 1e-280) | ~np.isfinite(squares)
    if extreme.any():
        norms[extreme] = np.linalg.norm(_scaled(values[extreme]), axis=1) * _largest_size(values[extreme])
    return np.asarray(norms)


def _largest_size(values: Floats) -> Floats:
    return np.abs(values).max(axis=1, initial=0.0)


def _scaled(values: Floats) -> Floats:
    size = _largest_size(values)
    return values / np.where(size > 0.0, size, 1.0)[:, None]


def _frozen(array: NDArray[Any]) -> NDArray[Any]:
    view = array.view()
    view.flags.writeable = False
    return view
