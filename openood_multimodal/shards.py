"""Rows of embeddings on the workers of a Dask cluster: a task for each shard of rows.

Workers are sent Python objects, once each and by `cloudpickle`, with a rule for arrays: one that is memory-mapped is
sent as its file, offset, shape and type, and the worker maps the same file; one in memory is sent where it is small.
"""

from __future__ import annotations

import hashlib
import io
import mmap
import os
import platform
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import zip_longest
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple
from weakref import WeakSet

import numpy as np
from numpy.typing import NDArray

from .cluster import lost, one_at_a_time
from .errors import UserError
from .linalg.rows import BLOCK_BYTES, block_slices

SENT_BYTES = 256 * 2**20
"""Size of arrays in memory that are still sent to workers."""

SHARD_BLOCKS = 4
"""Blocks of rows a task, unless there are few rows."""

FEWEST_ROWS = 2048
"""Rows that a task has at least, if there are so many: fewer don't pay for a pass over the rows that KNN searches."""

MAPPED = (
    "save the arrays in a folder that all workers share, as an embedding store or as .npy files opened with "
    'numpy.load(..., mmap_mode="r").'
)

_SAMPLES, _SAMPLE_BYTES = 64, 4096
_maps: WeakSet[mmap.mmap] = WeakSet()


