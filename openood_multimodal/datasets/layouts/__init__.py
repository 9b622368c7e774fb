"""One module a data set: how its files become a table of rows."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

from ...errors import UserError
from ...naming import did_you_mean
from ..benchmarks import Benchmark
from . import htad, mfeat, synthetic
from .source import SourceTable, Stamped, digest_differs, find_file

__all__ = ["LAYOUTS", "Layout", "SourceTable", "load_table"]


class Layout(NamedTuple):
    """How a data set's files become a table.

    Attributes:
        files: modalities → the files needed, as named in the benchmark's ``source.files``.
        read: (benchmark, those files, modalities) → the table.
    """

    files: Callable[[Sequence[str]], tuple[str, ...]]
    read: Callable[[Benchmark, Sequence[Stamped], Sequence[str]], SourceTable]


LAYOUTS = {
    "htad": Layout(htad.files, htad.read),
    "mfeat": Layout(mfeat.files, mfeat.read),
    "synthetic": Layout(synthetic.files, synthetic.read),
}


def load_table(
    benchmark: Benchmark,
    modalities: Sequence[str],
    data_dir: str | os.PathLike[str] = "",
    accept_changed: bool = False,
) -> tuple[SourceTable, bool]:
    """Return a benchmark's rows with these modalities, and whether a source file was a changed one.

    While the files stay the same, a process reads them once and gets the same object.

    Args:
        benchmark: which one.
        modalities: names among ``benchmark.modalities``.
        data_dir: folder with the source files; empty to find them in the installed package.
        accept_changed: take files whose digest differs from the benchmark's.

    Raises:
        UserError: when a file is missing, differs, has other columns or a cell that is no finite number.
        MissingPackageError: when the package with the data is not installed.
    """
    if benchmark.layout not in LAYOUTS:
        raise UserError(
            f"benchmark {benchmark.name}: there is no layout '{benchmark.layout}'."
            f"{did_you_mean(benchmark.layout, LAYOUTS)}"
        )
    sources = []
    modified = False
    for relative in LAYOUTS[benchmark.layout].files(modalities):
        file = Stamped.of(find_file(benchmark.source, relative, data_dir))
        modified |= digest_differs(benchmark, relative, file, accept_changed)
        sources.append(file)
    return _read(benchmark, tuple(sources), tuple(modalities)), modified


@lru_cache(maxsize=16)
def _read(benchmark: Benchmark, sources: tuple[Stamped, ...], modalities: tuple[str, ...]) -> SourceTable:
    table = LAYOUTS[benchmark.layout].read(benchmark, sources, modalities)
    for values in table.features.values():
        values.setflags(write=False)
    return table
