"""Rows that are in two sets: test rows that were trained on, OOD rows that are test rows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..arrays import Embeddings

START = "rows in two sets: "
_LOOKED_AT = 16  # columns that tell nearly all rows apart; only rows that agree in these are compared whole
_BLOCK_ROWS = 4096


class Overlap(NamedTuple):
    """Two sets with equal rows: ``rows`` of the ``total`` rows of the set ``name`` are in ``other``, too."""

    rows: int
    total: int
    name: str
    other: str


def shared_rows(sets: Iterable[tuple[str, Embeddings]]) -> list[str]:
    """Return a note for each two sets with equal rows of features, with their number; see `overlaps`."""
    return [
        f"{START}{each.rows} of {each.total} rows of {each.name} are also in {each.other}"
        for each in overlaps(sets)
    ]


def overlaps(sets: Iterable[tuple[str, Embeddings]]) -> list[Overlap]:
    """Return each two sets with equal rows of features.

    Time is linear in rows: some columns of all rows are read, and all columns of rows that agree in these.

    Args:
        sets: name → set, in the order train, val, test, OOD sets; all of one width.
    """
    named = list(sets)
    keys = [_keys(each.features) for _, each in named]
    everywhere, first = np.unique(np.concatenate(keys), return_inverse=True)
    counts = np.zeros((len(named), len(everywhere)), dtype=np.int64)
    parts = np.split(first, np.cumsum([len(each) for each in keys])[:-1])
    for number, part in enumerate(parts):
        counts[number] = np.bincount(part, minlength=len(everywhere))
    suspects = (counts > 0).sum(axis=0) > 1
    digests = [
        list(_digests(each.features, np.flatnonzero(suspects[part])))
        for (_, each), part in zip(named, parts, strict=True)
    ]
    found = []
    for later in range(1, len(named)):
        for earlier in range(later):
            known = set(digests[earlier])
            count = sum(digest in known for digest in digests[later])
            if count:
                name, each = named[later]
                found.append(Overlap(count, len(each), name, named[earlier][0]))
    return found


def _keys(features: NDArray[np.floating]) -> NDArray[np.uint64]:
    """Return uint64 ``[N]``, equal for rows that are equal in some columns."""
    dim = features.shape[1]
    columns = np.unique(np.linspace(0, dim - 1, min(dim, _LOOKED_AT)).astype(np.int64))
    factors = np.random.default_rng(0).integers(1, 2**63, len(columns), dtype=np.uint64) | np.uint64(1)
    keys = np.empty(len(features), dtype=np.uint64)
    for start in range(0, len(features), _BLOCK_ROWS):
        block = (
            np.asarray(features[start : start + _BLOCK_ROWS][:, columns], dtype=np.float64) + 0.0
        )  # no -0.0
        keys[start : start + _BLOCK_ROWS] = (np.ascontiguousarray(block).view(np.uint64) * factors).sum(
            axis=1
        )
    return keys


def _digests(features: NDArray[np.floating], rows: NDArray[np.int64]) -> Iterator[bytes]:
    for row in rows:
        whole = np.asarray(features[row], dtype=np.float64) + 0.0
        yield hashlib.blake2b(whole.tobytes(), digest_size=16).digest()
