"""Frame indices that a loader's worker processes share, so that each video is indexed once in a run.

Workers are forked with a file that has no name: it takes up room in the system's folder for temporary files, and is
gone with the last of them, however they end.  Without forked workers there is nothing to share, and nothing is written.
"""

from __future__ import annotations

import os
import pickle
import tempfile
from collections.abc import Hashable
from contextlib import suppress
from struct import Struct
from typing import Any

_HEAD = Struct("<qq")  # bytes of the key, bytes of the value


class SharedIndices:
    """Keys and values that any forked process may append and read.

    Raises:
        OSError: when there is no room for temporary files.
        ImportError: on systems without file locks of the POSIX kind, where processes aren't forked either.
    """

    def __init__(self) -> None:
        import fcntl

        self._lock = fcntl
        self._file = tempfile.TemporaryFile(prefix="openood-multimodal-indices-")  # noqa: SIM115 - for the process's life
        self._places: dict[Hashable, tuple[int, int]] = {}
        self._read_to = 0

    def get(self, key: Hashable) -> Any:
        """Return the value last put for ``key``, by any of the processes, or None."""
        self._catch_up(os.fstat(self._file.fileno()).st_size)
        if key not in self._places:
            return None
        place, size = self._places[key]
        # written by this process or one forked from the same parent: nobody else can open the file
        return pickle.loads(os.pread(self._file.fileno(), size, place))  # noqa: S301

    def put(self, key: Hashable, value: Any) -> None:
        """Append a value; without room for it, the others go on without."""
        parts = pickle.dumps(key), pickle.dumps(value)
        record = _HEAD.pack(*map(len, parts)) + b"".join(parts)
        number = self._file.fileno()
        self._lock.lockf(number, self._lock.LOCK_EX)
        try:
            end = os.fstat(number).st_size
            with suppress(OSError):  # a full disk makes reading slower, not wrong
                if os.pwrite(number, record, end) < len(record):
                    os.ftruncate(number, end)
        finally:
            self._lock.lockf(number, self._lock.LOCK_UN)

    def _catch_up(self, end: int) -> None:
        number = self._file.fileno()
        while self._read_to + _HEAD.size <= end:
            start = self._read_to + _HEAD.size
            key_size, size = _HEAD.unpack(os.pread(number, _HEAD.size, self._read_to))
            if start + key_size + size > end:  # being written
                return
            key = pickle.loads(os.pread(number, key_size, start))  # noqa: S301 - as above
            self._places[key] = start + key_size, size
            self._read_to = start + key_size + size
