"""Writers that leave either the old file or the new one, never half of one.

Each writes a temporary file in the same folder, flushes it to disk and then replaces the target in one step
(`os.replace`).  When anything fails on the way (a full disk, Ctrl-C), the temporary file is removed and the
old file stays as it was; an `OSError` passes through, since no input of the user's would mend it.  A process
killed outright may leave a hidden ``.<name>.<random>.tmp`` behind, which nothing reads.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from ..escapes import csv_cell
from .paths import LONGEST_NAME, remove

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

_TEMPORARY = ".tmp"
_ADDED = len("..") + 12 + len(_TEMPORARY)
"""Characters that a temporary file's name has besides its target's."""

PathLike = str | os.PathLike[str]


@contextmanager
def replacing(path: PathLike) -> Iterator[IO[bytes]]:
    """Open a temporary binary file that takes the place of ``path`` when the block ends without an error.

    Missing parent folders are made.  A symbolic link is followed: its target is replaced, the link stays.

    Raises:
        OSError: when the disk is full or the folder can't be written; ``path`` is then unchanged.
    """
    target = Path(os.path.realpath(path))
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(target)
    # Not `tempfile`: its files are readable by the owner only, whatever the umask says.
    descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    try:
        with os.fdopen(descriptor, "w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException as error:
        with suppress(OSError):
            remove(temporary.parent, temporary.name)
        if isinstance(error, OSError) and error.errno and error.filename is None:
            error.filename = os.fspath(path)  # a full disk doesn't say which file was being written
        raise
    sync_folder(target.parent)


def temporary_beside(target: Path) -> Path:
    """Return a name that nobody can guess for what is to become ``target``, in the same folder."""
    return target.with_name(f"{_temporary_stem(target.name)}{secrets.token_hex(6)}{_TEMPORARY}")


def is_temporary_of(name: str, target: str) -> bool:
    """Tell whether the file name ``name`` is one that `temporary_beside` gives for a file called ``target``."""
    return name.startswith(_temporary_stem(target)) and name.endswith(_TEMPORARY)


def lock_beside(target: Path) -> Path:
    """Return the lock file of ``target``."""
    return target.with_name(f"{_temporary_stem(target.name)}lock")


def _temporary_stem(name: str) -> str:
    """Return ``.<name>.``; of a name too long for additions, its digest in its place."""
    if len(os.fsencode(name)) + _ADDED > LONGEST_NAME:
        name = hashlib.sha256(os.fsencode(name)).hexdigest()[:32]
    return f".{name}."


def sync_folder(folder: PathLike) -> None:
    """Flush a folder's own entries to disk, where the system can (a renaming survives a power cut then)."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_bytes(path: PathLike, data: bytes) -> None:
    """Replace the file at ``path`` by ``data``."""
    with replacing(path) as file:
        file.write(data)


def write_text(path: PathLike, text: str) -> None:
    """Replace the file at ``path`` by ``text`` in UTF-8; line ends are written as they are."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: PathLike, value: Any) -> None:
    """Replace the file at ``path`` by ``value`` as indented JSON, keys in the order given.

    Raises:
        ValueError: when a number is NaN or infinite, which JSON does not know.
    """
    write_text(path, json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def write_csv(path: PathLike, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Replace the file at ``path`` by a CSV table with these columns.

    Raises:
        ValueError: when a row has a key that is not a column.
    """
    write_text(path, csv_text(columns, rows))


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """Return a CSV table with these columns, its texts escaped for spreadsheets.  Raises as `write_csv`."""
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, fieldnames=list(columns), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow(
            {key: csv_cell(value) if isinstance(value, str) else value for key, value in row.items()}
        )
    return buffer.getvalue()


def write_npy(path: PathLike, array: ArrayLike) -> None:
    """Replace the file at ``path`` by one array in NumPy's format.

    Raises:
        ValueError: when the array holds Python objects, which could only be pickled.
    """
    import numpy as np  # here: whoever writes text shouldn't wait for it

    values = np.asarray(array)
    with replacing(path) as file:
        np.save(file, values, allow_pickle=False)


def write_npz(path: PathLike, arrays: Mapping[str, ArrayLike]) -> None:
    """Replace the file at ``path`` (its name is taken as it is) by named arrays, uncompressed.

    Raises:
        ValueError: when an array holds Python objects, which could only be pickled.
    """
    import numpy as np

    values = {name: np.asarray(array) for name, array in arrays.items()}
    for name, array in values.items():
        if array.dtype.hasobject:
            raise ValueError(f"the array '{name}' holds Python objects and can't be saved without pickling.")
    with replacing(path) as file:
        np.savez(file, **values)  # type: ignore[arg-type]
