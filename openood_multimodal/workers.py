"""Worker processes: how many, and what they owe their parent."""

from __future__ import annotations

import os
import threading
from multiprocessing import connection, parent_process

from .errors import ArgumentError


def worker_count(asked: int | None) -> int:
    """Return ``asked``, by default the number of cores that this process may use.

    Raises:
        ArgumentError: when it is below 1.
    """
    if asked is not None:
        if asked < 1:
            raise ArgumentError("workers", f"{asked}: at least one is needed.")
        return asked
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS, Windows
        return os.cpu_count() or 1


def end_with_parent() -> None:
    """Make this worker process end at once when its parent has been killed; call it first in the worker.

    A parent that is killed outright tells nobody, and its workers would go on, with their locks and their memory.
    """
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    connection.wait([sentinel])
    os._exit(1)
