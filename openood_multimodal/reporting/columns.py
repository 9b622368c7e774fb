"""What the page and exports show of leaderboards' rows: tables, columns, titles, labels of values, ranks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from ..escapes import one_line
from ..vocabulary import APART, AVERAGE, BOARD_METRICS, SCALED, TABLE_METRICS
from .leaderboard_rows import Row, decimals, digits_of, rounded
from .methods import TITLES, TRAININGS, title_of

if TYPE_CHECKING:
    from .leaderboard import Board

SCOPE = ("setting", "track", "id_set", "ood_set", *APART)
"""Rows that differ in one of these are never in one table."""

NAMES = {
    "training": "Training", "postprocessor": "Score", "fit_on": "Fitted on", "id_set": "ID set", "ood_set": "OOD set",
    "csid": "Full spectrum", "condition": "Test condition", "auxiliary": "Auxiliary data", "n_id": "ID samples",
    "n_ood": "OOD samples", "std_over": "± over", "split": "Split digest",
}  # fmt: skip
"""Field → its title, where that isn't its name with a capital."""

EMPTY = {
    "csid": "ID test set only",
    "condition": "clean test sets",
    "auxiliary": "none",
    "setting": "Setting not stated",
}
"""Field → what is shown where it is empty; ``"not stated"`` for others."""

UNITS = {"Brier": "0 to 2", "NLL": "nats"}
"""Metric → its range or unit, where it isn't percent."""

LOWER = ("FPR", "AURC", "E-AURC", "risk@", "AUTC", "ECE", "Brier", "NLL")
"""How names of metrics begin of which smaller values are better."""

SETTINGS = {"near": "Near-OOD", "far": "Far-OOD"}

DASH, TIMES = "\N{EN DASH}", "\N{MULTIPLICATION SIGN}"

_FIRST = ("training", "postprocessor", "modalities", "networks")
_ALIKE = (*_FIRST, "tier")
_TELL_NOTHING = ("notes", "n_id", "n_ood", "split", "std_over", "source")
_COUNTS = ("n_partitions", "n_seeds", "n_runs")
_RANKS = {"rank": "Rank in its input", "rank_all": "Rank over all inputs", "average_rank": "Mean rank"}


class Column(NamedTuple):
    """A column: ``kind`` is ``"text"``, ``"metric"``, ``"interval"`` (of ``metric``), ``"number"`` or ``"plot"``."""

    name: str
    title: str
    kind: str
    metric: str = ""


@dataclass(frozen=True)
class Line:
    """A row of a table: the texts of its fields, each on one line, and its numbers."""

    texts: Mapping[str, str]
    row: Row

    @property
    def counts(self) -> list[int]:
        """Partitions, seeds, runs; empty where they are not known."""
        row = self.row
        return [len(row.partitions), row.n_seeds, row.n_runs] if row.counted else []

    def mean(self, metric: str) -> float | None:
        """Return a metric's mean, percent."""
        return rounded(self.row.means.get(metric))


@dataclass(frozen=True)
class Table:
    """Rows that may be ranked together.

    Attributes:
        benchmark: name.
        scope: field of `SCOPE` → its value.
        lines: all rows, in the order of the leaderboard.
    """

    benchmark: str
    scope: Mapping[str, str]
    lines: Sequence[Line]

    @property
    def differing(self) -> list[str]:
        """Text columns without which two rows would look alike."""
        groups: dict[tuple[str, ...], list[Line]] = defaultdict(list)
        for line in self.lines:
            groups[tuple(line.texts[name] for name in _ALIKE)].append(line)
        alike = [group for group in groups.values() if len(group) > 1]
        return [
            name
            for name in text_fields(self.lines[0])
            if name not in _TELL_NOTHING
            and any(len({line.texts[name] for line in group}) > 1 for group in alike)
        ]

    @property
    def shown(self) -> list[str]:
        """Names of the columns that are shown unless others are chosen."""
        several = [name for name in _FIRST[2:] if len({line.texts[name] for line in self.lines}) > 1]
        metrics = [name for name in TABLE_METRICS if name in self.metrics]
        runs = ["runs"] if any(line.counts for line in self.lines) else []
        return [*_FIRST[:2], *several, *self.differing, *metrics, "plot", *runs, "tier"]

    @property
    def metrics(self) -> list[str]:
        """Metrics that any row has."""
        return [name for name in BOARD_METRICS if any(name in line.row.means for line in self.lines)]

    @property
    def caption(self) -> str:
        """What the table is of."""
        return ", ".join(
            [self.benchmark, *(label(name, value) for name, value in self.scope.items() if value)]
        )


