"""Products that select neighbours: in low precision, with a bound of their error."""

from __future__ import annotations

from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arithmetic import Arithmetic, Floats
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


_speeds: dict[tuple[str, int], float] = {}


def seconds(screen: Screen, dim: int) -> float:
    """Return how long a screen takes for a block of rows of a width; measured once in a process."""
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
