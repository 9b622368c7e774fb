"""How much is taken from one file; each limit is generous, and can be changed.

``OPENOOD_MM_LIMITS`` in the environment changes limits for a process and its workers:
``OPENOOD_MM_LIMITS="yaml_bytes=4MiB,tree_depth=100"``.  docs/security.md lists them.
"""

from __future__ import annotations

import os
import re
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from ..errors import UserError
from ..naming import did_you_mean

VARIABLE = "OPENOOD_MM_LIMITS"
_UNITS = {"": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_AMOUNT = re.compile(r"([0-9]{1,15})(|KiB|MiB|GiB|TiB)")


class Limit(NamedTuple):
    """A limit's default value, and what it bounds."""

    default: int
    bounds: str


LIMITS: dict[str, Limit] = {
    "csv_bytes": Limit(256 * 2**20, "size of a CSV file (manifests, tables, lists)"),
    "csv_rows": Limit(2_000_000, "lines of a CSV file"),
    "csv_cells": Limit(10_000_000, "cells of a manifest or list in CSV"),
    "csv_columns": Limit(20_000, "columns of a CSV file"),
    "json_bytes": Limit(32 * 2**20, "size of a JSON file (records, cards, indexes, stores' meta.json)"),
    "yaml_bytes": Limit(512 * 2**10, "size of a YAML file (configs, benchmarks, suites)"),
    "submission_bytes": Limit(4 * 2**30, "size of one file of a submission to a leaderboard"),
    "tree_values": Limit(2_000_000, "values in a JSON file or in what a checkpoint holds beside its tensors"),
    "yaml_values": Limit(
        200_000, "values in a YAML file, those that anchors and merges repeat counted each time"
    ),
    "tree_depth": Limit(64, "how deep lists and mappings of any file may be nested"),
    "list_bytes": Limit(64 * 2**20, "size of one of the authors' split lists"),
    "pickle_bytes": Limit(16 * 2**20, "size of a pickled split list"),
    "pickle_steps": Limit(500_000, "instructions in a pickled split list or in a checkpoint's pickle"),
    "checkpoint_pickle_bytes": Limit(16 * 2**20, "size of the pickle in a checkpoint, its tensors apart"),
    "archive_expansion": Limit(
        200, "how many times larger than stored an array of an .npz may be, above 64 MiB"
    ),
    "frame_pixels": Limit(
        36_000_000, "pixels of one frame of a video or of a folder of frames; 8K has 33 million"
    ),
    "video_frames": Limit(2_000_000, "frames of one video; 18 hours at 30 a second"),
    "window_bytes": Limit(
        1_500_000_000, "frames that are read at once, as RGB; 32 of 3840 x 2160 are 800 million bytes"
    ),
    "sound_seconds": Limit(10_800, "seconds of sound that are read or written at once"),
    "sound_rate": Limit(1_000_000, "samples of sound a second"),
}
"""Name → limit.  A module that reads another kind of file adds its own here."""


def limit(name: str) -> int:
    """Return the limit ``name`` as it holds in this process.

    Raises:
        UserError: when ``OPENOOD_MM_LIMITS`` can't be understood or names no limit.
    """
    return _changed(os.environ.get(VARIABLE, "")).get(name, LIMITS[name].default)


def check_size(path: str | os.PathLike[str], name: str) -> int:
    """Return the size of the file ``path`` in bytes, once it is sure that it is a plain file within the limit ``name``.

    Raises:
        UserError: when it is missing, a folder, a device or a pipe, or larger.
        OSError: when it can't be looked at.
    """
    file = Path(path)
    if file.is_dir():
        raise UserError(f"{file} is a folder; a file is needed.")
    size = file.stat().st_size
    if not file.is_file():
        raise UserError(f"{file} is no plain file (a device or a pipe).")
    if size > limit(name):
        raise beyond(str(file), f"it has {size} bytes", name)
    return size


def beyond(where: str, found: str, name: str) -> UserError:
    """Return the error that says that ``where`` passes the limit ``name``, and how to raise it."""
    return UserError(
        f"{where}: {found}; the limit is {limit(name)}. If the file is what you expect, raise it: "
        f"{VARIABLE}={name}=... in the environment (docs/security.md)."
    )


@lru_cache(maxsize=8)
def _changed(text: str) -> dict[str, int]:
    changed: dict[str, int] = {}
    for part in filter(None, (each.strip() for each in text.split(","))):
        name, equals, amount = (each.strip() for each in part.partition("="))
        parsed = _AMOUNT.fullmatch(amount)
        if not equals or parsed is None:
            raise UserError(f"{VARIABLE}: '{part}' is not name=number, e.g. yaml_bytes=4MiB.")
        if name not in LIMITS:
            raise UserError(f"{VARIABLE}: there is no limit '{name}'.{did_you_mean(name, LIMITS)}")
        changed[name] = int(parsed[1]) * _UNITS[parsed[2]]
    return changed
