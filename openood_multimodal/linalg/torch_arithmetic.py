"""The same products in torch, for a GPU."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from .arithmetic import Arithmetic, Floats, mirror
from .threads import load_torch


class TorchArithmetic(Arithmetic):
    """Dense products of torch on one device.

    Args:
        device: ``"cuda"``, ``"cuda:<n>"``; also ``"cpu"``, which is for tests: BLAS is faster there.

    Raises:
        UserError: when torch sees no such device.
    """

    def __init__(self, device: str) -> None:
        self.device = device
        torch = load_torch()
        if device.startswith("cuda"):
            if not torch.cuda.is_available():
                raise UserError(
                    f"device is '{device}', and torch sees no CUDA device here; use "
                    'device="cpu", or install a torch built for CUDA.'
                )
            number = int(device.partition(":")[2] or 0)
            if number >= torch.cuda.device_count():
                raise UserError(
                    f"device is '{device}', and there are {torch.cuda.device_count()} CUDA devices."
                )

    def put(self, array: NDArray[Any], dtype: Any) -> Any:
        """Return a tensor on the device."""
        torch = load_torch()
        # a copy: torch warns of memory that it must not write to, and memory maps are such
        return torch.from_numpy(np.array(array, dtype=dtype, order="C")).to(self.device)

    def get(self, array: Any) -> NDArray[Any]:
        """Return a tensor's values in NumPy's memory."""
        return np.asarray(array.cpu().numpy())

    def zeros(self, dim: int) -> Any:
        """Return a float64 ``[dim, dim]`` tensor of 0."""
        torch = load_torch()
        return torch.zeros((dim, dim), dtype=torch.float64, device=self.device)

    def add_gram(self, total: Any, rows: Any) -> Any:
        """Return ``total + rowsᵀ rows``, in place."""
        return total.addmm_(rows.T, rows)

    def add_outer(self, total: Any, left: Floats, right: Floats) -> Any:
        """Return ``total + left rightᵀ + right leftᵀ``, in place."""
        one, other = self.put(left, np.float64), self.put(right, np.float64)
        return total.addmm_(one, other.T).addmm_(other, one.T)

    def symmetric(self, total: Any) -> Floats:
        """Return the sum in NumPy's memory, exactly symmetric."""
        full = self.get(total)
        mirror(full)
        return full

    def cholesky(self, matrix: Floats) -> Any | None:
        """Return the lower factor, or None."""
        torch = load_torch()
        factor, failed = torch.linalg.cholesky_ex(self.put(matrix, np.float64))
        return None if int(failed) else factor

    def solve(self, factor: Any, rows: Any) -> Any:
        """Return L⁻¹ x for every row x."""
        return load_torch().linalg.solve_triangular(factor, rows.T, upper=False).T

    def smallest(
        self, values: Any, count: int, below: NDArray[np.float32] | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return the smallest values of every row, and their columns."""
        kept, columns = load_torch().topk(
            values, min(count, values.shape[1]), dim=1, largest=False, sorted=False
        )
        return self.get(kept), self.get(columns)


def arithmetic_for(device: str) -> Arithmetic:
    """Return the arithmetic of a device.

    Raises:
        UserError: for a CUDA device where torch sees none.
    """
    return Arithmetic() if device == "cpu" else TorchArithmetic(device)
