"""Clips a second of this package's video reader, beside a whole-file decode and a bare loop.

A clip is a random training window of 32 frames, 2 apart, from a file of 320 x 240 at 30 frames a second.

* ``reader``       this package's, with the frames of the file numbered already, as from the second epoch on;
* ``reader, first time``   the same, of a file that it has not met: it numbers the frames first;
* ``whole file``   the reference implementation's way: the whole file to an array, then sampling from it;
* ``bare loop``    the limit: PyAV told everything about the file, from the keyframe before the window to its end.

All give the same frames, which is checked before anything is timed.  A worker is a process that decodes with one
thread, as those of a data loader do.  Peak memory is a worker's, beyond what its imports take.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import Any, Self

import numpy as np

from openood_multimodal.errors import MissingPackageError, UserError
from openood_multimodal.naming import did_you_mean

from .parts.clips import CONTAINERS, FPS, Kind, write_clips
from .suite.machine import REPOSITORY
from .suite.measuring import Measurement, Report, Times, say

NAME = "decoding"
SUMMARY = "clips a second of the video reader, beside a whole-file decode and a bare loop"
QUICK = {"seconds": [3.0], "keyframes": [12], "workers": [1], "clips": 3, "rounds": 2}

_FIRST = "reader, first time"
_WAYS = ("reader", _FIRST, "whole file", "bare loop")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--codecs", nargs="+", default=list(CONTAINERS), help="h264 and mpeg4 (default: %(default)s)"
    )
    parser.add_argument(
        "--keyframes", type=int, nargs="+", default=[12, 250], help="frames apart (default: %(default)s)"
    )
    parser.add_argument(
        "--seconds", type=float, nargs="+", default=[3.0, 10.0], help="of a file (default: %(default)s)"
    )
    parser.add_argument("--width", type=int, default=320, help="pixels (default: %(default)s)")
    parser.add_argument("--height", type=int, default=240, help="pixels (default: %(default)s)")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="default: %(default)s")
    parser.add_argument("--clips", type=int, default=8, help="files of each kind (default: %(default)s)")
    parser.add_argument(
        "--rounds", type=int, default=5, help="over all files, interleaved (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of files and windows (default: %(default)s)")


def run(options: argparse.Namespace) -> Report:
    for codec in options.codecs:
        if codec not in CONTAINERS:
            raise UserError(
                f"--codecs names '{codec}', which is not made here.{did_you_mean(codec, CONTAINERS)}"
            )
    if (
        min(options.clips, options.rounds, *options.workers, *options.keyframes) < 1
        or min(options.seconds) <= 0
    ):
        raise UserError("--clips, --rounds, --workers and --keyframes must be at least 1, --seconds above 0.")
    try:
        from .parts import reading
    except ImportError as error:
        raise MissingPackageError(f"{error}; the video reader is needed for this benchmark.") from error
    report = Report(
        {
            "size": f"{options.width}x{options.height}",
            "fps": FPS,
            "window": f"{reading.LENGTH} frames, {reading.STRIDE} apart",
            "files": options.clips,
            "seed": options.seed,
            "transforms": f"short side {reading.SHORT_SIDE}, random crop to {reading.SIZE}, flip, normalised",
        }
    )
    with tempfile.TemporaryDirectory(prefix="openood-mm-benchmark-") as folder:
        for codec, keyframes, seconds in itertools.product(
            options.codecs, options.keyframes, options.seconds
        ):
            kind = Kind(codec, keyframes, seconds, options.width, options.height)
            say(f"{kind.describe()}: writing {options.clips} files ...")
            paths = write_clips(Path(folder), kind, options.clips, options.seed)
            _check_same(paths, kind, options.seed)
            for transforms, workers in itertools.product((False, True), options.workers):
                _cell(report, options, kind, paths, transforms, workers)
            for path in paths:
                path.unlink()
    _ratios(report)
    return report


def _check_same(paths: Sequence[Path], kind: Kind, seed: int) -> None:
    """Hold all ways against each other on every file."""
    from .parts.reading import read_clip

    for number, path in enumerate(paths):
        one, *others = (
            read_clip(way, str(path), seed + number, kind.frames, False) for way in _WAYS if way != _FIRST
        )
        if not all(np.array_equal(one, other) for other in others):
            raise RuntimeError(f"the ways to read {kind.describe()} differ in their frames")


def _cell(
    report: Report,
    options: argparse.Namespace,
    kind: Kind,
    paths: Sequence[Path],
    transforms: bool,
    workers: int,
) -> None:
    """Measure all ways in turn, with processes that stay."""
    name = f"{kind.describe()}, {'transforms' if transforms else 'frames'}, {_workers(workers)}"
    say(f"{name} ...")
    clips = [[str(path), options.seed + number, kind.frames] for number, path in enumerate(paths)]
    taken = {way: Times((), ()) for way in _WAYS}
    peaks = dict.fromkeys(_WAYS, 0.0)
    pools = {way: Pool(way, clips, transforms, workers) for way in _WAYS}
    try:
        for pool in pools.values():
            pool.first()
        for turn in range(options.rounds):
            for way, pool in pools.items():
                if way == _FIRST:
                    for path in paths:  # as if changed: what is remembered of it no longer holds
                        os.utime(path, ns=(time.time_ns(), time.time_ns() + turn))
                wall, cpu, peak = pool.round()
                taken[way] += Times((wall / len(clips),), (cpu / len(clips),))
                peaks[way] = max(peaks[way], peak)
                if way == _FIRST:
                    pools["reader"].round()  # meets the changed files, untimed
    finally:
        for pool in pools.values():
            pool.close()
    for way, times in taken.items():
        values: dict[str, Any] = {"clips/s": 1 / times.wall_s, "peak_MiB": peaks[way]}
        if way in ("reader", _FIRST):
            values["x whole file"] = _median_ratio(taken["whole file"], times)
            values["of bare loop"] = _median_ratio(taken["bare loop"], times)
        report.measurements.append(Measurement.of(f"{name}: {way}", times, values, computes=workers == 1))


def _workers(count: int) -> str:
    return "1 worker" if count == 1 else f"{count} workers"


def _median_ratio(above: Times, below: Times) -> float:
    """Return the median of the rounds' ratios, so that a machine that slows down slows both."""
    return median(one / other for one, other in zip(above.wall, below.wall, strict=True))


