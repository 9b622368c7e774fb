"""Scores on the workers of a Dask cluster beside one process: time a row, and memory of a worker.

The rows are windows of one memory-mapped float16 array, ``--step`` columns apart, so that ten million rows of 512
columns take 1.3 GB of disk: they cost the computation and memory of separate rows, but an eighth of their reading.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from openood_multimodal.errors import UserError

from .parts.embeddings import Source
from .parts.processes import OverTimeError, run_module
from .suite.measuring import Measurement, Report, Times, say

NAME = "shards"
SUMMARY = "scores on a Dask cluster beside one process: time a row, memory of a worker"
QUICK = {"rows": [20_000, 40_000], "dim": 64, "step": 16, "scored": 4000, "queries": 500, "vim_dim": 32}

_WORKER = "benchmarks.parts.shards_worker"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--scheduler", metavar="ADDRESS",
        help="of a cluster whose workers can import benchmarks (default: --workers on this host)",
    )  # fmt: skip
    parser.add_argument(
        "--workers", type=int, default=2, help="where no scheduler is named (default: %(default)s)"
    )
    parser.add_argument(
        "--rows",
        type=int,
        nargs="+",
        default=[1_000_000],
        help="N; one process takes the least (default: %(default)s)",
    )
    parser.add_argument("--dim", type=int, default=512, help="D (default: %(default)s)")
    parser.add_argument(
        "--step", type=int, default=64, help="columns between rows in the file (default: %(default)s)"
    )
    parser.add_argument("--scored", type=int, default=200_000, help="rows to score (default: %(default)s)")
    parser.add_argument(
        "--queries", type=int, default=2000, help="rows that KNN scores (default: %(default)s)"
    )
    parser.add_argument("--classes", type=int, default=100, help="C (default: %(default)s)")
    parser.add_argument(
        "--scores", nargs="+", default=["msp", "mds", "vim", "knn"], help="(default: %(default)s)"
    )
    parser.add_argument("--neighbours", type=int, default=50, help="K of KNN (default: %(default)s)")
    parser.add_argument("--vim-dim", type=int, default=256, help="of ViM, below D (default: %(default)s)")
    parser.add_argument(
        "--time-limit",
        type=float,
        default=1200.0,
        metavar="SECONDS",
        help="of one line (default: %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the data (default: %(default)s)")
    parser.add_argument(
        "--folder", type=Path, help="for the data, which workers share (default: the temporary one)"
    )


def run(options: argparse.Namespace) -> Report:
    sizes = sorted(set(options.rows))
    if max(options.scored, options.queries, options.neighbours) > sizes[0]:
        raise UserError(f"--rows {sizes[0]} are fewer than are scored, or than --neighbours.")
    settings = ("dim", "step", "scored", "queries", "classes", "neighbours", "vim_dim", "seed")
    report = Report({key: getattr(options, key) for key in settings} | {"dtype": "float16, memory-mapped"})
    cluster: dict[str, Any] = {"scheduler": options.scheduler, "workers": options.workers}
    with tempfile.TemporaryDirectory(prefix="openood-mm-benchmark-", dir=options.folder) as folder:
        file = Path(folder, "rows.npy")
        _write(file, options, sizes[-1])
        for rows, where in [(sizes[0], None), *((each, cluster) for each in sizes)]:
            for score in options.scores:
                name = f"N = {rows}, {'one process' if where is None else 'cluster'}: {score}"
                say(f"{name} ...")
                task = {
                    **report.settings,
                    "file": str(file),
                    "rows": rows,
                    "score": score,
                    "on": where,
                }
                try:
                    answer = run_module(_WORKER, task, options.time_limit)
                except (OverTimeError, RuntimeError) as error:
                    report.measurements.append(Measurement.skipped(name, str(error).strip().split("\n")[-1]))
                    continue
                times = Times((answer.pop("wall"),), (answer.pop("cpu"),))
                report.measurements.append(Measurement.of(name, times, answer, computes=False))
    return report


def _write(file: Path, options: argparse.Namespace, rows: int) -> None:
    """Write the array whose windows are the rows."""
    length = (rows - 1) * options.step + options.dim
    flat = np.lib.format.open_memmap(file, mode="w+", dtype=np.float16, shape=(length,))
    at, source = 0, Source(options.dim, options.classes, seed=options.seed)
    for chunk, _ in source.draw(1, -(-length // options.dim)):
        part = chunk.reshape(-1)[: length - at]
        flat[at : at + len(part)] = part
        at += len(part)
    flat.flush()
