"""The exact squared distance to the K-th nearest training row, all rows of unit norm.

Two steps.  A *screen* multiplies blocks of queries with blocks of training rows in low precision, and keeps the
nearest few of every query.  Its error is bounded, so the rows within the bound of the K-th are the only ones
that may be it; their distances are computed again from differences in float64.  So the result neither depends
on how the screen multiplies, nor on the blocks, and small distances don't cancel.

Memory is one block of each side and their product; the prepared training rows are kept where they take up to
512 MB, and made again for each block of queries where they take more.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arithmetic import Arithmetic, Floats
from .rows import block_slices, row_norms
from .threads import load_torch

CACHE_BYTES = 512 * 2**20
SIDE_BYTES = 64 * 2**20
"""Size of a prepared block of training rows, in float32; 8192 rows at most."""

PRODUCT_BYTES = 64 * 2**20
"""Size of the product of two blocks; a quarter of it costs a fifth more for packing the same rows more often."""

FINISH_BYTES = 4 * 2**20
"""Size of the float64 differences taken at once."""

SPARE = 64
"""Rows kept beyond K: as many may be within the screen's error above the K-th."""

TORCH_WORK = 2.5e11
"""Operations from which on it pays to load torch, to see whether it multiplies faster; a tenth if it is loaded."""

U64, U32, U16 = 2.0**-53, 2.0**-24, 2.0**-9  # unit roundoff of float64, float32 and bfloat16


class Block:
    """Prepared training rows: ``rows`` in the screen's form, ``half`` ``[n]`` ½|y|², bounds of norms."""

    def __init__(self, start: int, rows: Any, half: NDArray[Any], length: float, error: float) -> None:
        self.start = start
        self.rows = rows
        self.half = half
        self.length = length
        self.error = error


class Screen:
    """Products in float32, by BLAS or on a GPU.

    Args:
        arithmetic: where to compute.

    Attributes:
        dtype: of prepared rows, and of what products are summed in.
        roundoff: of that type.
        itemsize: bytes of a prepared number.
    """

    dtype: np.dtype[Any] = np.dtype(np.float32)
    roundoff = U32
    itemsize = 4

    def __init__(self, arithmetic: Arithmetic) -> None:
        self.arithmetic = arithmetic
        self._room = np.empty(0, dtype=self.dtype)

    def put(self, rows: NDArray[Any]) -> Any:
        """Return rows in the form that `values` multiplies."""
        return self.arithmetic.put(rows, self.dtype)

    def errors(self, rows: NDArray[Any], put: Any) -> Floats:
        """Return ``[n]``, bounds of the norm of what `put` and the rows' own preparation rounded away."""
        return np.full(len(rows), 4.0 * self.roundoff)

    def values(self, queries: Any, block: Block) -> Any:
        """Return ``[B, n]`` ½|y|² + q · y, q being minus the query; the next call may overwrite it."""
        if not isinstance(queries, np.ndarray):  # on a GPU
            return (queries @ block.rows.T).add_(self.arithmetic.put(block.half, self.dtype))
        out = np.matmul(queries, block.rows.T, out=self._space(len(queries), len(block.rows)))
        out += block.half
        return out

    def _space(self, rows: int, columns: int) -> NDArray[Any]:
        """Return memory that is used again: fresh pages cost a tenth of the product."""
        if self._room.size < rows * columns:
            self._room = np.empty(rows * columns, dtype=self.dtype)
        return self._room[: rows * columns].reshape(rows, columns)

    def rounding(self, near: Floats) -> Floats:
        """Return what rounding of the products themselves adds to the error, for products of size ``near``."""
        return np.zeros_like(near)

    def finer(self) -> Screen | None:
        """Return a screen for rows that this one can't tell apart."""
        return DoubleScreen(self.arithmetic)


class DoubleScreen(Screen):
    """Products in float64, for training rows that lie closer together than float32 can tell."""

    dtype = np.dtype(np.float64)
    roundoff = U64
    itemsize = 8

    def finer(self) -> Screen | None:
        """Return None."""
        return None


class TorchScreen(Screen):
    """Products in float32 by torch on the CPU, whose BLAS may be faster than NumPy's."""

    def put(self, rows: NDArray[Any]) -> Any:
        """Return a tensor."""
        return load_torch().from_numpy(np.ascontiguousarray(rows))

    def values(self, queries: Any, block: Block) -> Any:
        """Return ``[B, n]`` float32 ½|y|² + q · y."""
        torch = load_torch()
        out = self._space(len(queries), len(block.rows))
        torch.add(torch.from_numpy(block.half), queries @ block.rows.T, out=torch.from_numpy(out))
        return out


