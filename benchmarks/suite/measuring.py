"""Wall and CPU time of a function, and what a benchmark reports."""

from __future__ import annotations

import gc
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

Value = float | int | str | bool | None


def say(text: str) -> None:
    """Print a line of progress to stderr."""
    print(text, file=sys.stderr, flush=True)


def cpu_seconds() -> float:
    """Return the CPU seconds, user and system, of this process and the children it has waited for."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


@dataclass(frozen=True)
class Times:
    """Wall and CPU seconds of each repeat, as many of both."""

    wall: tuple[float, ...]
    cpu: tuple[float, ...]

    @property
    def wall_s(self) -> float:
        """The median wall time."""
        return statistics.median(self.wall)

    @property
    def cpu_s(self) -> float:
        """The median CPU time."""
        return statistics.median(self.cpu)

    def __add__(self, other: Times) -> Times:
        return Times(self.wall + other.wall, self.cpu + other.cpu)


def timed(function: Callable[[], Any], repeats: int = 1, scale: float = 1.0) -> Times:
    """Call ``function`` ``repeats`` times; garbage is collected before, not during.

    Args:
        function: what is measured.
        repeats: how often.
        scale: what each time is multiplied by, 1/n where one call does the thing n times.
    """
    wall, cpu = [], []
    for _ in range(repeats):
        gc.collect()
        gc.disable()
        try:
            start_wall, start_cpu = time.perf_counter(), cpu_seconds()
            function()
            cpu.append((cpu_seconds() - start_cpu) * scale)
            wall.append((time.perf_counter() - start_wall) * scale)
        finally:
            gc.enable()
    return Times(tuple(wall), tuple(cpu))


def interleaved(functions: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, Times]:
    """Time all functions in turn, ``rounds`` times, so that a machine that slows down slows all of them."""
    taken: dict[str, Times] = {name: Times((), ()) for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            taken[name] += timed(function)
    return taken


@dataclass(frozen=True)
class Measurement:
    """One line of a table.

    Attributes:
        name: what was measured, unique in its report; ``<who>/<what>`` where several do the same thing.
        wall_s: median wall seconds; None where it was skipped.
        cpu_s: median CPU seconds, over all threads and child processes.
        wall_min_s, wall_max_s: of the repeats.
        repeats: how many.
        values: further figures; the same keys in many lines make a column.
        note: why it was skipped, or what a reader has to know.
        computes: whether it should compute all the time, so that CPU time below wall time means that it had
            to wait for the machine.  False where files are read from a disk.
    """

    name: str
    wall_s: float | None
    cpu_s: float | None
    wall_min_s: float | None
    wall_max_s: float | None
    repeats: int
    values: Mapping[str, Value] = field(default_factory=dict)
    note: str = ""
    computes: bool = True

    @classmethod
    def of(
        cls,
        name: str,
        times: Times,
        values: Mapping[str, Value] | None = None,
        note: str = "",
        computes: bool = True,
    ) -> Self:
        """Return the measurement of some `Times`."""
        return cls(
            name,
            times.wall_s,
            times.cpu_s,
            min(times.wall),
            max(times.wall),
            len(times.wall),
            dict(values or {}),
            note,
            computes,
        )

    @classmethod
    def skipped(cls, name: str, why: str, values: Mapping[str, Value] | None = None) -> Self:
        """Return the line of something that did not run."""
        return cls(name, None, None, None, None, 0, dict(values or {}), why)


@dataclass
class Report:
    """What a benchmark hands back.

    Attributes:
        settings: sizes, seed, how the data were made: what one must know to run it again.
        measurements: lines of its table, in order.
        ratios: name → value, of measurements of this run.
        notes: sentences for the reader.
    """

    settings: dict[str, Any]
    measurements: list[Measurement] = field(default_factory=list)
    ratios: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def seconds(self, name: str) -> float | None:
        """Return the wall seconds of a measurement, or None where it is absent or was skipped."""
        return next((each.wall_s for each in self.measurements if each.name == name), None)

    def add_ratio(self, name: str, above: float | None, below: float | None) -> None:
        """Add ``above / below`` where both were measured."""
        if above is not None and below:
            self.ratios[name] = above / below


def total(seconds: Sequence[float | None]) -> float | None:
    """Return the sum, or None where one is missing: part of a total is no total."""
    return None if not seconds or any(each is None for each in seconds) else float(sum(filter(None, seconds)))
