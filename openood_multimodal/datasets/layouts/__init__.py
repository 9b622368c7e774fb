"""One module a dataset: how its files become a table of rows."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache

from ...registry import LAYOUTS
from ..benchmarks import Benchmark
from .source import Layout, SourceTable, Stamped, digest_differs, find_file

__all__ = ["Layout", "SourceTable", "load_table"]


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
    layout: Layout = LAYOUTS.get(benchmark.layout, f"benchmark {benchmark.name}")
    sources = []
    modified = False
    for relative in layout.files(modalities):
        file = Stamped.of(find_file(benchmark.source, relative, data_dir))
        modified |= digest_differs(benchmark, relative, file, accept_changed)
        sources.append(file)
    return _read(benchmark, tuple(sources), tuple(modalities)), modified


@lru_cache(maxsize=16)
def _read(benchmark: Benchmark, sources: tuple[Stamped, ...], modalities: tuple[str, ...]) -> SourceTable:
    table: SourceTable = LAYOUTS.get(benchmark.layout).read(benchmark, sources, modalities)
    for values in table.features.values():
        values.setflags(write=False)
    return table