class ShortScreen(TorchScreen):
    """Products of bfloat16, by torch on the CPU: several times faster where the CPU knows them."""

    itemsize = 2

    def put(self, rows: NDArray[Any]) -> Any:
        """Return a bfloat16 tensor."""
        return super().put(rows).bfloat16()

    def errors(self, rows: NDArray[Any], put: Any) -> Floats:
        """Return the norms of what rounding to bfloat16 took, and float32's share."""
        lost = put.float().numpy()
        np.subtract(rows, lost, out=lost)
        return np.sqrt(np.einsum("ij,ij->i", lost, lost).astype(np.float64)) + 4.0 * U32

    def rounding(self, near: Floats) -> Floats:
        """Return the half unit in the last place of a bfloat16 of that size."""
        return 1.01 * U16 * near

    def finer(self) -> Screen | None:
        """Return the float32 screen."""
        return Screen(self.arithmetic)


class Neighbours:
    """The training rows, to be searched.

    Args:
        features: ``[N, D]``; kept, not copied, and may be memory-mapped: they must not change.
        norms: float64 ``[N]``.
        arithmetic: where to compute.
    """

    def __init__(self, features: NDArray[Any], norms: Floats, arithmetic: Arithmetic) -> None:
        self.features = features
        self.norms = norms
        self._arithmetic = arithmetic
        self._inverse = 1.0 / np.where(norms > 0.0, norms, 1.0)
        count = len(features)
        chosen = np.linspace(0, count - 1, min(count, 512)).astype(np.int64)
        # distances don't change with a shift, and shorter vectors are multiplied with a smaller error
        self._shift = self._unit(chosen).mean(axis=0).astype(np.float32)
        # far from float32's range, where its products overflow or vanish
        positive = norms[norms > 0.0]
        self._ordinary = len(positive) == 0 or bool(positive.max() < 1e15 and positive.min() > 1e-15)
        self._screen: Screen | None = None
        self._blocks: list[Block] | None = None

    def __len__(self) -> int:
        return len(self.features)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_screen": None, "_blocks": None}

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
        return self._squared_distances(features, norms, rank, expected, False)[:, 0]

    def smallest_squared_distances(self, features: NDArray[Any], norms: Floats, count: int) -> Floats:
        """Return float64 ``[B, count]``, the squared distances of each row to its nearest training rows, rising."""
        return self._squared_distances(features, norms, count, None, True)

    def _squared_distances(
        self, features: NDArray[Any], norms: Floats, rank: int, expected: int | None, all_ranks: bool
    ) -> Floats:
        if self._screen is None:
            self._screen = self._choose_screen(expected or len(features))
        inverse = 1.0 / np.where(norms > 0.0, norms, 1.0)
        out = np.empty((len(features), rank if all_ranks else 1))
        step = max(1, PRODUCT_BYTES // (4 * max(1, self._block_rows())))
        for where in block_slices(len(features), 1, step):
            out[where] = self._searched(features[where], inverse[where], rank, self._screen, all_ranks)
        return out

    def _choose_screen(self, queries: int) -> Screen:
        plain = Screen(self._arithmetic)
        count, dim = self.features.shape
        enough = TORCH_WORK / 10 if "torch" in sys.modules else TORCH_WORK
        if self._arithmetic.device != "cpu" or 2.0 * count * dim * queries < enough:
            return plain
        # another one has to be clearly faster: the shorter products leave more to be computed again
        tried = {plain: 1.0, TorchScreen(self._arithmetic): 0.9, ShortScreen(self._arithmetic): 0.75}
        return min(tried, key=lambda screen: _seconds(screen, dim) / tried[screen])

    def _searched(
        self, features: NDArray[Any], inverse: Floats, rank: int, screen: Screen, all_ranks: bool
    ) -> Floats:
        """Return ``[B, 1]``, the squared distances of a rank; ``[B, rank]``, those up to it, for ``all_ranks``."""
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
        out = np.empty((len(unit), rank if all_ranks else 1))
        rest = np.ones(len(unit), dtype=bool)
        finer = screen.finer()
        if values.shape[1] < len(self) and finer is not None:
            crowded = values.max(axis=1) <= threshold + 2.0 * margin
            if crowded.any():
                if crowded.mean() > 0.25 and isinstance(screen, ShortScreen):
                    self._screen, self._blocks = finer, None  # for good: it would be no better next time
                out[crowded] = self._searched(features[crowded], inverse[crowded], rank, finer, all_ranks)
                rest = ~crowded
        gap = values - threshold[:, None]
        nearer = gap < -2.0 * margin[:, None]
        near = (gap <= 2.0 * margin[:, None]) & rest[:, None]
        if all_ranks:
            rows, place = np.nonzero(near)
            places = np.broadcast_to(np.arange(1, rank + 1), out.shape)
            out[rest] = self._exact(features, inverse, rows, columns[rows, place], places[rest])
            return out
        near &= ~nearer
        places = rank - np.count_nonzero(nearer, axis=1)
        if isinstance(screen, ShortScreen) and self._ordinary:
            for row in np.flatnonzero(near.sum(axis=1) > 4):
                near[row], places[row] = self._nearer(
                    features[row], inverse[row], columns[row], near[row], places[row]
                )
        rows, place = np.nonzero(near)
        out[rest] = self._exact(features, inverse, rows, columns[rows, place], places[rest, None])
        return out

    def _nearer(
        self,
        query: NDArray[Any],
        inverse: float,
        columns: NDArray[np.int64],
        near: NDArray[np.bool_],
        rank: int,
    ) -> tuple[NDArray[np.bool_], int]:
        """Return which of a row's candidates float32 can't tell apart, and the rank among them.

        Of the rows that bfloat16 can't tell apart, most need no float64.
        """
        candidates = columns[near]
        stored = np.asarray(self.features[candidates], dtype=np.float32)
        unit = (query * inverse).astype(np.float32)
        inverses = self._inverse[candidates]
        squares = np.einsum("ij,ij->i", stored, stored) * np.square(inverses)
        values = 0.5 * squares - (stored @ unit) * inverses
        threshold = np.partition(values, rank - 1)[rank - 1]
        size = max(1.0, float(np.linalg.norm(unit)), float(np.sqrt(squares.max())))
        margin = 8.0 * U32 * (np.sqrt(len(unit)) + 1.0) * size * size
        kept = near.copy()
        kept[near] = np.abs(values - threshold) <= margin
        return kept, rank - int(np.count_nonzero(values < threshold - margin))

    def _exact(
        self,
        features: NDArray[Any],
        inverse: Floats,
        rows: NDArray[np.int64],
        candidates: NDArray[np.int64],
        ranks: NDArray[np.int64],
    ) -> Floats:
        """Return ``[n, r]``, the squared distances of each row in ``rows`` to the candidates of its ranks.

        Args:
            features: ``[B, D]``.
            inverse: ``[B]``.
            rows: ``[k]``, rising; a row for each of its candidates.
            candidates: ``[k]`` training rows.
            ranks: ``[n, r]`` of each row that occurs, from 1.
        """
        squared = np.empty(len(rows))
        for where in block_slices(len(rows), features.shape[1], FINISH_BYTES // (8 * features.shape[1]) or 1):
            row = rows[where]
            difference = self._unit(candidates[where])
            difference -= np.asarray(features[row], dtype=np.float64) * inverse[row][:, None]
            squared[where] = np.einsum("ij,ij->i", difference, difference)
        starts = np.flatnonzero(np.diff(rows, prepend=-1))
        return np.asarray(squared[np.lexsort((squared, rows))][starts[:, None] + ranks - 1])

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
        self._scaled = Neighbours(features, np.full(len(features), self._scale), arithmetic)
        self.most = 1

    def __len__(self) -> int:
        return len(self._scaled)

    def smallest_squared_distances(self, features: NDArray[Any], count: int) -> Floats:
        """Return float64 ``[B, count]``, the squared distances of each row to its nearest training rows, rising."""
        norms = np.full(len(features), self._scale)
        return np.asarray(self._scaled.smallest_squared_distances(features, norms, count) * self._scale**2)


_speeds: dict[tuple[str, int], float] = {}


def _seconds(screen: Screen, dim: int) -> float:
    key = (type(screen).__name__, dim)
    if key not in _speeds:
        rows = np.random.default_rng(0).standard_normal((512, dim), dtype=np.float32)
        block = Block(0, screen.put(rows), np.zeros(len(rows), dtype=np.float32), 1.0, 1.0)
        queries = screen.put(rows[:256])
        times = []
        for _ in range(10):  # the least of them: other processes only ever slow one down
            start = perf_counter()
            screen.values(queries, block)
            times.append(perf_counter() - start)
        _speeds[key] = min(times)
    return _speeds[key]
