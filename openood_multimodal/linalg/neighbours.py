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

CACHE_BYTES = 512 * 2**20
SIDE_BYTES = 64 * 2**20
"""Size of a prepared block of training rows, in float32; 8192 rows at most."""

PRODUCT_BYTES = 64 * 2**20
"""Size of the product of two blocks; a quarter of it costs a fifth more for packing the same rows more often."""

FINISH_BYTES = 4 * 2**20
"""Size of the float64 differences taken at once."""

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
        # far from float32's range, where its products overflow or vanish
        positive = self.norms[self.norms > 0.0]
        self._ordinary = len(positive) == 0 or bool(positive.max() < 1e15 and positive.min() > 1e-15)
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
        return np.asarray(1.0 / np.where(self.norms > 0.0, self.norms, 1.0))

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
        inverse = 1.0 / np.where(norms > 0.0, norms, 1.0)
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

    def _searched(
        self, features: NDArray[Any], inverse: Floats, rank: int, screen: Screen, all_ranks: bool
    ) -> Found:
        """Return ``[B, 1]``, what is found of a rank; ``[B, rank]``, of those up to it, for ``all_ranks``."""
        unit = self._prepared(features, inverse, screen.dtype)
        np.negative(unit, out=unit)
        queries = screen.put(unit)
        width = min(rank + SPARE + rank // 4, len(self))
        values = np.empty((len(unit), 0), dtype=screen.dtype)
        columns = np.empty((len(unit), 0), dtype=np.int64)
        longest = largest_error = 0.0
        low, high = np.inf, 0.0
        for block in self._prepared_blocks(screen):
            below = values.max(axis=1) if values.shape[1] >= width else None
            found, where = screen.arithmetic.smallest(screen.values(queries, block), width, below)
            values = np.concatenate([values, found], axis=1)
            columns = np.concatenate([columns, where + block.start], axis=1)
            if values.shape[1] > width:
                kept = np.argpartition(values, width - 1, axis=1)[:, :width]
                values = np.take_along_axis(values, kept, axis=1)
                columns = np.take_along_axis(columns, kept, axis=1)
            longest, largest_error = max(longest, block.length), max(largest_error, block.error)
            low, high = min(low, float(block.half.min())), max(high, float(block.half.max()))
        threshold = np.partition(values, rank - 1, axis=1)[:, rank - 1].astype(np.float64)
        lengths = row_norms(unit)
        # of q · y, and of ½|y|²; a query need not be shorter than 1
        margin = (screen.errors(unit, queries) + 4.0 * screen.roundoff) * np.maximum(lengths, 1.0) * longest
        margin += (lengths + largest_error) * largest_error
        sums = np.sqrt(unit.shape[1]) * lengths * longest + high + np.abs(threshold)
        margin += 4.0 * screen.roundoff * sums
        margin += screen.rounding(np.maximum(np.abs(high - threshold), np.abs(low - threshold)) + margin)
        out = Found.of_size(len(unit), rank if all_ranks else 1)
        rest = np.ones(len(unit), dtype=bool)
        finer = screen.finer()
        if values.shape[1] < len(self) and finer is not None:
            crowded = values.max(axis=1) <= threshold + 2.0 * margin
            if crowded.any():
                if crowded.mean() > 0.25 and isinstance(screen, ShortScreen):
                    self._screen, self._blocks = finer, None  # for good: it would be no better next time
                out.put(crowded, self._searched(features[crowded], inverse[crowded], rank, finer, all_ranks))
                rest = ~crowded
        gap = values - threshold[:, None]
        nearer = gap < -2.0 * margin[:, None]
        near = (gap <= 2.0 * margin[:, None]) & rest[:, None]
        if not all_ranks:
            near &= ~nearer
        places = np.full(len(unit), rank) if all_ranks else rank - np.count_nonzero(nearer, axis=1)
        if isinstance(screen, ShortScreen) and self._ordinary:
            few = (rank if all_ranks else 0) + 4
            for row in np.flatnonzero(near.sum(axis=1) > few):
                lower, close = self._nearer(features[row], inverse[row], columns[row, near[row]], places[row])
                near[row, near[row]] = close | lower if all_ranks else close
                if not all_ranks:
                    places[row] -= int(np.count_nonzero(lower))
        rows, place = np.nonzero(near)
        ranks = np.broadcast_to(np.arange(1, rank + 1), out.squared.shape) if all_ranks else places[:, None]
        out.put(rest, self._exact(features, inverse, rows, columns[rows, place], ranks[rest]))
        return out

    def _nearer(
        self, query: NDArray[Any], inverse: float, candidates: NDArray[np.int64], rank: int
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Return which of a row's candidates are nearer than the one of a rank, and which float32 can't tell from it.

        Of the rows that bfloat16 can't tell apart, most need no float64.
        """
        stored = np.asarray(self.features[candidates], dtype=np.float32)
        unit = (query * inverse).astype(np.float32)
        inverses = self._inverse[candidates]
        squares = np.einsum("ij,ij->i", stored, stored) * np.square(inverses)
        values = 0.5 * squares - (stored @ unit) * inverses
        gap = values - np.partition(values, rank - 1)[rank - 1]
        size = max(1.0, float(np.linalg.norm(unit)), float(np.sqrt(squares.max())))
        margin = 8.0 * U32 * (np.sqrt(len(unit)) + 1.0) * size * size
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
        if len(rows) < SEVERAL * len(starts):
            for where in block_slices(len(rows), 1, FINISH_BYTES // (8 * features.shape[1]) or 1):
                row = rows[where]
                difference = self._unit(candidates[where])
                difference -= np.asarray(features[row], dtype=np.float64) * inverse[row][:, None]
                squared[where] = np.einsum("ij,ij->i", difference, difference)
        else:
            for start, stop in itertools.pairwise([*starts.tolist(), len(rows)]):
                difference = self._unit(candidates[start:stop])
                difference -= np.asarray(features[rows[start]], dtype=np.float64) * inverse[rows[start]]
                squared[start:stop] = np.einsum("ij,ij->i", difference, difference)
        chosen = np.lexsort((squared, rows))[starts[:, None] + ranks - 1]
        return Found(squared[chosen], candidates[chosen])

    def _unit(self, rows: NDArray[np.int64]) -> Floats:
        stored = np.asarray(self.features[rows], dtype=np.float64)
        return np.asarray(stored * self._inverse[rows][:, None])

    def _prepared(self, features: NDArray[Any], inverse: Floats, dtype: np.dtype[Any]) -> NDArray[Any]:
        """Return unit rows minus the shift."""
        out = np.empty(features.shape, dtype=dtype)
        ordinary = bool(inverse.max() < 1e15 and inverse.min() > 1e-15)
        if features.dtype.itemsize <= 4 and ordinary and dtype == np.float32:
            np.multiply(features, inverse.astype(np.float32)[:, None], out=out)
        else:
            np.multiply(features, inverse[:, None], out=out, dtype=np.float64, casting="unsafe")
        out -= self._shift
        return out

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
            unit = self._prepared(np.asarray(self.features[where]), self._inverse[where], screen.dtype)
            squares = np.einsum("ij,ij->i", unit, unit)
            rows = screen.put(unit)
            block = Block(
                where.start,
                rows,
                0.5 * squares,
                float(np.sqrt(squares.max())),
                float(screen.errors(unit, rows).max()),
            )
            if keep:
                made.append(block)
            yield block
        if keep:
            self._blocks = made


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
        self._scale = float(np.exp2(np.ceil(np.log2(largest)))) if largest > 0.0 else 1.0
        self._scaled = Neighbours(features, self._scale, arithmetic)
        self.most = 1

    def __len__(self) -> int:
        return len(self._scaled)

    def smallest_squared_distances(self, features: NDArray[Any], count: int) -> Floats:
        """Return float64 ``[B, count]``, the squared distances of each row to its nearest training rows, rising."""
        norms = np.full(len(features), self._scale)
        return np.asarray(self._scaled.smallest_squared_distances(features, norms, count) * self._scale**2)
