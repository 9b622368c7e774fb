"""Progress of long work: a bar on a terminal, a line at intervals in a log file."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm

EVERY = 30.0
"""Seconds between two lines of a log."""


def progress_bar(iterable: Iterable[Any] | None = None, *, quiet: bool = False, **options: Any) -> tqdm:
    """Return a `tqdm` bar for a terminal; elsewhere one that writes a line every `EVERY` seconds.

    Work that is done sooner leaves nothing in a log.

    Args:
        iterable: what to iterate over, or None for ``update()``.
        quiet: show nothing.
        options: `tqdm`'s own, such as ``total``, ``desc``, ``unit``, ``leave``.
    """
    options.setdefault("file", sys.stderr)
    if quiet:
        return tqdm(iterable, disable=True, **options)
    if options["file"].isatty():
        return tqdm(iterable, dynamic_ncols=True, **options)
    return _Lines(iterable, **options)


class _Lines(tqdm):
    def __init__(self, iterable: Iterable[Any] | None, **options: Any) -> None:
        self._due = time.monotonic() + EVERY
        self._written = False
        super().__init__(iterable, **{**options, "leave": False, "ncols": 0, "mininterval": 0, "miniters": 1})

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        if time.monotonic() >= self._due:
            self._due = time.monotonic() + EVERY
            self._write()

    def close(self) -> None:
        if not self.disable:
            if self._written:
                self._write()
            self.fp = io.StringIO()  # tqdm would clear its line
        super().close()

    def _write(self) -> None:
        self._written = True
        self.fp.write(f"{str(self).strip()}\n")
        self.fp.flush()
