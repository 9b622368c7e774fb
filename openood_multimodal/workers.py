"""What worker processes owe their parent."""

from __future__ import annotations

import os
import threading
from multiprocessing import connection, parent_process


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
