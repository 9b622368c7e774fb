"""Rows of embeddings, a block at a time, in float64 and known to be finite.

Everything that reads an embedding reads it through here, so that memory is set by the block and not by N,
and so that a NaN is named by its row instead of spoiling a score.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from .threads import each

Floats = NDArray[np.float64]

BLOCK_BYTES = 64 * 2**20
"""Size of one float64 block of features, unless a number of rows is asked for."""


PART_BYTES = 2 * 2**20
"""Size of a float64 part of a block: stays in the cache."""

PART_ROWS = 240
"""A part has as many rows, even if it takes up to 8 times `PART_BYTES`: a product of few rows is slow."""

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
    with np.errstate(over="ignore", invalid="ignore"):
        suspicious = not np.isfinite(
            block.sum()
        )  # one pass and no copy; the sum of finite values may overflow
    finite = np.isfinite(block) if suspicious else None
    if finite is not None and not finite.all():
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


def require_finite_rows(array: NDArray[Any], what: str, rows: int | None = None) -> None:
    """Do `require_finite` for ``array`` [N, W] of any length, a block of rows at a time."""
    for where in block_slices(len(array), array.shape[1], rows):
        require_finite(array[where], what, where.start)


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


def of_float64_parts(block: NDArray[Any], work: Callable[[slice, Floats], object]) -> None:
    """Call ``work`` with all rows of ``block`` [B, W] in float64, so few at once that they stay in the cache.

    Args:
        block: of any precision.
        work: called with the rows meant and their values, in no order and by several threads (`threads.each`).  The
            values are not to be written to; the next ones may overwrite them.
    """
    width = max(1, block.shape[1])
    fitting = PART_BYTES // (8 * width)
    parts = list(block_slices(len(block), 1, max(1, fitting, min(PART_ROWS, 8 * fitting))))
    own = threading.local()

    def one(where: slice) -> None:
        part = block[where]
        if part.dtype != np.float64:
            if not hasattr(own, "room"):
                own.room = np.empty((parts[0].stop, block.shape[1]))  # the first part is the longest
            np.copyto(own.room[: len(part)], part)
            part = own.room[: len(part)]
        work(where, part)

    each(parts, one)


def largest(logits: Floats) -> NDArray[np.int64]:
    """Return int64 ``[B]``: the column of each row's largest logit, the first one of several."""
    return np.argmax(logits, axis=1).astype(np.int64, copy=False)


def row_norms(block: NDArray[Any]) -> Floats:
    """Return float64 ``[B]`` Euclidean norms of ``[B, W]``, right to float64 also where squares would underflow."""
    squares = np.empty(len(block))
    of_float64_parts(block, lambda where, values: np.einsum("ij,ij->i", values, values, out=squares[where]))
    norms = np.sqrt(squares)
    extreme = (squares < 1e-280) | ~np.isfinite(squares)
    if extreme.any():
        values = np.asarray(block[extreme], dtype=np.float64)
        norms[extreme] = np.linalg.norm(_scaled(values), axis=1) * _largest_size(values)
    return norms


def _largest_size(values: Floats) -> Floats:
    return np.abs(values).max(axis=1, initial=0.0)


def _scaled(values: Floats) -> Floats:
    size = _largest_size(values)
    return values / np.where(size > 0.0, size, 1.0)[:, None]
