"""Checkpoints: what ``torch.save`` wrote, read without running anything in it."""

from __future__ import annotations

import os
import pickle
import pickletools
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from ..errors import UserError
from .edge import reading
from .limits import beyond, limit
from .trees import check_tree

_NAMED = re.compile(r"(?:GLOBAL|global:?)\s+([\w.]+)")
_PICKLES = 5
"""Pickles in a file of torch before 1.6: magic number, protocol, system, content, keys."""


def read_tensors(
    path: str | os.PathLike[str], what: str = "a checkpoint", remedy: str = "Get it again."
) -> Any:
    """Return what ``torch.save`` wrote to ``path``: tensors, and plain values in lists and mappings.

    Nothing else is unpickled (``weights_only``).  Tensors are mapped from the file where its format allows, on the CPU,
    so that no size it claims is allocated; writing to them does not change the file.

    Raises:
        UserError: when the file is missing, damaged, holds anything else, would expand when read, or passes a limit.
    """
    import torch

    file = Path(path)
    with reading(file, f"{what} of plain tensors, as torch.save writes it", remedy):
        if not file.is_file():
            raise UserError(
                f"{file}: there is no such file." if not file.exists() else f"{file} is no plain file."
            )
        zipped = zipfile.is_zipfile(file)
        (_check_zip if zipped else _check_legacy)(file)
        try:
            value = torch.load(file, map_location="cpu", weights_only=True, mmap=zipped)
        except pickle.UnpicklingError as error:  # torch's own text advises to run the file
            named = _NAMED.search(str(error))
            what_else = f" ({named[1]})" if named else ""
            raise UserError(
                f"{file} is damaged, or holds more than tensors and plain values{what_else}. {remedy}"
            ) from error
        check_tree(value, str(file))
    return value


def check_mapping(path: str | os.PathLike[str], value: Any, what: str, remedy: str) -> Mapping[str, Any]:
    """Return ``value``, read from ``path``, if it is a mapping with text as keys.

    Raises:
        UserError: when it is something else.
    """
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise UserError(f"{path} is not {what}. {remedy}")
    return value


def _check_zip(file: Path) -> None:
    """Refuse what torch would expand, before it does: its own writer never compresses."""
    size = file.stat().st_size
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        if any(each.compress_type != zipfile.ZIP_STORED for each in members):
            raise UserError("its members are compressed, which torch.save never does.")
        if sum(each.file_size for each in members) > size:
            raise UserError("its members are larger than the file; it is damaged or a trap.")
        for each in members:
            if each.filename.endswith("data.pkl"):
                if each.file_size > limit("checkpoint_pickle_bytes"):
                    raise beyond(
                        str(file), f"its pickle has {each.file_size} bytes", "checkpoint_pickle_bytes"
                    )
                with archive.open(each) as stream:
                    _count_steps(stream, file, 1)


def _check_legacy(file: Path) -> None:
    with file.open("rb") as stream:
        _count_steps(stream, file, _PICKLES)


def _count_steps(stream: IO[bytes], file: Path, pickles: int) -> None:
    """Count instructions without carrying them out: reading them is as slow as they are many."""
    most = limit("pickle_steps")
    count = 0
    for _ in range(pickles):
        for _step in pickletools.genops(stream):
            count += 1
            if count > most:
                raise beyond(str(file), f"its pickle has more than {most} instructions", "pickle_steps")