def tables_of(board: Board) -> list[Table]:
    """Return a board's tables, in the order of its rows."""
    groups: dict[tuple[str, ...], list[Line]] = defaultdict(list)
    for row, cells in zip(board.rows, board.cells(), strict=True):
        line = Line({name: one_line(cell) for name, cell in cells.items() if not _is_number(name)}, row)
        groups[tuple(line.texts[name] for name in SCOPE)].append(line)
    name = one_line(board.name)
    return [Table(name, dict(zip(SCOPE, scope, strict=True)), lines) for scope, lines in groups.items()]


def columns_of(tables: Iterable[Table]) -> list[Column]:
    """Return all columns that tables have, in their order."""
    lines = [line for table in tables for line in table.lines]
    metrics = [name for name in BOARD_METRICS if any(name in line.row.means for line in lines)]
    bounded = [name for name in metrics if any(name in line.row.intervals for line in lines)]
    return [
        *(Column(name, title_of_field(name), "text") for name in _FIRST),
        *(Column(name, title_of_metric(name), "metric", name) for name in metrics),
        *(Column(f"{name}_ci", f"{name} 95 % interval", "interval", name) for name in bounded),
        Column("runs", "Runs", "number"),
        *(Column(name, title_of_field(name), "text") for name in text_fields(lines[0]) if name not in _FIRST),
        *(Column(name, title, "number") for name, title in _RANKS.items()),
        Column("plot", "Plot", "plot"),
    ]


def text_fields(line: Line) -> list[str]:
    """Return the names of a row's text columns."""
    return [name for name in line.texts if name not in ("benchmark", *SCOPE)]


def title_of_field(name: str) -> str:
    """Return a field's title."""
    return NAMES.get(name) or (name[0].upper() + name[1:]).replace("_", " ")


def title_of_metric(name: str) -> str:
    """Return ``"AUROC ↑"``; with the unit where it isn't percent: ``"NLL (nats), temperature scaled ↓"``."""
    own = name.removesuffix(SCALED)
    unit = f" ({UNITS[own]})" if own in UNITS else ""
    return f"{own}{unit}{', temperature scaled' if own != name else ''} {arrow(name)}"


def arrow(metric: str) -> str:
    """Return the direction in which a metric is better."""
    return "↓" if is_lower_better(metric) else "↑"


def is_lower_better(metric: str) -> bool:
    """Tell whether smaller values of a metric are better."""
    return metric.startswith(LOWER)


def label(name: str, value: str) -> str:
    """Return what readers see in place of a field's value."""
    if not value:
        return EMPTY.get(name, "not stated")
    if name == "setting":
        return SETTINGS.get(value, value)
    if name == "ood_set" and value == AVERAGE:
        return "average over OOD sets"
    if name in ("modalities", "networks"):
        return value.replace("+", " + ")
    titles = {"training": TRAININGS, "postprocessor": TITLES}.get(name)
    return value if titles is None else one_line(title_of(value, titles))


def shown_in(line: Line, column: Column) -> str:
    """Return what a cell shows, without its deviation."""
    row = line.row
    if column.kind == "text":
        value = line.texts[column.name]
        return label(column.name, value) if value else ""
    if column.kind == "metric":
        return decimals(line.mean(column.metric), digits_of(column.metric))
    if column.kind == "interval":
        bounds = row.intervals.get(column.metric)
        return f" {DASH} ".join(decimals(rounded(bound)) for bound in bounds) if bounds else ""
    if column.name == "runs":
        return _runs(line.counts)
    value_ = getattr(row, column.name)
    return (
        decimals(rounded(value_)) if column.name == "average_rank" else "" if value_ is None else str(value_)
    )


def _runs(counts: Sequence[int]) -> str:
    if not counts:
        return ""
    partitions, seeds, runs = counts
    return (
        f"{partitions} {TIMES} {seeds}"
        if runs == partitions * seeds
        else f"{runs} of {partitions} {TIMES} {seeds}"
    )


def ranked(lines: Iterable[Line], metric: str) -> list[tuple[int | None, Line]]:
    """Return rows, the best first, with their ranks: equal values share one, rows without the metric have none."""
    sign = 1 if is_lower_better(metric) else -1
    with_value = [(value, line) for line in lines if (value := line.mean(metric)) is not None]
    without = [line for line in lines if line.mean(metric) is None]
    with_value.sort(key=lambda each: sign * each[0])
    found: list[tuple[int | None, Line]] = []
    for place, (value, line) in enumerate(with_value):
        tied = place and value == with_value[place - 1][0]
        found.append((found[-1][0] if tied else place + 1, line))
    return [*found, *((None, line) for line in without)]


def _is_number(column: str) -> bool:
    name = column.removesuffix("_std").removesuffix("_ci_low").removesuffix("_ci_high")
    return name in BOARD_METRICS or name in _RANKS or name in _COUNTS
