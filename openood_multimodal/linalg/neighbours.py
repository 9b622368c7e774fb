"""The exact squared distance to the K-th nearest training row, all rows of unit norm.

Two steps.  A *screen* multiplies blocks of queries with blocks of training rows in low precision, and keeps the
nearest few of every query.  Its error is bounded, so the rows within the bound of the K-th are the only ones
that may be it; their distances are computed again from differences in float64.  So the result neither depends
on how the screen multiplies, nor on the blocks, and small distances don't cancel.

Memory is one block of each side and their product; the prepared training rows are kept where they take up to
512 MB, and made again for each block of queries where they take more.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .arithmetic import Arithmetic, Floats
from .rows import block_slices, row_norms
from .screens import U32, Block, Screen, ShortScreen, TorchScreen, seconds
from .threads import each

CACHE_BYTES = 512 * 2**20
SIDE_BYTES = 64 * 2**20
"""Size of a prepared block of training rows, in float32; 8192 rows at most."""

PRODUCT_BYTES = 64 * 2**20
"""Size of the product of two blocks; a quarter of it costs a fifth more for packing the same rows more often."""

FINISH_BYTES = 4 * 2**20
"""Size of the float64 differences taken at once."""

PART_BYTES = 16 * 2**20
"""Size of the rows that are prepared at once: stays in the cache."""

PIECE = 128
"""Columns whose products are summed in float32 at once: as many roundings at most, whatever the rows."""

SHORTEST = 1e-300
"""Norms up to it are taken for 0."""

SEVERAL = 6
"""Candidates of a row from which on their differences are taken a row at a time."""

SPARE = 64
"""Rows kept beyond K: as many may be within the screen's error above the K-th."""

TORCH_WORK = 2.5e11
"""Operations from which on it pays to load torch, to see whether it multiplies faster; a tenth if it is loaded."""


class Found(NamedTuple):
    """Neighbours of rows: ``squared`` float64 and ``rows`` int64, ``[B, k]``: distances and training rows."""

    squared: Floats
    rows: NDArray[np.int64]

    @classmethod
    def of_size(cls, rows: int, count: int) -> Found:
        """Return room for the neighbours of rows."""
        return cls(np.empty((rows, count)), np.empty((rows, count), dtype=np.int64))

    def put(self, where: Any, found: Found) -> None:
        """Set some rows."""
        self.squared[where], self.rows[where] = found


