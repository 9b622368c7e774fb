"""Locks: one process at a time writes a file or a folder; the system releases a lock when its holder ends.

The lock of a file is ``.<name>.lock`` beside it, that of a folder ``.openood-mm.lock`` in it.  Who releases a lock
removes its file; one that a killed process left is taken over and removed by the next.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

import filelock

from ..errors import UserError
from .atomic import lock_beside
from .paths import remove

FOLDER_LOCK = ".openood-mm.lock"

Claim = Literal["ours", "inherited", "busy"]

_held: set[str] = set()  # real paths of the folders that this process holds


@contextmanager
def claim(target: Path) -> Iterator[Claim]:
    """Hold the lock of the file ``target`` for the block, if nobody else does.

    Yields ``busy``, at once, while another process holds it; ``inherited`` where a process seems to have been killed
    while it held it; else ``ours``.  (Where the drive has no locks, every claim is ``ours``.)

    Raises:
        UserError: when ``lock`` is a symbolic link, which no lock is.
    """
    with _claimed(lock_beside(target)) as claimed:
        yield claimed


@contextmanager
def _claimed(lock: Path) -> Iterator[Claim]:
    if lock.is_symlink():
        raise UserError(f"{lock} is a symbolic link; a lock file is none. Remove it.")
    lock.parent.mkdir(parents=True, exist_ok=True)
    left_behind = lock.exists()
    own = filelock.FileLock(lock, timeout=0, mode=0o666, thread_local=False)
    try:
        own.acquire()
    except filelock.Timeout:
        yield "busy"
        return
    except (NotImplementedError, OSError) as error:
        if isinstance(error, PermissionError):
            raise
        yield "ours"
        return
    try:
        yield "inherited" if left_behind else "ours"
    finally:
        if (
            os.name == "posix"
        ):  # before the release: whoever waits sees that the name is gone, and takes a new file
            with suppress(OSError):
                remove(lock.parent, lock.name)
        own.release()


@contextmanager
def holding(folder: str | os.PathLike[str], name: str = FOLDER_LOCK, announce: bool = True) -> Iterator[None]:
    """Hold a folder for the block; wait, and say for whom, while another process does.

    A process that holds it already goes on.

    Args:
        folder: made when missing.
        name: of the lock file in it.
        announce: whether to print who is waited for.

    Raises:
        UserError: when ``folder`` is a file or can't be written.
    """
    root = Path(folder)
    if root.exists() and not root.is_dir():
        raise UserError(f"{root} is a file; name a folder.")
    root.mkdir(parents=True, exist_ok=True)
    lock = root / name
    key = os.path.realpath(lock)
    if key in _held:
        yield
        return
    said = False
    pause = 0.01
    while True:
        with _claimed(lock) as claimed:
            if claimed != "busy":
                _held.add(key)
                try:
                    _sign(lock)
                    yield
                finally:
                    _held.discard(key)
                return
        if announce and not said and pause > 0.1:
            said = True
            print(
                f"{root}: {_holder(lock)} writes here; waiting for it. (Interrupt to give up.)",
                file=sys.stderr,
            )
        time.sleep(pause)
        pause = min(0.5, pause * 1.5)


def _sign(lock: Path) -> None:
    """Write into the lock file who holds it; for messages alone."""
    command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])[:200]
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    with suppress(OSError):  # Windows lets nobody write to a locked file
        who = {"pid": os.getpid(), "host": platform.node(), "command": command, "since": since}
        descriptor = os.open(lock, os.O_WRONLY | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0))
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(who, file)


def _holder(lock: Path) -> str:
    try:
        who = json.loads(lock.read_text(encoding="utf-8"))
        return f"process {who['pid']} on {who['host']} ({who['command']}, since {who['since']})"
    except (OSError, ValueError, LookupError, TypeError):
        return "another process"
