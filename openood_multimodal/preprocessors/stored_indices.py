"""Frame indices on disk, so that each video is indexed once on a machine, whichever process meets it first.

They are in one SQLite file, in ``OPENOOD_MM_CACHE`` or the user's folder for caches.  Nothing there is trusted blindly:
a row counts only for the file's path, size and times and for the versions of the decoders, and only with the digest of
its text; a damaged file is removed.  Where no such file can be kept, each process makes the indices that it needs.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable
from contextlib import closing, suppress
from functools import cache
from pathlib import Path
from typing import TypeVar

from ..files.paths import remove
from .packages import import_av

try:
    import sqlite3
except ImportError:  # a Python that was built without it
    sqlite3 = None  # type: ignore[assignment]

T = TypeVar("T")
FileKey = tuple[str, int, int, int]
"""What tells one state of a file from another: path, times of modification and of change, bytes."""

VARIABLE = "OPENOOD_MM_CACHE"
MOST_BYTES = 256 * 2**20
"""Beyond it, the quarter that was put first goes."""
_SCHEMA = 1
_WAIT = 2.0  # seconds, for another process that writes
_TABLE = "CREATE TABLE IF NOT EXISTS indices (path TEXT PRIMARY KEY, state TEXT, digest TEXT, text TEXT)"


def get(key: FileKey) -> str | None:
    """Return the text last put for a file in this state, or None."""

    def read(database: sqlite3.Connection) -> str | None:
        found = database.execute("SELECT state, digest, text FROM indices WHERE path = ?", (_name(key),))
        state, digest, text = found.fetchone() or ("", "", "")
        return str(text) if state == _state(key) and digest == _digest(key, text) else None

    return _doing(read)


def put(key: FileKey, text: str) -> None:
    """Keep a text for a file in this state; it replaces the one for an earlier state."""

    def write(database: sqlite3.Connection) -> None:
        row = _name(key), _state(key), _digest(key, text), text
        database.execute("INSERT OR REPLACE INTO indices VALUES (?, ?, ?, ?)", row)
        pages, free, size = (
            database.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_count", "freelist_count", "page_size")
        )
        if (pages - free) * size > MOST_BYTES:
            database.execute(
                "DELETE FROM indices WHERE rowid IN "
                "(SELECT rowid FROM indices ORDER BY rowid LIMIT (SELECT COUNT(*) / 4 FROM indices))"
            )
        database.commit()

    _doing(write)


def clear() -> None:
    """Forget all."""
    for path in (file(), Path(f"{file()}-journal")):
        with suppress(OSError):
            remove(path.parent, path.name)


def file() -> Path:
    """Return the SQLite file, which need not exist."""
    named = os.environ.get(VARIABLE)
    if named:
        return Path(named) / "frame-indices.sqlite"
    home = os.path.expanduser("~")
    if sys.platform == "win32":
        folder = os.environ.get("LOCALAPPDATA") or os.path.join(home, "AppData", "Local")
    elif sys.platform == "darwin":
        folder = os.path.join(home, "Library", "Caches")
    else:
        folder = os.environ.get("XDG_CACHE_HOME") or os.path.join(home, ".cache")
    return Path(folder) / "openood-multimodal" / "frame-indices.sqlite"


def _doing(action: Callable[[sqlite3.Connection], T]) -> T | None:
    """Open the file for one action, so that nothing is shared with forked workers; None where that can't be."""
    if sqlite3 is None:
        return None
    path = file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with closing(sqlite3.connect(path, timeout=_WAIT)) as database:
            database.execute("PRAGMA synchronous = OFF")  # what a crash of the machine damages is made again
            database.execute(_TABLE)
            return action(database)
    except OSError:
        return None
    except sqlite3.DatabaseError as error:
        # locked for long, a full disk, a folder that can't be written: all of these may pass
        passing = (
            isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode != sqlite3.SQLITE_ERROR
        )
        if not passing:
            clear()
        return None


def _name(key: FileKey) -> str:
    return key[0].encode("utf-8", "surrogateescape").hex() if not key[0].isprintable() else key[0]


def _state(key: FileKey) -> str:
    return " ".join(map(str, (*key[1:], _versions())))


def _digest(key: FileKey, text: str) -> str:
    return hashlib.sha256(f"{_name(key)} {_state(key)} {text}".encode()).hexdigest()


@cache
def _versions() -> str:
    av = import_av()
    libraries = sorted((name, *version) for name, version in av.library_versions.items())
    return f"{_SCHEMA} {av.__version__} {libraries}"
