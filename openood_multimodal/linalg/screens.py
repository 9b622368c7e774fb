"""Products that select neighbours: in low precision, with a bound of their error."""

from __future__ import annotations

from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arithmetic import Arithmetic, Floats, values_below
from .threads import load_torch

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
        dtype: of rows that are put, and of what products are summed in.
        roundoff: of that type.
        itemsize: bytes of a prepared number.
    """

    dtype: np.dtype[Any] = np.dtype(np.float32)
    roundoff = U32
    itemsize = 4

    def __init__(self, arithmetic: Arithmetic) -> None:
        self.arithmetic = arithmetic
        self._room = np.empty(0, dtype=self.dtype)

    def room(self, rows: int, dim: int) -> Any:
        """Return memory for rows in the form that `values` multiplies."""
        return np.empty((rows, dim), dtype=self.dtype)

    def put(self, room: Any, where: slice, rows: NDArray[Any], half: NDArray[Any] | None = None) -> Floats:
        """Put rows into a part of the room.

        Args:
            room: of `room`.
            where: the part.
            rows: ``[n, D]``: training rows, or minus the queries.
            half: ``[n]`` ½|y|² of training rows.

        Returns:
            ``[n]``, bounds of the norm of what this and the rows' own preparation rounded away.
        """
        room[where] = rows
        return np.full(len(rows), 4.0 * self.roundoff)

    def ready(self, room: Any) -> Any:
        """Return a room that has been filled, where it is multiplied."""
        return self.arithmetic.put(room, self.dtype)

    def values(self, queries: Any, block: Block) -> Any:
        """Return ``[B, n]`` ½|y|² + q · y, q being minus the query; the next call may overwrite it."""
        if not isinstance(queries, np.ndarray):  # on a GPU
            return (queries @ block.rows.T).add_(self.arithmetic.put(block.half, self.dtype))
        out = np.matmul(queries, block.rows.T, out=self._space(len(queries), len(block.rows)))
        out += block.half
        return out

    def smallest(
        self, values: Any, count: int, below: NDArray[Any] | None
    ) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Return the smallest of `values`, see `Arithmetic.smallest`."""
        return self.arithmetic.smallest(values, count, below)

    def _space(self, rows: int, columns: int) -> NDArray[Any]:
        """Return memory that is used again: fresh pages cost a tenth of the product."""
        if self._room.size < rows * columns:
            self._room = np.empty(rows * columns, dtype=self.dtype)
        return self._room[: rows * columns].reshape(rows, columns)

    def rounding(self, values: Floats) -> Floats:
        """Return what rounding of `values` of that size adds to the error."""
        return np.zeros_like(values)

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

    def ready(self, room: Any) -> Any:
        """Return a tensor."""
        return load_torch().from_numpy(room)

    def values(self, queries: Any, block: Block) -> Any:
        """Return ``[B, n]`` float32 ½|y|² + q · y."""
        torch = load_torch()
        out = self._space(len(queries), len(block.rows))
        torch.add(torch.from_numpy(block.half), queries @ block.rows.T, out=torch.from_numpy(out))
        return out


class ShortScreen(Screen):
    """Products of bfloat16, by torch on the CPU: several times faster where the CPU knows them.

    ½|y|² is part of the product, as the sum of three bfloat16 in further columns, times 1: one pass less over the
    values, and these, not the larger products, are rounded to bfloat16.
    """

    itemsize = 2
    further = 32  # columns; CPUs multiply so many at a time

    def room(self, rows: int, dim: int) -> Any:
        """Return a bfloat16 tensor with further columns."""
        torch = load_torch()
        return torch.zeros((rows, dim + self.further), dtype=torch.bfloat16)

    def put(self, room: Any, where: slice, rows: NDArray[Any], half: NDArray[Any] | None = None) -> Floats:
        """Put rows; the bounds are the norms of what rounding to bfloat16 took, and float32's share."""
        torch = load_torch()
        dim = rows.shape[1]
        part = room[where]
        part[:, :dim] = torch.from_numpy(rows)
        lost = part[:, :dim].float().numpy()
        np.subtract(rows, lost, out=lost)
        if half is None:
            part[:, dim : dim + 3] = 1.0
        else:
            rest = torch.from_numpy(half.copy())
            for column in range(dim, dim + 3):
                part[:, column] = rest
                rest -= part[:, column]
        return np.sqrt(np.einsum("ij,ij->i", lost, lost).astype(np.float64)) + 4.0 * U32

    def ready(self, room: Any) -> Any:
        """Return the tensor."""
        return room

    def values(self, queries: Any, block: Block) -> Any:
        """Return ``[B, n]`` bfloat16 ½|y|² + q · y."""
        return load_torch().nn.functional.linear(queries, block.rows)

    def smallest(
        self, values: Any, count: int, below: NDArray[Any] | None
    ) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Return the smallest values in float32; they are compared as they are."""
        torch = load_torch()
        if below is not None:
            bounds = torch.from_numpy(below).bfloat16()  # values of this screen: nothing is rounded
            few = values_below(values, bounds, count)
            if few is not None:
                return few
        count = min(count, values.shape[1])
        kept, columns = torch.topk(values, count, dim=1, largest=False, sorted=False)
        return kept.float().numpy(), columns.numpy()

    def rounding(self, values: Floats) -> Floats:
        """Return the half unit in the last place of a bfloat16 of that size."""
        return 1.01 * U16 * values

    def finer(self) -> Screen | None:
        """Return the float32 screen."""
        return Screen(self.arithmetic)


_speeds: dict[tuple[str, int], float] = {}


def seconds(screen: Screen, dim: int) -> float:
    """Return how long a screen takes for a block of rows of a width; measured once in a process."""
    key = (type(screen).__name__, dim)
    if key not in _speeds:
        rows = np.random.default_rng(0).standard_normal((512, dim), dtype=np.float32)
        room = screen.room(*rows.shape)
        screen.put(room, slice(None), rows)
        block = Block(0, screen.ready(room), np.zeros(len(rows), dtype=np.float32), 1.0, 1.0)
        queries = block.rows[:256]
        times = []
        for _ in range(10):  # the least of them: other processes only ever slow one down
            start = perf_counter()
            screen.values(queries, block)
            times.append(perf_counter() - start)
        _speeds[key] = min(times)
    return _speeds[key]
