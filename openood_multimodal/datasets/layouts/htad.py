"""HTAD: windows of home activities, audio (MFCC) and wrist-accelerometer features, in one CSV file.

The first column is the class; ``v1_`` columns are audio, ``v2_`` columns accelerometer features.  Rows of one
activity stand together: each of the file's contiguous runs of a label is taken for one recording.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...errors import UserError
from ..benchmarks import Benchmark
from ..table_splits import contiguous_runs
from .source import Layout, SourceTable, Stamped, read_csv, read_header

FILE = "multiviewstacking/data/htad.csv"
PREFIXES = {"audio": "v1_", "accelerometer": "v2_"}


def files(modalities: Sequence[str]) -> tuple[str, ...]:
    """Return the one file that holds all modalities."""
    return (FILE,)


def read(benchmark: Benchmark, sources: Sequence[Stamped], modalities: Sequence[str]) -> SourceTable:
    """Return the table of these modalities.

    Raises:
        UserError: when the columns are not the benchmark's, or a cell is no finite number.
    """
    (file,) = sources
    header = read_header(file)
    if header[:1] != ("class",):
        raise UserError(f"{file.path}: the first column must be 'class', got '{', '.join(header[:1])}'.")
    table = read_csv(file, tuple(range(1, len(header))), (0,))
    features = {}
    for name in modalities:
        places = [i for i, column in enumerate(header) if column.startswith(PREFIXES[name])]
        if len(places) != benchmark.modalities[name]:
            raise UserError(
                f"{file.path} has {len(places)} columns '{PREFIXES[name]}...' ({name}), benchmark "
                f"{benchmark.name} expects {benchmark.modalities[name]}."
            )
        features[name] = table.numbers[:, np.asarray(places) - 1]
    class_names = table.texts[0]
    return SourceTable(
        class_names=class_names,
        groups=np.asarray([f"run{number:02d}" for number in contiguous_runs(class_names)]),
        features=features,
        files=dict.fromkeys(modalities, file.path.name),
    )


LAYOUT = Layout(files, read, "HTAD: audio and wrist-accelerometer features in one CSV file")
