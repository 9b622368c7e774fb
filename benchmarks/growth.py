"""How time and memory grow with the training rows N and the width D, on memory-mapped files.

Each figure is a process of its own.  Its memory is the peak while fitting and scoring, less the peak of a process
that imports the same things, maps the same files and evaluates a few rows: ``peak`` with the pages of mapped files
that happen to be in memory, ``anonymous`` without them (the system can take those back at any time).  The time
of an added row is the difference of two sizes' times by the difference of their rows.
"""

from __future__ import annotations

import argparse
import itertools
import shutil
import tempfile
from pathlib import Path
from typing import Any

from openood_multimodal.errors import UserError
from openood_multimodal.naming import did_you_mean
from openood_multimodal.postprocessors.run import all_scores

from .parts.embeddings import Shape, Source, bytes_of, write_problem
from .parts.processes import OverTimeError, run_module
from .suite.measuring import Measurement, Report, Times, say

NAME = "growth"
SUMMARY = "time and memory by training rows (to a million) and by width"
QUICK = {"rows": [2000, 8000], "dim": 128, "test": 1000, "dims": [128, 256], "dims_rows": 2000, "vim_dim": 64}

_WORKER = "benchmarks.parts.growth_worker"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000], help="N (default: %(default)s)"
    )
    parser.add_argument("--dim", type=int, default=512, help="D while N grows (default: %(default)s)")
    parser.add_argument("--test", type=int, default=10_000, help="rows to score (default: %(default)s)")
    parser.add_argument(
        "--dims", type=int, nargs="*", default=[512, 1024, 2048, 4096, 8192], help="D (default: %(default)s)"
    )
    parser.add_argument(
        "--dims-rows", type=int, default=20_000, help="N while D grows (default: %(default)s)"
    )
    parser.add_argument("--classes", type=int, default=100, help="C (default: %(default)s)")
    parser.add_argument(
        "--scores", nargs="+", default=["mds", "vim", "knn"],
        help="those measured alone, beside the table of the nine; all: every native score (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--time-limit", type=float, default=600.0, metavar="SECONDS",
        help="of one process; one that takes longer is ended and listed as such (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--neighbours", type=int, default=50, help="K of KNN (default: %(default)s)")
    parser.add_argument("--vim-dim", type=int, default=256, help="of ViM, below D (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=1, help="processes a figure (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the data (default: %(default)s)")
    parser.add_argument(
        "--folder", type=Path, help="where the data are written for a while (default: the temporary folder)"
    )


def run(options: argparse.Namespace) -> Report:
    if options.scores == ["all"]:
        options.scores = all_scores()
    by_rows = [_shape(options, rows, options.dim) for rows in sorted(set(options.rows))]
    by_dim = [_shape(options, options.dims_rows, dim) for dim in sorted(set(options.dims))]
    _check(options, [*by_rows, *by_dim])
    source = Source(options.dim, options.classes, seed=options.seed)
    report = Report(
        {
            "scored": options.test,
            "classes": options.classes,
            "K": options.neighbours,
            "vim_dim": options.vim_dim,
            "data": source.describe(),
            "dtype": "float32, memory-mapped",
            "seed": options.seed,
        }
    )
    for shape in by_rows:
        _measure(options, shape, report)
    names = ["table", *options.scores]
    for name in names:
        _added_rows(report, by_rows, name)
    measured = {(each.train, each.dim) for each in by_rows}
    for shape in by_dim:
        if (shape.train, shape.dim) not in measured:
            _measure(options, shape, report)
    return report


def _shape(options: argparse.Namespace, rows: int, dim: int) -> Shape:
    half = options.test // 2
    return Shape(rows, min(rows, 2000), half, options.test - half, dim, options.classes)


def _check(options: argparse.Namespace, shapes: list[Shape]) -> None:
    for name in options.scores:
        if name not in all_scores():
            raise UserError(
                f"--scores names '{name}', which is not measured here.{did_you_mean(name, ['all', *all_scores()])}"
            )
    for each in shapes:
        if (
            each.train < max(2 * options.classes, options.neighbours)
            or options.test < 2
            or options.rounds < 1
        ):
            raise UserError(
                f"{each.train} training rows are too few: at least K, and two a class; two to score."
            )
        if not 1 <= options.vim_dim < each.dim:
            raise UserError(f"--vim-dim {options.vim_dim} must be below every D; there is D = {each.dim}.")
    folder = options.folder or Path(tempfile.gettempdir())
    if not folder.is_dir():
        raise UserError(f"--folder {folder} is not a folder.")
    needed = max(map(bytes_of, shapes))
    free = shutil.disk_usage(folder).free
    say(
        f"{folder} has {free / 2**30:.1f} GiB free; the largest set takes {needed / 2**30:.2f} GiB for a while"
    )
    if free < 1.2 * needed:
        raise UserError(
            f"{folder} has {free / 2**30:.1f} GiB free and {1.2 * needed / 2**30:.1f} GiB are needed; "
            "name another --folder, or take fewer --rows or --dims."
        )


def _name(shape: Shape, what: str) -> str:
    return f"N = {shape.train}, D = {shape.dim}: {what}"


def _measure(options: argparse.Namespace, shape: Shape, report: Report) -> None:
    with tempfile.TemporaryDirectory(prefix="openood-mm-benchmark-", dir=options.folder) as folder:
        say(f"N = {shape.train}, D = {shape.dim}: writing {bytes_of(shape) / 2**30:.2f} GiB ...")
        source = Source(shape.dim, options.classes, seed=options.seed)
        write_problem(Path(folder), source, shape)
        task = {"folder": folder, "neighbours": options.neighbours, "vim_dim": options.vim_dim}
        baseline = run_module(_WORKER, {**task, "scores": []})
        for what in ("table", *options.scores):
            say(f"{_name(shape, what)} ...")
            try:
                answers = [
                    run_module(_WORKER, {**task, "scores": [what]}, options.time_limit)
                    for _ in range(options.rounds)
                ]
            except (OverTimeError, RuntimeError) as error:
                report.measurements.append(
                    Measurement.skipped(_name(shape, what), str(error).strip().split("\n")[-1])
                )
                continue
            times = Times(
                tuple(wall for each in answers for wall in each["wall"]),
                tuple(cpu for each in answers for cpu in each["cpu"]),
            )
            values: dict[str, Any] = {}
            if answers[0]["fit_s"] is not None:
                values["fit_s"] = min(each["fit_s"] for each in answers)
            for key in ("peak_MiB", "anonymous_MiB"):
                if baseline[key] is not None:
                    values[key] = max(0.0, max(each[key] for each in answers) - baseline[key])
            report.measurements.append(Measurement.of(_name(shape, what), times, values))


def _added_rows(report: Report, shapes: list[Shape], what: str) -> None:
    """Add what an added row costs between neighbouring sizes: microseconds, how far these are apart, and memory."""
    measured = {each.name: each for each in report.measurements if each.wall_s is not None}
    costs = []
    for small, large in itertools.pairwise(shapes):
        less, more = (measured.get(_name(each, what)) for each in (small, large))
        if less is None or more is None:
            continue
        rows, between = large.train - small.train, f"{small.train} to {large.train}"
        costs.append(((more.wall_s or 0.0) - (less.wall_s or 0.0)) / rows * 1e6)
        report.ratios[f"{what}: µs an added row, {between}"] = costs[-1]
        memory = [each.values.get("anonymous_MiB") for each in (less, more)]
        if None not in memory:
            added = float(memory[1] or 0.0) - float(memory[0] or 0.0)
            report.ratios[f"{what}: anonymous MiB a million added rows, {between}"] = added / rows * 1e6
    if len(costs) > 1 and min(costs) > 0:
        report.ratios[f"{what}: dearest / cheapest added row"] = max(costs) / min(costs)
