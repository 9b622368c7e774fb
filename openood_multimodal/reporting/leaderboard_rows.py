"""From records to the ranked rows of a leaderboard: means, deviations, averages over OOD sets, ranks.

Every mean is of an exact sum, so that the order of the records can't change a digit.
"""

from __future__ import annotations

import json
import statistics
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..vocabulary import AVERAGE, METRICS, SETTINGS, TRACKS
from .records import ResultRecord

INTERVALS = ("AUROC", "FPR@95")
"""Metrics whose intervals a leaderboard gives."""

METHOD = (
    *("track", "setting", "id_set", "modalities", "networks", "training", "protocol", "synthesis"),
    *("settings", "discrepancy", "postprocessor", "preset", "parameters", "fit_on", "engine", "source"),
)
"""What makes a row, beside the OOD set: results that agree in all of it are averaged.

``settings`` are the first digits of the digest of the training's settings (learning rate, epochs, weights, ...).
"""

COMPARED = ("track", "setting", "id_set", "modalities", "networks")
"""Rows that agree in these, and in the OOD set, are ranked together."""

Method = tuple[str, ...]


@dataclass(frozen=True)
class Result:
    """One run's result on one OOD set, or on their average.

    Attributes:
        method: values of `METHOD`, as text.
        ood_set: name, or `AVERAGE`.
        partition: class partition.
        seed: of the training, or None.
        network: what tells apart trained networks: digest of the checkpoint, or the run.
        metrics: metric → percent.
        intervals: metric → (low, high) in percent, where known.
        n_id: ID samples, or None.
        n_ood: OOD samples, or None.
        notes: of the record.
    """

    method: Method
    ood_set: str
    partition: str
    seed: int | None
    network: str
    metrics: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    n_id: int | None = None
    n_ood: int | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Row:
    """One row: a method on one OOD set, over partitions and seeds.

    Attributes:
        values: column of `METHOD` → text.
        ood_set: name, or `AVERAGE`.
        means: metric → percent.
        stds: metric → sample standard deviation, absent for one run.
        std_over: ``"partitions"``, ``"seeds"`` or, for one run, ``""``.
        intervals: metric → mean bounds of the single runs' 95 % intervals.
        partitions: their names.
        n_seeds: distinct seeds.
        n_runs: runs.
        n_id: sizes of the ID set.
        n_ood: sizes of the OOD set.
        notes: note → runs that have it.
        rank: by AUROC, among rows that agree in `COMPARED`; None without AUROC.
        rank_all: the same, whatever the modalities and networks.
        average_rank: mean of ``rank`` over all single OOD sets; None where one is missing.
    """

    values: Mapping[str, str]
    ood_set: str
    means: Mapping[str, float]
    stds: Mapping[str, float]
    std_over: str
    intervals: Mapping[str, tuple[float, float]]
    partitions: frozenset[str]
    n_seeds: int
    n_runs: int
    n_id: tuple[int, ...]
    n_ood: tuple[int, ...]
    notes: Mapping[str, int]
    rank: int | None = None
    rank_all: int | None = None
    average_rank: float | None = None

    @property
    def method(self) -> Method:
        """The values of `METHOD`."""
        return tuple(self.values[name] for name in METHOD)


def method_of(record: ResultRecord) -> Method:
    """Return the values of `METHOD` of a record, each as text, ``""`` for null."""
    engine = record.engine
    texts = {name: str(getattr(record, name, None) or "") for name in METHOD}
    texts["settings"] = (record.digests["training"] or "")[:8]
    texts["modalities"] = "+".join(record.modalities or ())
    texts["networks"] = _networks(record)
    texts["parameters"] = json.dumps(record.parameters, sort_keys=True) if record.parameters else ""
    texts["engine"] = " ".join(filter(None, (engine["name"], engine["version"])))
    return tuple(texts[name] for name in METHOD)


def _networks(record: ResultRecord) -> str:
    networks = record.networks
    if not isinstance(networks, Mapping):
        return networks or ""
    each = [networks.get(name) for name in record.modalities or ()]
    if len(networks) == len(each) and all(isinstance(name, str) for name in each):
        return "+".join(map(str, each))
    return json.dumps(networks, sort_keys=True)


def result_of(record: ResultRecord) -> Result:
    """Return what a leaderboard needs of a record."""
    metrics: Mapping[str, Any] = record.metrics
    return Result(
        method=method_of(record),
        ood_set=record.ood_set,
        partition=record.partition,
        seed=record.seed,
        network=record.digests["checkpoint"] or record.run_id,
        metrics={name: 100 * entry["value"] for name, entry in metrics.items()},
        intervals={
            name: (100 * metrics[name]["ci_low"], 100 * metrics[name]["ci_high"])
            for name in INTERVALS
            if name in metrics and metrics[name]["ci_low"] is not None
        },
        n_id=record.n_id,
        n_ood=record.n_ood,
        notes=tuple(record.notes),
    )


def rows_of(records: Iterable[ResultRecord]) -> tuple[list[Row], list[str]]:
    """Return the ranked rows of one benchmark's records, and a line for each method without an average.

    Seeds are averaged within a partition first.  The average over OOD sets is taken for each run, if it has
    all the sets that any run of the same track, setting and ID set has; a printed one is taken as it is.
    """
    results = [result_of(record) for record in records]
    averages, incomplete = _averages(results)
    groups: dict[tuple[Method, str], list[Result]] = defaultdict(list)
    for result in [*results, *averages]:
        groups[result.method, result.ood_set].append(result)
    rows = [_row(method, ood_set, group) for (method, ood_set), group in groups.items()]
    return sorted(_ranked(rows), key=_order), incomplete


