"""Arrays from an ``.npz`` file that anybody may have made: nothing is unpickled, no size is believed.

`numpy.load` allocates what the header of an array claims before it looks at the data.  Here the claim is held
against the member's own size, and that against what the archive can contain, before anything is allocated.
"""

from __future__ import annotations

import math
import os
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from ..errors import UserError
from .edge import reading
from .limits import beyond, limit

_DEFLATE_LIMIT = 1032  # no deflate stream expands further: 258 bytes take at least two bits
_ALWAYS = 64 * 2**20  # bytes of an array that may be compressed to anything
_CHUNK = 16 * 2**20
_HEADER_READERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
_BROKEN = (
    ValueError,
    SyntaxError,
    TypeError,
    EOFError,
    RuntimeError,  # NotImplementedError and RecursionError among them
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


class Arrays(NamedTuple):
    """``values``: key → array, as asked for; ``ignored``: other keys of the file, sorted."""

    values: dict[str, NDArray[Any]]
    ignored: tuple[str, ...]


class _Header(NamedTuple):
    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]
    length: int

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def map_array(
    path: str | os.PathLike[str], mode: Literal["r", "r+"] = "r", remedy: str = "Save it again."
) -> Any:
    """Memory-map the array in an ``.npy`` file.

    Args:
        path: the file.
        mode: ``"r"``, or ``"r+"`` to write to it.
        remedy: one sentence for messages.

    Raises:
        UserError: when it is missing, no array, holds Python objects, or claims another size than it has.
    """
    file = Path(path)
    with reading(file, "an array in NumPy's format", remedy):
        with file.open("rb") as stream:
            header = _read_header(stream)
        if header.dtype.hasobject:
            raise UserError(f"{file} holds Python objects, which could run code when read. {remedy}")
        held = file.stat().st_size - header.length
        if not header.nbytes:
            raise UserError(f"{file} is empty: it holds {header.dtype} {list(header.shape)}. {remedy}")
        if header.nbytes != held:
            raise UserError(
                f"{file} is truncated or damaged: it claims {header.dtype} {list(header.shape)}, that is "
                f"{_size(header.nbytes)}, and holds {_size(held)}. {remedy}"
            )
        order: Literal["F", "C"] = "F" if header.fortran else "C"
        return np.memmap(file, header.dtype, mode, header.length, header.shape, order)


def _read_header(stream: IO[bytes]) -> _Header:
    version = npy.read_magic(stream)
    if version not in _HEADER_READERS:
        raise ValueError(f"format version {version}")
    shape, fortran, dtype = _HEADER_READERS[version](stream)
    if not all(type(size) is int and size >= 0 for size in shape):
        raise ValueError(f"shape {shape}")
    return _Header(shape, fortran, dtype, stream.tell())


def read_arrays(
    path: str | os.PathLike[str], required: Sequence[str], optional: Sequence[str] = ()
) -> Arrays:
    """Read named arrays of an ``.npz`` file.

    Args:
        path: the file.
        required: keys that must be there.
        optional: keys that are read where they are there; all others are left alone.

    Raises:
        UserError: when there is no such file, it is no ``.npz``, a required key is missing, an array holds
            Python objects, the file is damaged, or it claims more data than it can hold.
        OSError: when the file can't be read.
    """
    file = Path(path)
    if not file.is_file():
        raise UserError(f"{file}: there is no such file.")
    try:
        archive = zipfile.ZipFile(file)
    except _BROKEN as error:
        raise UserError(
            f"{file} is not an .npz file ({error}); write one with "
            f"numpy.savez('{file.stem}.npz', {', '.join(f'{key}=...' for key in (*required, *optional))})."
        ) from error
    with archive:
        members = _members(archive, file)
        missing = [key for key in required if key not in members]
        if missing and any(name.endswith("data.pkl") for name in members):
            arrays = ", ".join(f"{key}=....numpy()" for key in required)
            raise UserError(
                f"{file} was written by torch.save; save its tensors as arrays: "
                f"numpy.savez('{file.stem}.npz', {arrays})."
            )
        if missing:
            raise UserError(
                f"{file} has no array '{missing[0]}'; it holds {', '.join(sorted(members)) or 'nothing'}."
            )
        wanted = {key: members[key] for key in (*required, *optional) if key in members}
        headers = {key: _header(archive, info, file, key) for key, info in wanted.items()}
        _check_memory(file, headers)
        values = {key: _values(archive, wanted[key], header, file, key) for key, header in headers.items()}
    return Arrays(values, tuple(sorted(set(members) - set(wanted))))


