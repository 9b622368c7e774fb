"""From records to the ranked rows of a leaderboard: means, deviations, averages over OOD sets, ranks."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, TypeVar

import pandas as pd

from ..vocabulary import APART, AVERAGE, SETTINGS, TIERS, TRACKS
from .aggregate import (
    BOUNDS,
    INTERVALS,
    METHOD,
    RUN,
    Method,
    metrics_of,
    over_sets,
    records_frame,
    summarise,
    unit_of,
)
from .records import ResultRecord

COMPARED = ("track", "setting", "id_set", *APART, "modalities", "networks")
"""Rows that agree in these, and in the OOD set, are ranked together."""

DIGITS = 6
"""Decimals of percentages in what programs read, so that ranks and differences don't depend on how tables round."""

FIELD = ["track", "setting", "id_set", *APART]
"""Rows that agree in these have the same OOD sets, and are ranked over all inputs."""


Number = TypeVar("Number", int, float)


def rounded(value: Number | None) -> Number | None:
    """Return ``value`` with `DIGITS`; None for NaN, too."""
    return None if value is None or value != value else round(value, DIGITS)


def decimals(value: float | None, digits: int = 2) -> str:
    """Return ``"93.10"``, halves rounded up as JavaScript's ``toFixed`` does; ``""`` for None."""
    return (
        ""
        if value is None
        else str(Decimal(round(value, DIGITS)).quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP))
    )


def digits_of(metric: str) -> int:
    """Return how many decimals a metric is shown with: two of percent, four of what isn't."""
    return 2 if unit_of(metric) else 4


@dataclass(frozen=True)
class Row:
    """One row: a method on one OOD set, over partitions and seeds.

    Attributes:
        values: column of `METHOD` → text.
        ood_set: name, or `AVERAGE`.
        means: metric → mean, in percent but for those of `aggregate.unit_of`.
        stds: metric → sample standard deviation, absent for one run.
        std_over: ``"partitions"``, ``"seeds"`` or, for one run, ``""``.
        intervals: metric → mean bounds of the single runs' 95 % intervals.
        partitions: their names.
        n_seeds: distinct seeds, of the training and of the condition.
        n_runs: runs.
        n_id: sizes of the ID set.
        n_ood: sizes of the OOD set.
        notes: note → runs that have it.
        splits: digests of the splits' manifests, as far as they are known.
        tier: the weakest tier of its results; see `TIERS`.
        runs: of each run, its partition, seed, the condition's seed (-1 for none, both) and metrics, percent.
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
    splits: tuple[str, ...]
    tier: str
    runs: tuple[tuple[str, int, int, Mapping[str, float]], ...]
    rank: int | None = None
    rank_all: int | None = None
    average_rank: float | None = None

    @property
    def method(self) -> Method:
        """The values of `METHOD`."""
        return tuple(self.values[name] for name in METHOD)

    @property
    def counted(self) -> bool:
        """Whether the number of runs is known: a paper's is not, unless it reports each seed."""
        return self.values["source"] != "published" or any(seed >= 0 for _, seed, *_ in self.runs)


def rows_of(
    records: Iterable[ResultRecord], tiers: Mapping[str, str] | None = None
) -> tuple[list[Row], list[str]]:
    """Return the ranked rows of one benchmark's records, and a line for each method without an average.

    Seeds are averaged within a partition first.  The average over OOD sets is taken for each run, if it has
    all the sets that any run of the same track, setting and ID set has; a printed one is taken as it is.
    ``tiers`` are those of `records_frame`.
    """
    frame = records_frame(records, tiers)
    # an order of its own, so that that of the records can't change a digit
    frame = frame.sort_values([*RUN, "ood_set", *metrics_of(frame)], kind="stable", ignore_index=True)
    averages, incomplete = _averages(frame)
    frame = pd.concat([frame, *averages], ignore_index=True)
    by = [*METHOD, "ood_set"]
    summary = summarise(frame, by, [*metrics_of(frame), *BOUNDS], one_partition="seeds")
    rows = [_row(key, summary.loc[key], part) for key, part in frame.groupby(by, sort=False)]
    return sorted(_ranked(rows), key=_order), incomplete