def _averages(results: Sequence[Result]) -> tuple[list[Result], list[str]]:
    expected: dict[Method, set[str]] = defaultdict(set)
    runs: dict[tuple[Any, ...], dict[str, Result]] = defaultdict(dict)
    for result in results:
        if result.ood_set != AVERAGE:
            expected[_field(result.method)].add(result.ood_set)
        runs[result.method, result.partition, result.seed, result.network][result.ood_set] = result
    averages: list[Result] = []
    lacking: dict[Method, Counter[str]] = defaultdict(Counter)
    for (method, *_), sets in runs.items():
        wanted = expected[_field(method)]
        missing = wanted - set(sets)
        if len(wanted) < 2 or AVERAGE in sets:
            continue
        if missing:
            lacking[method].update(missing)
        else:
            averages.append(_average([sets[name] for name in sorted(wanted)]))
    return averages, sorted(_lacking_line(method, counts) for method, counts in lacking.items())


def _field(method: Method) -> Method:
    return method[: METHOD.index("modalities")]


def _lacking_line(method: Method, counts: Counter[str]) -> str:
    values = dict(zip(METHOD, method, strict=True))
    sets = ", ".join(f"{name} ({n} run{'s' if n > 1 else ''})" for name, n in sorted(counts.items()))
    which = (values[name] for name in ("id_set", "modalities", "training", "postprocessor", "source"))
    return f"{', '.join(filter(None, which))}: not in the average over OOD sets, for want of {sets}"


def _average(results: Sequence[Result]) -> Result:
    first = results[0]
    names = [name for name in METRICS if all(name in result.metrics for result in results)]
    return replace(
        first,
        ood_set=AVERAGE,
        metrics={name: statistics.fmean(result.metrics[name] for result in results) for name in names},
        intervals={},  # the sets share their ID samples, so bounds can't be averaged
        n_ood=None,
        notes=tuple(sorted({note for result in results for note in result.notes})),
    )


def _row(method: Method, ood_set: str, results: Sequence[Result]) -> Row:
    by_partition: dict[str, list[Result]] = defaultdict(list)
    for result in results:
        by_partition[result.partition].append(result)
    units: Collection[Sequence[Result]] = by_partition.values()
    std_over = "partitions" if len(units) > 1 else "seeds" if len(results) > 1 else ""
    if std_over == "seeds":
        units = [[result] for result in results]
    means, stds = {}, {}
    for name in METRICS:
        if all(name in result.metrics for result in results):
            each = [statistics.fmean(result.metrics[name] for result in unit) for unit in units]
            means[name] = statistics.fmean(each)
            if std_over:
                stds[name] = statistics.stdev(each)
    return Row(
        values=dict(zip(METHOD, method, strict=True)),
        ood_set=ood_set,
        means=means,
        stds=stds,
        std_over=std_over,
        intervals={
            name: (_mean_bound(units, name, 0), _mean_bound(units, name, 1))
            for name in INTERVALS
            if all(name in result.intervals for result in results)
        },
        partitions=frozenset(by_partition),
        n_seeds=len({result.seed for result in results}),
        n_runs=len(results),
        n_id=_sizes(result.n_id for result in results),
        n_ood=_sizes(result.n_ood for result in results),
        notes=dict(sorted(Counter(note for result in results for note in set(result.notes)).items())),
    )


def _mean_bound(units: Iterable[Sequence[Result]], name: str, side: int) -> float:
    each = [statistics.fmean(result.intervals[name][side] for result in unit) for unit in units]
    return statistics.fmean(each)


def _sizes(values: Iterable[int | None]) -> tuple[int, ...]:
    return tuple(sorted({value for value in values if value is not None}))


def _ranked(rows: Sequence[Row]) -> list[Row]:
    near: dict[Any, list[float]] = defaultdict(list)
    wide: dict[Any, list[float]] = defaultdict(list)
    for row in rows:
        if "AUROC" in row.means:
            near[_compared(row), row.ood_set].append(_auroc(row))
            wide[_field(row.method), row.ood_set].append(_auroc(row))
    ranked = [
        replace(
            row,
            rank=_rank(row, near[_compared(row), row.ood_set]),
            rank_all=_rank(row, wide[_field(row.method), row.ood_set]),
        )
        for row in rows
    ]
    sets: dict[Method, set[str]] = defaultdict(set)
    ranks: dict[Method, list[int]] = defaultdict(list)
    for row in ranked:
        if row.ood_set != AVERAGE:
            sets[_field(row.method)].add(row.ood_set)
            ranks[row.method] += [] if row.rank is None else [row.rank]
    return [
        replace(row, average_rank=statistics.fmean(ranks[row.method]))
        if ranks[row.method] and len(ranks[row.method]) == len(sets[_field(row.method)])
        else row
        for row in ranked
    ]


def _compared(row: Row) -> Method:
    return tuple(row.values[name] for name in COMPARED)


def _auroc(row: Row) -> float:
    return round(row.means["AUROC"], 9)  # 0.8774 * 100 and 87.74 tie


def _rank(row: Row, values: Sequence[float]) -> int | None:
    """Return 1 + how many are better; equal values share a rank."""
    return 1 + sum(value > _auroc(row) for value in values) if "AUROC" in row.means else None


def _order(row: Row) -> tuple[Any, ...]:
    values = row.values
    return (
        TRACKS.index(values["track"]),
        (*SETTINGS, "").index(values["setting"]),
        values["id_set"],
        (values["modalities"].count("+"), values["modalities"], values["networks"]),
        (row.ood_set == AVERAGE, row.ood_set),
        (row.rank is None, row.rank or 0),
        row.method,
    )
