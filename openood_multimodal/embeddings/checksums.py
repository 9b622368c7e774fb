"""Checksums of an embedding store's files: by blocks of rows, without those that were skipped."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..files import bytes_sha256, text_sha256
from ..files.digests import json_sha256
from .format import BLOCK_ROWS, CLIPS, META, REMEDY, StoreMeta

Arrays = Mapping[str, NDArray[Any]]


def _blocks(array: NDArray[Any], rows: NDArray[np.int64]) -> Iterator[NDArray[Any]]:
    whole = len(rows) == len(array)
    for start in range(0, len(rows), BLOCK_ROWS):
        stop = start + BLOCK_ROWS
        yield np.ascontiguousarray(array[start:stop] if whole else array[rows[start:stop]])


def checksums_of(
    meta: StoreMeta, arrays: Arrays, rows: NDArray[np.int64], clips: Sequence[str]
) -> dict[str, list[str]]:
    """Return file → SHA-256 of each block of ``rows``: those of a store which had no other rows.

    Args:
        meta: says which arrays there are.
        arrays: their names → ``[N, ...]``.
        rows: int64 ``[R]``, those that are done, ascending.
        clips: N names.
    """
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:  # SHA-256 runs beside Python

        def sums(name: str) -> list[str]:
            return list(pool.map(lambda block: bytes_sha256(block.data), _blocks(arrays[name], rows)))

        found = {f"{name}.npy": sums(name) for name in meta.arrays()}
    return {**found, CLIPS: [text_sha256("".join(f"{clips[row]}\n" for row in rows))]}


def digest_of(meta: StoreMeta, count: int, checksums: Mapping[str, list[str]]) -> str:
    """Return the SHA-256 over a store's content: its layout with ``count`` rows, slices, and the checksums."""
    layout = {name: [dtype.str, count, *shape[1:]] for name, (dtype, shape) in meta.arrays().items()}
    slices = [[name, *columns] for name, columns in meta.slices.items()]  # their order counts
    return json_sha256([layout, slices, BLOCK_ROWS, dict(checksums)])


def _digest_before_checksums(
    meta: StoreMeta, arrays: Arrays, rows: NDArray[np.int64], clips: Sequence[str]
) -> str:
    """Return the digest as versions 1 and 2 of the format defined it."""
    digest = hashlib.sha256()
    for name, (dtype, shape) in meta.arrays().items():
        digest.update(f"{name} {dtype.str} {(len(rows), *shape[1:])}\n".encode())
        for block in _blocks(arrays[name], rows):
            digest.update(block.data)
    digest.update(json.dumps([meta.slices, [clips[row] for row in rows]], ensure_ascii=False).encode())
    return digest.hexdigest()


def verify_content(
    folder: Path, meta: StoreMeta, arrays: Arrays, rows: NDArray[np.int64], clips: Sequence[str]
) -> None:
    """Read everything, a block of rows at a time, and compare with the checksums in ``meta``.

    Raises:
        UserError: naming the file, and the rows, that have changed since the store was finished.
    """
    if not meta.checksums:
        if _digest_before_checksums(meta, arrays, rows, clips) != meta.digest:
            raise UserError(f"{folder} has changed since it was finished: its digest differs; {REMEDY}")
        return
    found = checksums_of(meta, arrays, rows, clips)
    for name, blocks in found.items():
        for number, (now, then) in enumerate(zip_longest(blocks, meta.checksums.get(name, ()))):
            if now != then:
                part = rows[number * BLOCK_ROWS :][:BLOCK_ROWS]
                which = f" (rows {part[0]} to {part[-1]})" if len(part) and name != CLIPS else ""
                raise UserError(
                    f"{folder / name}{which} has changed since the store was finished: its SHA-256 differs; {REMEDY}"
                )
    if digest_of(meta, len(rows), found) != meta.digest:
        raise UserError(
            f"{folder / META} has changed since the store was finished: its digest is not that of its checksums; "
            f"{REMEDY}"
        )