def shard_rows(width: int, chunk_rows: int | None) -> int:
    """Return the rows of a shard, some blocks; see `block_slices` for a block."""
    return SHARD_BLOCKS * (chunk_rows or max(1, BLOCK_BYTES // (8 * width)))


class Shards:
    """The workers of a cluster, which work on shards of rows.

    Args:
        client: a ``dask.distributed.Client``.
    """

    def __init__(self, client: Any) -> None:
        if not callable(getattr(client, "submit", None)) or not hasattr(client, "scheduler_info"):
            raise UserError(f"client must be a dask.distributed.Client, got {type(client).__name__}.")
        self._client = client

    def slices(self, count: int, most: int, fewest: int = 0) -> list[slice]:
        """Return shards of ``count`` rows: of ``most`` rows, or a share for each worker where rows are few.

        Args:
            count: N.
            most: rows of a shard at most.
            fewest: rows of a shard at least, if there are so many.
        """
        workers = max(1, len(self._client.scheduler_info(n_workers=-1)["workers"]))
        share = max(-(-count // workers), FEWEST_ROWS)
        return list(block_slices(count, 1, max(min(most, share), fewest)))

    def send(self, value: Any, what: str, remedy: str = MAPPED) -> Any:
        """Return what stands for ``value`` in tasks.

        Args:
            value: an object; arrays in it are treated as this module says.  What has a method ``sent_state`` is sent
                with that in place of its attributes.
            what: it is, for messages.
            remedy: what to do where it is too large.

        Raises:
            UserError: for arrays in memory that are too large to be sent.
        """
        # a task that returns it: one that was lost with its worker is run again
        return self._submit(bytes, _packed(value, what, remedy))

    def each(
        self, function: Callable[..., Any], sent: Sequence[Any], given: Sequence[tuple[Any, ...]], what: str
    ) -> Iterator[tuple[int, Any]]:
        """Yield the number of each task and what it returns, in the order in which they finish.

        Args:
            function: takes the objects of ``sent``, then what is given.
            sent: of `send`.
            given: a task → its own arguments.
            what: is done, for messages.

        Raises:
            UserError: as the function; for a file that isn't the same on a worker; when workers, or the scheduler, are
                lost.
        """
        return self._finished([self._submit(_work, function, sent, *own) for own in given], what)

    def total(
        self,
        function: Callable[..., tuple[Any, Any]],
        add: Callable[[Any, Any], Any],
        sent: Any,
        given: Sequence[tuple[Any, ...]],
        keep: Callable[[int, Any], object],
        what: str,
    ) -> Any:
        """Return the sum of what tasks return second; workers add it up in pairs, and those in pairs.

        Args:
            function: of a task, as in `each`.
            add: returns the sum of two.
            sent: of `send`.
            given: a task → its own arguments.
            keep: called with the number of each task and what it returns first.
            what: is done, for messages.

        Raises:
            UserError: as `each`.
        """
        made = [self._submit(_work, function, [sent], *own) for own in given]
        firsts, level = ([self._submit(itemgetter(i), each, priority=1) for each in made] for i in (0, 1))
        del made  # what is added up needn't be kept; additions go before further tasks
        while len(level) > 1:
            pairs = zip_longest(level[::2], level[1::2])
            level = [one if two is None else self._submit(add, one, two, priority=2) for one, two in pairs]
        for number, first in self._finished(firsts, what):
            keep(number, first)
        return self._result(level[0], what)

    def _finished(self, futures: list[Any], what: str) -> Iterator[tuple[int, Any]]:
        from distributed import as_completed

        numbers = {future: number for number, future in enumerate(futures)}
        futures.clear()  # what has been fetched needn't be kept by workers
        for future in as_completed(numbers, loop=self._client.loop):
            yield numbers.pop(future), self._result(future, what)

    def _submit(self, function: Callable[..., Any], *given: Any, priority: int = 0) -> Any:
        from dask import config

        with config.set({"distributed.admin.large-graph-warning-threshold": SENT_BYTES * 8}):
            return self._client.submit(function, *given, pure=False, priority=priority)

    @staticmethod
    def _result(future: Any, what: str) -> Any:
        try:
            return future.result()
        except Exception as error:
            said = lost(error, what)
            if said is None:
                raise
            raise said from error


def _work(function: Callable[..., Any], sent: Sequence[bytes], *given: Any) -> Any:
    with one_at_a_time:
        try:
            return function(*map(_unpacked, sent), *given)
        finally:  # pages of files that a process has read count as its memory, by which Dask pauses and ends workers
            for each in _maps if hasattr(mmap, "MADV_DONTNEED") else ():
                each.madvise(mmap.MADV_DONTNEED)


@lru_cache(maxsize=4)
def _unpacked(data: bytes) -> Any:
    import cloudpickle

    return cloudpickle.loads(data)


def _packed(value: Any, what: str, remedy: str = MAPPED) -> bytes:
    import cloudpickle

    class Packer(cloudpickle.Pickler):
        def reducer_override(self, obj: Any) -> Any:
            if isinstance(obj, np.ndarray) and obj.nbytes:
                if not any(obj.strides):  # one value, broadcast
                    return np.broadcast_to, (obj[(0,) * obj.ndim], obj.shape)
                part = _part_of_file(obj)
                if part is not None:
                    return _mapped, tuple(part)
                if obj.nbytes > SENT_BYTES:
                    raise _too_large(what, obj.nbytes, remedy)
            elif hasattr(type(obj), "sent_state"):
                made, arguments, *_ = obj.__reduce_ex__(5)
                return made, arguments, obj.sent_state()
            return super().reducer_override(obj)

    stream = io.BytesIO()
    Packer(stream, protocol=5).dump(value)
    if stream.tell() > 2 * SENT_BYTES:
        raise _too_large(what, stream.tell(), remedy)
    return stream.getvalue()


def _too_large(what: str, size: int, remedy: str) -> UserError:
    return UserError(
        f"{what}: {size / 2**20:.0f} MiB in the memory of this process are too much to be sent to workers; {remedy}"
    )


class PartOfFile(NamedTuple):
    """An array that is mapped from a file; size and a digest of a sample tell whether a file is the same one."""

    path: str
    size: int
    digest: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: np.dtype[Any]


def _part_of_file(array: NDArray[Any]) -> PartOfFile | None:
    """Return which part of which file an array is, or None where it isn't one (a private copy isn't, either)."""
    root: Any = array
    while isinstance(root.base, np.ndarray):
        root = root.base
    if not isinstance(root, np.memmap) or not root.filename or root.mode == "c":
        return None
    if root.mode != "r":
        root.flush()
    path = Path(root.filename).resolve()
    where = [each.__array_interface__["data"][0] for each in (array, root)]
    return PartOfFile(
        str(path), *_look(path), root.offset + where[0] - where[1], array.shape, array.strides, array.dtype
    )


def _mapped(
    path: str,
    size: int,
    digest: str,
    offset: int,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    dtype: np.dtype[Any],
) -> NDArray[Any]:
    """Return an array of a file that is the same here as where it was sent from."""
    if _look(Path(path)) != (size, digest):
        raise UserError(
            f"{path} on {platform.node()} is another file than on the host that sends it; embeddings must be in a "
            "folder that all workers share."
        )
    with Path(path).open("rb") as stream:
        data = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    _maps.add(data)
    return np.ndarray(shape, dtype, data, offset, strides)


def _look(path: Path) -> tuple[int, str]:
    """Return a file's size and the SHA-256 of a sample of it."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            for start in np.linspace(0, max(0, size - _SAMPLE_BYTES), _SAMPLES).astype(np.int64):
                stream.seek(int(start))
                digest.update(stream.read(_SAMPLE_BYTES))
    except OSError as error:
        raise UserError(
            f"{platform.node()} can't read {path} ({error.strerror}); embeddings must be in a folder that all workers "
            "share, and must not be moved meanwhile."
        ) from None
    return size, digest.hexdigest()
