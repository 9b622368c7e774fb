"""Threads and float32 precision of the libraries that compute, also of those that are loaded only when needed."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

from threadpoolctl import threadpool_info, threadpool_limits  # type: ignore[import-untyped]

from ..errors import MissingPackageError

FAISS = 'install it: pip install "openood-multimodal[faiss]"'

_limits: list[tuple[int, ExitStack]] = []  # threads in force and what restores them, the innermost last


def load_torch() -> Any:
    """Return torch; where it is loaded only now, it gets the number of threads in force."""
    return _loaded("torch")


def load_faiss() -> Any:
    """Return faiss; where it is loaded only now, it gets the number of threads in force.

    Raises:
        MissingPackageError: where it isn't installed.
    """
    try:
        return _loaded("faiss")
    except ImportError as error:
        raise MissingPackageError(f"an approximate index needs faiss ({error}); {FAISS}.") from error


def _loaded(name: str) -> Any:
    known = name in sys.modules
    module = importlib.import_module(name)
    if not known and _limits:
        _limit(*_limits[-1])  # it brings a BLAS and an OpenMP of its own
    return module


def each(parts: Iterable[slice], do: Callable[[slice], None]) -> None:
    """Do something for every part, in the threads that the libraries are allowed.

    For NumPy's functions that use one thread but leave the others to Python, such as indexing with rows.
    """
    todo = list(parts)
    threads = min(len(todo) // 4, max((library["num_threads"] for library in threadpool_info()), default=1))
    if threads < 2:
        for part in todo:
            do(part)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(do, todo))


@contextmanager
def computing(threads: int | None) -> Iterator[None]:
    """Compute with so many threads (None: as many as before) and with torch's float32 as such, inside the block.

    Afterwards threads and precision are what they were.
    """
    with _threads_of(threads), _whole_float32():
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
    importlib.import_module("scipy.linalg")  # it brings a BLAS of its own, loaded when it is first used
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
