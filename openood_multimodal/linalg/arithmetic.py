"""Where scores compute, and how: threads, device, block size, precision; and the few dense products behind them.

The heavy steps (sums of squares over the training rows, one factorisation, triangular solves, neighbour
products) are written once, against `Arithmetic`: NumPy and SciPy's BLAS here, `torch_arithmetic.TorchArithmetic`
on a GPU.  Everything else is NumPy on the CPU.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import linalg
from scipy.linalg import blas, lapack

from ..errors import UserError
from ..naming import did_you_mean
from ..postprocessors.params import require_whole

Floats = NDArray[np.float64]

PRECISIONS = ("auto", "float32", "float64")

SMALL_WORK = 5e10
"""N · D² up to which ``precision="auto"`` stays with float64 throughout: it takes half a second at most."""


@dataclass(frozen=True)
class ScoringSettings:
    """What a user may set about how scores compute; nothing here changes what they compute.

    Attributes:
        threads: threads of BLAS, OpenMP and torch while scores run; None leaves them as they are.
        device: ``"cpu"``, ``"cuda"`` or ``"cuda:<n>"``.
        chunk_rows: rows of embeddings held at once, while fitting and scoring; None: 64 MB of float64 each.
        precision: of the products over training and scored rows.  ``"float32"`` sums them in float64 and holds
            a sample of the result against float64; where that fails, float64 is used and a note says so
            ("precision fallback").  ``"float64"`` is float64 throughout; ``"auto"`` is that for small problems
            (N · D² up to 5e10) and ``"float32"`` above.

    Raises:
        UserError: for a value outside these.
    """

    threads: int | None = None
    device: str = "cpu"
    chunk_rows: int | None = None
    precision: str = "auto"

    def __post_init__(self) -> None:
        if self.threads is not None:
            require_whole("threads", self.threads, 1)
        if self.chunk_rows is not None:
            require_whole("chunk_rows", self.chunk_rows, 1)
        if self.precision not in PRECISIONS:
            raise UserError(
                f"precision is '{self.precision}'.{did_you_mean(str(self.precision), PRECISIONS)}"
            )
        kind, colon, number = str(self.device).partition(":")
        if kind not in ("cpu", "cuda") or (colon and (kind == "cpu" or not number.isdecimal())):
            raise UserError(f"device is '{self.device}'; write cpu, cuda or cuda:0.")

    def float64_throughout(self, rows: int, dim: int) -> bool:
        """Return whether products over ``rows`` of width ``dim`` are to be float64 from the start."""
        small = float(rows) * dim * dim <= SMALL_WORK
        return self.precision == "float64" or (self.precision == "auto" and small)


@dataclass(frozen=True)
class ScoringOptions(ScoringSettings):
    """The settings, and what the caller knows.

    Attributes:
        progress: show a bar with rows per second, on a terminal.
        checked: the sets are known to hold finite values only, and aren't looked at again.
    """

    progress: bool = False
    checked: bool = False


class Arithmetic:
    """Dense products on the CPU.  What methods take and return as ``Any`` belongs to the device."""

    device = "cpu"

    def put(self, array: NDArray[Any], dtype: Any) -> Any:
        """Return ``array`` on the device, contiguous, as ``dtype`` (a NumPy type)."""
        return np.ascontiguousarray(array, dtype=dtype)

    def get(self, array: Any) -> NDArray[Any]:
        """Return a device array in NumPy's memory."""
        return np.asarray(array)

    def zeros(self, dim: int, dtype: Any) -> Any:
        """Return a ``[dim, dim]`` sum for `add_gram`."""
        return np.zeros((dim, dim), dtype=dtype, order="F")

    def add_gram(self, total: Any, rows: Any) -> Any:
        """Return ``total + rowsᵀ rows``, in place; of ``[D, D]`` the lower triangle at least."""
        update = blas.ssyrk if rows.dtype == np.float32 else blas.dsyrk
        return update(1.0, rows.T, beta=1.0, c=total, lower=1, overwrite_c=1)

    def add(self, total: Any, part: Any) -> None:
        """Add ``part`` of another precision to ``total``, in place."""
        np.add(total, part, out=total)

    def clear(self, total: Any) -> None:
        """Set ``total`` to 0, in place."""
        total.fill(0)

    def add_outer(self, total: Any, left: Floats, right: Floats) -> Any:
        """Return ``total + left rightᵀ + right leftᵀ`` of a float64 sum of `add_gram`, in place."""
        return blas.dsyr2k(1.0, left, right, beta=1.0, c=total, lower=1, overwrite_c=1)

    def symmetric(self, total: Any) -> Floats:
        """Return a sum of `add_gram` whole, in NumPy's memory and float64; it may be ``total`` itself."""
        full: Floats = np.asarray(total, dtype=np.float64)
        mirror(full)
        return full

    def forms(self, total: Any, probes: Floats) -> Floats:
        """Return ``[k]`` wᵀ A w of a sum A of `add_gram` for the probes w of ``[k, D]``, in float64."""
        image = blas.dsymm(1.0, np.asfortranarray(total, dtype=np.float64), probes.T, lower=1)
        return np.einsum("ij,ji->i", probes, image)

    def cholesky(self, matrix: Floats) -> Any | None:
        """Return the lower factor of a symmetric matrix on the device, or None where it isn't definite."""
        factor, failed = lapack.dpotrf(matrix, lower=1, clean=1, overwrite_a=0)
        return None if failed else factor

    def cast(self, factor: Any, dtype: Any) -> Any:
        """Return a factor in another precision."""
        return np.asfortranarray(factor, dtype=dtype)

    def solve(self, factor: Any, rows: Any) -> Any:
        """Return ``[B, D]`` L⁻¹ x for every row x of ``rows``; both of the factor's precision."""
        solve = blas.strsm if factor.dtype == np.float32 else blas.dtrsm
        return solve(1.0, factor, rows.T, lower=1).T

    def solve_transposed(self, factor: Any, rows: Any) -> Any:
        """Return ``[B, D]`` L⁻ᵀ x for every row x of ``rows``."""
        solve = blas.strsm if factor.dtype == np.float32 else blas.dtrsm
        return solve(1.0, factor, rows.T, lower=1, trans_a=1).T

    def smallest(
        self, values: Any, count: int, below: NDArray[np.float32] | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return the ``count`` smallest values of every row of ``[B, M]``, in no order, and their columns.

        Args:
            values: float32 ``[B, M]``.
            count: at most so many are returned of each row, and fewer where there are fewer.
            below: ``[B]``; values that aren't below it may be left out, or be infinite.
        """
        if below is not None:
            few = values_below(values, below, count)
            if few is not None:
                return few
        if count >= values.shape[1]:
            columns = np.broadcast_to(np.arange(values.shape[1]), values.shape)
            return np.asarray(values), np.asarray(columns, dtype=np.int64)
        columns = np.argpartition(values, count - 1, axis=1)[:, :count]
        return np.take_along_axis(values, columns, axis=1), columns

    def reciprocal_condition(self, matrix: Floats, factor: Any) -> float:
        """Return LAPACK's estimate of 1 / (‖A‖₁ ‖A⁻¹‖₁) from a Cholesky factor in NumPy's memory."""
        norm = linalg.norm(matrix, 1, check_finite=False)
        estimate, _ = lapack.dpocon(np.asfortranarray(self.get(factor)), norm, uplo="L")
        return float(estimate)


def values_below(
    values: NDArray[np.float32], below: NDArray[np.float32], most: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]] | None:
    """Return the values of each row below its bound, padded with infinity; None where a row has too many."""
    rows, columns = np.nonzero(values < below[:, None])
    counts = np.bincount(rows, minlength=len(values))
    width = int(counts.max(initial=0))
    if width > most:
        return None
    place = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    kept = np.full((len(values), width), np.inf, dtype=np.float32)
    where = np.zeros((len(values), width), dtype=np.int64)
    kept[rows, place] = values[rows, columns]
    where[rows, place] = columns
    return kept, where


def mirror(matrix: NDArray[Any], step: int = 512) -> None:
    """Copy the lower triangle of a square matrix onto the upper one, in place, a tile at a time."""
    for start in range(0, len(matrix), step):
        stop = start + step
        matrix[start:stop, stop:] = matrix[stop:, start:stop].T
        tile = matrix[start:stop, start:stop]
        tile[...] = np.tril(tile) + np.tril(tile, -1).T


def arithmetic_for(device: str) -> Arithmetic:
    """Return the arithmetic of a device.

    Raises:
        UserError: for a CUDA device where torch sees none.
    """
    if device == "cpu":
        return Arithmetic()
    from .torch_arithmetic import TorchArithmetic

    return TorchArithmetic(device)


_limits: list[tuple[int, ExitStack]] = []  # threads in force and what restores them, the innermost last


def load_torch() -> Any:
    """Return torch; where it is loaded only now, it gets the number of threads in force."""
    return _loaded("torch")


def load_faiss() -> Any:
    """Return faiss; where it is loaded only now, it gets the number of threads in force."""
    return _loaded("faiss")


def _loaded(name: str) -> Any:
    known = name in sys.modules
    module = importlib.import_module(name)
    if not known and _limits:
        _limit(*_limits[-1])  # it brings a BLAS and an OpenMP of its own
    return module


@contextmanager
def computing(options: ScoringOptions) -> Iterator[None]:
    """Compute with the options' threads, and with torch's float32 as such, inside the block.

    Afterwards threads and precision are what they were.
    """
    with _threads_of(options.threads), _whole_float32():
        yield


@contextmanager
def _threads_of(threads: int | None) -> Iterator[None]:
    if threads is None:
        yield
        return
    with ExitStack() as stack:
        _limits.append((threads, stack))
        stack.callback(_limits.pop)
        _limit(threads, stack)
        yield


def _limit(threads: int, stack: ExitStack) -> None:
    """Limit the libraries that are loaded now, until ``stack`` is closed."""
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    torch = sys.modules.get("torch")
    if torch is not None:  # first: the limits below change what it says
        stack.callback(torch.set_num_threads, torch.get_num_threads())
        torch.set_num_threads(threads)
    stack.enter_context(threadpool_limits(threads))


@contextmanager
def _whole_float32() -> Iterator[None]:
    """Keep torch from shortening float32 factors (TF32, bfloat16), which a user may have allowed it."""
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    with ExitStack() as stack:
        try:
            before = torch.get_float32_matmul_precision()
        except (
            RuntimeError
        ):  # set a backend at a time, as newer versions allow; the two ways don't go together
            for backend in (torch.backends.cuda.matmul, torch.backends.mkldnn.matmul):
                stack.callback(setattr, backend, "fp32_precision", backend.fp32_precision)
                backend.fp32_precision = "ieee"
        else:
            if before != "highest":
                stack.callback(torch.set_float32_matmul_precision, before)
                torch.set_float32_matmul_precision("highest")
        yield