def _ratios(report: Report) -> None:
    """Add the least and the median over the cells."""
    for way in ("reader", _FIRST):
        lines = [each for each in report.measurements if each.name.endswith(f": {way}")]
        groups = {"x whole file": {"": lines}, "of bare loop": {"": lines}}
        groups["x whole file"][", keyframes 12, 10 s"] = [
            each for each in lines if "keyframes 12, 10 s" in each.name
        ]
        for key, parts in groups.items():
            for which, members in parts.items():
                values = [float(each.values[key] or 0.0) for each in members]
                if values:
                    report.ratios[f"{way}, {key}{which}: least"] = min(values)
                    report.ratios[f"{way}, {key}{which}: median"] = median(values)


class Pool:
    """Worker processes of one way, each with a fixed share of the clips."""

    def __init__(self, way: str, clips: Sequence[Any], transforms: bool, workers: int) -> None:
        shares = [clips[each::workers] for each in range(workers)]
        self._tasks = [{"way": way, "clips": share, "transforms": transforms} for share in shares if share]
        self._processes: list[subprocess.Popen[str]] = []
        paths = [str(REPOSITORY), os.environ.get("PYTHONPATH", "")]
        one = {each: "1" for each in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
        environment = {**os.environ, **one, "PYTHONPATH": os.pathsep.join(each for each in paths if each)}
        for _ in self._tasks:
            self._processes.append(
                subprocess.Popen(
                    [sys.executable, "-m", "benchmarks.parts.decoding_worker"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                    env=environment,
                )
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def first(self) -> None:
        """Hand out the tasks, and read every clip once, untimed."""
        self._exchange([json.dumps(task) for task in self._tasks])

    def round(self) -> tuple[float, float, float]:
        """Read every clip once: return wall seconds, CPU seconds of all workers, the largest peak in MiB."""
        start = time.perf_counter()
        answers = self._exchange(["go"] * len(self._processes))
        wall = time.perf_counter() - start
        return wall, sum(each["cpu"] for each in answers), max(each["peak_MiB"] for each in answers)

    def _exchange(self, lines: Sequence[str]) -> list[dict[str, Any]]:
        for process, line in zip(self._processes, lines, strict=True):
            assert process.stdin is not None
            process.stdin.write(f"{line}\n")
            process.stdin.flush()
        answers = []
        for process in self._processes:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                raise RuntimeError(f"a worker ended with {process.wait()}; its error stands above.")
            answers.append(json.loads(line))
        return answers

    def close(self) -> None:
        """Let the workers end."""
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.close()
        for process in self._processes:
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            assert process.stdout is not None
            process.stdout.close()