class Neighbours:
    """The training rows, to be searched.

    Args:
        features: ``[N, D]``; kept, not copied, and may be memory-mapped: they must not change.
        norms: float64 ``[N]``, theirs; another process makes them again.  A number: what all rows are divided by.
        arithmetic: where to compute.
    """

    def __init__(self, features: NDArray[Any], norms: Floats | float, arithmetic: Arithmetic) -> None:
        self.features = features
        self._scale = norms if isinstance(norms, float) else None
        if not isinstance(norms, float):
            self.norms = norms
        self._arithmetic = arithmetic
        count = len(features)
        chosen = np.linspace(0, count - 1, min(count, 512)).astype(np.int64)
        # distances don't change with a shift, and shorter vectors are multiplied with a smaller error
        self._shift = self._unit(chosen).mean(axis=0).astype(np.float32)
        self._ordinary = ordinary(self._inverse)
        self._screen: Screen | None = None
        self._blocks: list[Block] | None = None

    def __len__(self) -> int:
        return len(self.features)

    def __getstate__(self) -> dict[str, Any]:
        kept = {name: each for name, each in vars(self).items() if name not in ("norms", "_inverse")}
        return {**kept, "_screen": None, "_blocks": None}

    @cached_property
    def norms(self) -> Floats:
        """Float64 ``[N]``, what each row is divided by."""
        count, dim = self.features.shape
        if self._scale is not None:
            return np.broadcast_to(self._scale, count)
        return np.concatenate(
            [row_norms(np.asarray(self.features[where])) for where in block_slices(count, dim)]
        )

    @cached_property
    def _inverse(self) -> Floats:
        return inverses(self.norms)

    def squared_distance(
        self, features: NDArray[Any], norms: Floats, rank: int, expected: int | None = None
    ) -> Floats:
        """Return float64 ``[B]``, the squared distance of each row to its ``rank``-th nearest training row.

        Args:
            features: ``[B, D]``.
            norms: their norms.
            rank: K, 1 to N.
            expected: rows that will be asked for in all, to choose the screen by.
        """
        return self._found(features, norms, rank, expected, False)[0][:, 0]

    def smallest_squared_distances(self, features: NDArray[Any], norms: Floats, count: int) -> Floats:
        """Return float64 ``[B, count]``, the squared distances of each row to its nearest training rows, rising."""
        return self.nearest(features, norms, count)[0]

    def nearest(self, features: NDArray[Any], norms: Floats, count: int) -> Found:
        """Return squared distances of each row to its ``count`` nearest training rows, rising, and which these are."""
        return self._found(features, norms, count, None, True)

    def _found(
        self, features: NDArray[Any], norms: Floats, rank: int, expected: int | None, all_ranks: bool
    ) -> Found:
        if self._screen is None:
            self._screen = self._choose_screen(expected or len(features))
        inverse = inverses(norms)
        out = Found.of_size(len(features), rank if all_ranks else 1)
        step = max(1, PRODUCT_BYTES // (4 * max(1, self._block_rows())))
        for where in block_slices(len(features), 1, step):
            out.put(where, self._searched(features[where], inverse[where], rank, self._screen, all_ranks))
        return out

    def _choose_screen(self, queries: int) -> Screen:
        plain = Screen(self._arithmetic)
        count, dim = self.features.shape
        enough = TORCH_WORK / 10 if "torch" in sys.modules else TORCH_WORK
        if self._arithmetic.device != "cpu" or 2.0 * count * dim * queries < enough:
            return plain
        # another one has to be clearly faster: the shorter products leave more to be computed again
        tried = {plain: 1.0, TorchScreen(self._arithmetic): 0.9, ShortScreen(self._arithmetic): 0.75}
        return min(tried, key=lambda screen: seconds(screen, dim) / tried[screen])

    @np.errstate(
        over="ignore", invalid="ignore"
    )  # queries beyond a screen's range are searched by a finer one
    def _searched(
        self, features: NDArray[Any], inverse: Floats, rank: int, screen: Screen, all_ranks: bool
    ) -> Found:
        """Return ``[B, 1]``, what is found of a rank; ``[B, rank]``, of those up to it, for ``all_ranks``."""
        queries, squares, errors = self._put(screen, features, inverse, True)
        width = min(rank + SPARE + rank // 4, len(self))
        values = np.empty((len(features), 0), dtype=screen.dtype)
        columns = np.empty((len(features), 0), dtype=np.int64)
        longest = largest_error = 0.0
        high = 0.0
        for block in self._prepared_blocks(screen):
            below = values.max(axis=1) if values.shape[1] >= width else None
            found, where = screen.smallest(screen.values(queries, block), width, below)
            values = np.concatenate([values, found], axis=1)
            columns = np.concatenate([columns, where + block.start], axis=1)
            if values.shape[1] > width:
                kept = np.argpartition(values, width - 1, axis=1)[:, :width]
                values = np.take_along_axis(values, kept, axis=1)
                columns = np.take_along_axis(columns, kept, axis=1)
            longest, largest_error = max(longest, block.length), max(largest_error, block.error)
            high = max(high, float(block.half.max()))
        dim = features.shape[1]
        threshold = np.partition(values, rank - 1, axis=1)[:, rank - 1].astype(np.float64)
        lengths = np.sqrt(squares.astype(np.float64)) * (1.0 + dim * screen.roundoff)
        # of q · y, and of ½|y|²; a query need not be shorter than 1
        margin = (errors + 4.0 * screen.roundoff) * np.maximum(lengths, 1.0) * longest
        margin += (lengths + errors) * largest_error
        # sums of D terms: D roundings in any order, and fewer in BLAS's, which sums blocks of columns
        margin += (min(dim, 16.0 * np.sqrt(dim)) + 8.0) * screen.roundoff * (lengths * longest + high)
        margin += 4.0 * screen.roundoff * np.abs(threshold)
        margin += screen.rounding(np.abs(threshold) + margin)
        out = Found.of_size(len(features), rank if all_ranks else 1)
        rest = np.ones(len(features), dtype=bool)
        finer = screen.finer()
        enough = values.shape[1] == len(self)
        # a query beyond the screen's range has no margin
        crowded = ~((values.max(axis=1) > threshold + 2.0 * margin) | (enough & np.isfinite(margin)))
        if finer is not None and crowded.any():
            if crowded.mean() > 0.25 and isinstance(screen, ShortScreen):
                self._screen, self._blocks = finer, None  # for good: it would be no better next time
            out.put(crowded, self._searched(features[crowded], inverse[crowded], rank, finer, all_ranks))
            rest = ~crowded
        gap = values - threshold[:, None]
        nearer = gap < -2.0 * margin[:, None]
        near = ~(gap > 2.0 * margin[:, None]) & rest[:, None]
        if not all_ranks:
            near &= ~nearer
        places = np.full(len(near), rank) if all_ranks else rank - np.count_nonzero(nearer, axis=1)
        if isinstance(screen, ShortScreen) and self._ordinary and ordinary(inverse):
            many = np.flatnonzero(near.sum(axis=1) > (rank if all_ranks else 0) + 4)
            lower, close = self._told_apart(features, inverse, many, lengths, columns, near, places)
            near[many] = close | lower if all_ranks else close
            if not all_ranks:
                places[many] -= np.count_nonzero(lower, axis=1)
        rows, place = np.nonzero(near)
        ranks = np.broadcast_to(np.arange(1, rank + 1), out.squared.shape) if all_ranks else places[:, None]
        out.put(rest, self._exact(features, inverse, rows, columns[rows, place], ranks[rest]))
        return out

    def _told_apart(
        self,
        features: NDArray[Any],
        inverse: Floats,
        rows: NDArray[np.int64],
        lengths: Floats,
        columns: NDArray[np.int64],
        near: NDArray[np.bool_],
        places: NDArray[np.int64],
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Return ``[n, width]``, which candidates are nearer than the one of a place, and which float32 can't tell.

        Of the rows that bfloat16 can't tell apart, most need no float64.

        Args:
            features: ``[B, D]``.
            inverse: ``[B]``.
            rows: ``[n]`` of them.
            lengths: ``[B]`` of the rows minus the shift.
            columns: ``[B, width]`` training rows.
            near: ``[B, width]``, which of these are candidates.
            places: ``[B]``, the place among a row's candidates, from 1.
        """
        row, place = np.nonzero(near[rows])
        queries, candidates = rows[row], columns[rows[row], place]
        values = np.full((len(rows), near.shape[1]), np.inf)
        squares = np.empty(len(row))
        dim = features.shape[1]

        def multiply(where: slice) -> None:
            stored = np.asarray(self.features[candidates[where]], dtype=np.float32)
            asked = np.asarray(features[queries[where]], dtype=np.float32)
            scales = self._inverse[candidates[where]]
            squares[where] = dot_products(stored, stored) * np.square(scales)
            products = dot_products(stored, asked) * scales * inverse[queries[where]]
            values[row[where], place[where]] = 0.5 * squares[where] - products

        each(block_slices(len(row), 1, FINISH_BYTES // (8 * dim) or 1), multiply)
        gap = values - np.take_along_axis(np.sort(values, axis=1), places[rows][:, None] - 1, axis=1)
        longest = np.sqrt(squares.max(initial=1.0))
        sums = longest * (longest + 2.0 * (lengths[rows] + np.linalg.norm(self._shift)))
        margin = ((PIECE + 8.0) * U32 * sums)[:, None]
        return gap < -margin, np.abs(gap) <= margin

    def _exact(
        self,
        features: NDArray[Any],
        inverse: Floats,
        rows: NDArray[np.int64],
        candidates: NDArray[np.int64],
        ranks: NDArray[np.int64],
    ) -> Found:
        """Return ``[n, r]``, the squared distances of each row in ``rows`` to the candidates of its ranks, and these.

        Args:
            features: ``[B, D]``.
            inverse: ``[B]``.
            rows: ``[k]``, rising; a row for each of its candidates.
            candidates: ``[k]`` training rows.
            ranks: ``[n, r]`` of each row that occurs, from 1.
        """
        squared = np.empty(len(rows))
        starts = np.flatnonzero(np.diff(rows, prepend=-1))

        def subtract(where: slice, asked: Any) -> None:
            difference = self._unit(candidates[where])
            difference -= np.asarray(features[asked], dtype=np.float64) * inverse[asked][..., None]
            squared[where] = np.einsum("ij,ij->i", difference, difference)

        if len(rows) < SEVERAL * len(starts):
            parts = block_slices(len(rows), 1, FINISH_BYTES // (8 * features.shape[1]) or 1)
            each(parts, lambda where: subtract(where, rows[where]))
        else:
            ends = [*starts.tolist(), len(rows)]
            each(
                itertools.starmap(slice, itertools.pairwise(ends)),
                lambda where: subtract(where, rows[where.start]),
            )
        chosen = np.lexsort((squared, rows))[starts[:, None] + ranks - 1]
        return Found(squared[chosen], candidates[chosen])

    def _unit(self, rows: NDArray[np.int64]) -> Floats:
        stored = np.asarray(self.features[rows], dtype=np.float64)
        return np.asarray(stored * self._inverse[rows][:, None])

    def _put(
        self, screen: Screen, features: NDArray[Any], inverse: Floats, queries: bool
    ) -> tuple[Any, NDArray[Any], Floats]:
        """Return unit rows minus the shift, in the screen's form, their squared lengths, and bounds of its errors.

        Of queries, minus the rows.
        """
        count, dim = features.shape
        room = screen.room(count, dim)
        squares, errors = np.empty(count, dtype=screen.dtype), np.empty(count)
        single = features.dtype.itemsize <= 4 and screen.dtype == np.float32 and ordinary(inverse)
        for where in block_slices(count, 1, PART_BYTES // (screen.dtype.itemsize * dim) or 1):
            if single:
                unit = features[where] * inverse[where].astype(np.float32)[:, None]
            else:
                with np.errstate(
                    over="ignore"
                ):  # a query beyond the screen's range is searched by a finer one
                    unit = (features[where] * inverse[where][:, None]).astype(screen.dtype)
            unit -= self._shift
            squares[where] = np.einsum("ij,ij->i", unit, unit)
            if queries:
                errors[where] = screen.put(room, where, np.negative(unit, out=unit))
            else:
                errors[where] = screen.put(room, where, unit, 0.5 * squares[where])
        return screen.ready(room), squares, errors

    def _block_rows(self) -> int:
        count, dim = self.features.shape
        return max(1, min(count, 8192, SIDE_BYTES // (4 * dim)))

    def _prepared_blocks(self, screen: Screen) -> Iterator[Block]:
        if self._blocks is not None and screen is self._screen:
            yield from self._blocks
            return
        count, dim = self.features.shape
        keep = screen is self._screen and count * dim * screen.itemsize <= CACHE_BYTES
        made: list[Block] = []
        for where in block_slices(count, 1, self._block_rows()):
            rows, squares, errors = self._put(
                screen, np.asarray(self.features[where]), self._inverse[where], False
            )
            length = float(np.sqrt(squares.max())) * (1.0 + dim * screen.roundoff)
            block = Block(where.start, rows, 0.5 * squares, length, float(errors.max()))
            if keep:
                made.append(block)
            yield block
        if keep:
            self._blocks = made


def inverses(norms: Floats) -> Floats:
    """Return 1 / norm; 1 for rows of zeros, and for those so short that it would overflow."""
    return np.asarray(1.0 / np.where(norms > SHORTEST, norms, 1.0))


def dot_products(left: NDArray[Any], right: NDArray[Any]) -> Floats:
    """Return float64 ``[n]``, dot products of float32 rows; float32 sums have `PIECE` columns at most."""
    whole = left.shape[1] - left.shape[1] % PIECE
    pieces = (rows[:, :whole].reshape(len(rows), whole // PIECE, PIECE) for rows in (left, right))
    sums = np.einsum("ikj,ikj->ik", *pieces).sum(axis=1, dtype=np.float64)
    return np.asarray(sums + np.einsum("ij,ij->i", left[:, whole:], right[:, whole:]))


def ordinary(inverse: Floats) -> bool:
    """Return whether float32 products of such rows are far from its range, where they overflow or vanish."""
    return bool(inverse.max() < 1e15 and inverse.min() > 1e-15)


class RowNeighbours:
    """Training rows to be searched as they are, whatever their norms.

    Args:
        features: ``[N, D]``; kept, not copied.
        largest: the largest norm of a row.
        arithmetic: where to compute.

    Attributes:
        most: neighbours that `Rows.nearest` asks for: the most that a score wants, so that one search does for all.
    """

    def __init__(self, features: NDArray[Any], largest: float, arithmetic: Arithmetic) -> None:
        # one power of two for all rows: no digit changes, and none is longer than 1, as the screens' bounds have it
        self._scale = float(np.exp2(np.ceil(np.log2(largest)))) if largest > SHORTEST else 1.0
        self._scaled = Neighbours(features, self._scale, arithmetic)
        self.most = 1

    def __len__(self) -> int:
        return len(self._scaled)

    def smallest_squared_distances(self, features: NDArray[Any], count: int) -> Floats:
        """Return float64 ``[B, count]``, the squared distances of each row to its nearest training rows, rising."""
        norms = np.full(len(features), self._scale)
        return np.asarray(self._scaled.smallest_squared_distances(features, norms, count) * self._scale**2)
