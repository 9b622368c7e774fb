"""Threads and float32 precision of the libraries that compute, also of those that are loaded only when needed."""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from contextvars import copy_context
from functools import cache
from typing import Any

from threadpoolctl import ThreadpoolController, threadpool_limits  # type: ignore[import-untyped]

from ..errors import MissingPackageError

FAISS = 'install it: pip install "openood-multimodal[faiss]"'

_shared_out = threading.Lock()
"""Held while parts are worked on in several threads, and the BLAS is at one."""

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


def each(parts: Iterable[slice], do: Callable[[slice], object]) -> None:
    """Do something for every part, in as many threads as the BLAS may take; in each of these it then takes one.

    For NumPy's functions that use one thread but leave the others to Python, such as indexing with rows, and for
    products so small that threads would wait for each other at every one.  Inside another call, or where the limits of
    the BLAS aren't known, the parts are worked on in turn.
    """
    todo = list(parts)
    blas = _blas()
    threads = min(len(todo) // 2, min((library.num_threads for library in blas.lib_controllers), default=1))
    if threads < 2 or not _shared_out.acquire(blocking=False):
        for part in todo:
            do(part)
        return
    try:
        with blas.limit(limits=1), ThreadPoolExecutor(threads) as pool:
            if any(library.num_threads > 1 for library in blas.lib_controllers):
                for part in todo:  # another Python thread sets the limits of the BLAS
                    do(part)
                return
            # in copies of the context, which holds np.errstate
            running = [pool.submit(copy_context().run, do, part) for part in todo]
            for one in running:
                one.result()
    finally:
        _shared_out.release()


@cache
def _blas() -> Any:
    """Return what controls the BLAS libraries, NumPy's at least; looking for them takes milliseconds."""
    return ThreadpoolController().select(user_api="blas")


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