def _averages(frame: pd.DataFrame) -> tuple[list[pd.DataFrame], list[str]]:
    """Return rows of averages, and lines about runs that lack an OOD set."""
    found, lacking = [], defaultdict[Method, Counter[str]](Counter)
    for _, field in frame.groupby(FIELD, sort=False):
        printed = field[field["ood_set"] == AVERAGE].set_index(list(RUN)).index
        single = field[(field["ood_set"] != AVERAGE) & ~field.set_index(list(RUN)).index.isin(printed)]
        wanted = set(field["ood_set"]) - {AVERAGE}
        if len(wanted) < 2 or single.empty:
            continue
        runs = single.groupby(list(RUN), sort=False)
        averaged = over_sets(single, RUN, wanted)
        notes, splits = (
            runs[name].agg(lambda each: tuple(sorted({text for texts in each for text in texts})))
            for name in ("notes", "split")
        )
        n_id = runs["n_id"].first()
        # the sets share their ID samples, so bounds can't be averaged
        averaged = averaged.assign(ood_set=AVERAGE, notes=notes, n_id=n_id, n_ood=None, split=splits)
        averaged = averaged.assign(tier=runs["tier"].min())
        found.append(averaged.reset_index())
        for run, sets in runs["ood_set"].agg(set).items():
            lacking[run[: len(METHOD)]].update(wanted - sets)
    lines = (_lacking_line(method, counts) for method, counts in lacking.items() if counts)
    return found, sorted(lines)


def _lacking_line(method: Method, counts: Counter[str]) -> str:
    values = dict(zip(METHOD, method, strict=True))
    sets = ", ".join(f"{name} ({n} run{'s' if n > 1 else ''})" for name, n in sorted(counts.items()))
    which = (values[name] for name in ("id_set", *APART, "modalities", "training", "postprocessor", "source"))
    return f"{', '.join(filter(None, which))}: not in the average over OOD sets, for want of {sets}"


def _row(key: tuple[Any, ...], summary: Mapping[str, Any], results: pd.DataFrame) -> Row:
    *method, ood_set = key
    means = {name: float(summary[name]) for name in metrics_of(results) if pd.notna(summary[name])}
    partitions = frozenset(results["partition"])
    over = "partitions" if len(partitions) > 1 else "seeds" if len(results) > 1 else ""
    return Row(
        values=dict(zip(METHOD, method, strict=True)),
        ood_set=ood_set,
        means=means,
        stds={name: float(summary[f"{name}_std"]) for name in means if over},
        std_over=over,
        intervals={
            name: (float(summary[f"{name}_ci_low"]), float(summary[f"{name}_ci_high"]))
            for name in INTERVALS
            if pd.notna(summary[f"{name}_ci_low"])
        },
        partitions=partitions,
        n_seeds=int(summary["seeds"]),
        n_runs=len(results),
        n_id=_sizes(results["n_id"]),
        n_ood=_sizes(results["n_ood"]),
        notes=dict(sorted(Counter(note for notes in results["notes"] for note in set(notes)).items())),
        splits=tuple(sorted({digest for digests in results["split"] for digest in digests})),
        tier=TIERS[int(results["tier"].min())],
        runs=tuple(
            (partition, int(seed), int(draw), dict(zip(means, values, strict=True)))
            for partition, seed, draw, *values in zip(
                *(results[name] for name in ("partition", "seed", "draw", *means)), strict=True
            )
        ),
    )


def _sizes(values: pd.Series) -> tuple[int, ...]:
    return tuple(sorted({int(value) for value in values if pd.notna(value)}))


def _ranked(rows: Sequence[Row]) -> list[Row]:
    frame = pd.DataFrame(
        [{**row.values, "ood_set": row.ood_set, "AUROC": row.means.get("AUROC")} for row in rows]
    )
    frame["AUROC"] = frame["AUROC"].astype(float).round(9)  # 0.8774 * 100 and 87.74 tie
    single = frame["ood_set"] != AVERAGE
    for name, by in (("rank", COMPARED), ("rank_all", FIELD)):
        frame[name] = frame.groupby([*by, "ood_set"])["AUROC"].rank("min", ascending=False)
    sets = frame[single].groupby(FIELD)["ood_set"].nunique().rename("sets")
    ranks = frame[single].groupby(list(METHOD))["rank"].agg(["mean", "count"])
    ranks = ranks.join(sets, on=FIELD)
    average = ranks["mean"].where(ranks["count"] == ranks["sets"])
    frame = frame.join(average, on=list(METHOD))
    whole = frame[["rank", "rank_all"]].astype(object).where(frame["AUROC"].notna(), None)
    return [
        replace(
            row,
            rank=None if rank is None else int(rank),
            rank_all=None if rank_all is None else int(rank_all),
            average_rank=None if pd.isna(mean) else float(mean),
        )
        for row, rank, rank_all, mean in zip(
            rows, whole["rank"], whole["rank_all"], frame["mean"], strict=True
        )
    ]


def _order(row: Row) -> tuple[Any, ...]:
    values = row.values
    return (
        TRACKS.index(values["track"]),
        (*SETTINGS, "").index(values["setting"]),
        values["id_set"],
        *(values[name] for name in APART),
        (values["modalities"].count("+"), values["modalities"], values["networks"]),
        (row.ood_set == AVERAGE, row.ood_set),
        (row.rank is None, row.rank or 0),
        row.method,
    )