def _members(archive: zipfile.ZipFile, file: Path) -> dict[str, zipfile.ZipInfo]:
    members: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        key = info.filename.removesuffix(".npy")
        if key in members:
            raise UserError(f"{file} holds the array '{key}' twice; save it again.")
        members[key] = info
    return members


def _header(archive: zipfile.ZipFile, info: zipfile.ZipInfo, file: Path, key: str) -> _Header:
    """Read what an array claims to be, and refuse what can't be true."""
    where = f"{file}, array '{key}'"
    if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise UserError(
            f"{where}: encrypted, or compressed in a way that NumPy does not write; save it again."
        )
    total = file.stat().st_size
    ratio = _DEFLATE_LIMIT if info.compress_type == zipfile.ZIP_DEFLATED else 1
    outside = info.header_offset < 0 or info.header_offset + info.compress_size > total
    if outside or info.file_size > ratio * info.compress_size:
        raise UserError(
            f"{where}: the archive says {_size(info.file_size)}, which the {_size(info.compress_size)} stored "
            f"of it (file: {_size(total)}) can't hold; the file is damaged or a trap."
        )
    try:
        with archive.open(info) as member:
            header = _read_header(member)
    except (*_BROKEN, MemoryError, tokenize.TokenError) as error:
        raise UserError(f"{where}: not a readable array ({error}); the file is damaged.") from error
    if header.dtype.hasobject:
        raise UserError(
            f"{where} holds Python objects, which could run code when read; save it with a plain dtype, "
            f"for example {key}.astype('float32')."
        )
    if info.file_size > max(_ALWAYS, limit("archive_expansion") * info.compress_size):
        ratio = info.file_size // max(info.compress_size, 1)
        raise beyond(where, f"it is {ratio} times larger than what is stored of it", "archive_expansion")
    held = info.file_size - header.length
    if header.nbytes != held:
        raise UserError(
            f"{where} claims {header.dtype} {list(header.shape)}, that is {_size(header.nbytes)}, but the file "
            f"holds {_size(held)} of it; the file is damaged or a trap."
        )
    return header


def _check_memory(file: Path, headers: Mapping[str, _Header]) -> None:
    needed = sum(header.nbytes for header in headers.values())
    if needed > _physical_memory():
        raise UserError(
            f"{file} holds {_size(needed)} of arrays, more than this machine's memory "
            f"({_size(_physical_memory())}); put them into an embedding store, which is read in parts."
        )


def _physical_memory() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not every system says
        return 2**63


def _values(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, header: _Header, file: Path, key: str
) -> NDArray[Any]:
    try:
        flat = np.empty(math.prod(header.shape), header.dtype)
        room: Any = memoryview(flat.view(np.uint8).data) if flat.size else b""
        with archive.open(info) as member:
            assert isinstance(member, zipfile.ZipExtFile)
            member.read(header.length)
            filled = 0
            while filled < len(room):
                count = member.readinto(room[filled : filled + _CHUNK])
                if not count:
                    raise EOFError(f"the data end after {_size(filled)}")
                filled += count
        return flat.reshape(header.shape, order="F" if header.fortran else "C")
    except MemoryError as error:
        raise UserError(f"{file}, array '{key}': {_size(header.nbytes)} don't fit into memory.") from error
    except _BROKEN as error:
        raise UserError(f"{file}, array '{key}': damaged data ({error}); copy or save it again.") from error


def _size(nbytes: int) -> str:
    value = float(nbytes)
    for unit in ("bytes", "kB", "MB", "GB"):
        if abs(value) < 1000:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} TB"
