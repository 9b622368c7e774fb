"""One table of records, and every mean, deviation and interval that is made of it.

Seeds are averaged within a class partition first, so that the partition is the unit that is counted; partitions of one
dataset share rows, so intervals over few of them are indicative.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from ..vocabulary import APART, BOARD_METRICS, METRICS, SCALED, TABLE_METRICS, TIERS, UNVERIFIED, UPPER_BOUNDS
from .records import ResultRecord

METHOD = (
    *("track", "setting", "id_set", "modalities", "networks", "training", "protocol", "synthesis"),
    *(
        "settings",
        "discrepancy",
        "postprocessor",
        "preset",
        "parameters",
        "fit_on",
        "engine",
        "source",
        *APART,
    ),
)
"""What makes a row of a leaderboard, beside the OOD set: results that agree in all of it are averaged.

``settings`` are the first digits of the digest of the training's settings (learning rate, epochs, weights, ...).
"""

Method = tuple[str, ...]

INTERVALS = ("AUROC", "FPR@95")
"""Metrics whose intervals a leaderboard gives."""

BOUNDS = tuple(f"{name}_{bound}" for name in INTERVALS for bound in ("ci_low", "ci_high"))

RUN = (*METHOD, "partition", "seed", "draw", "network")
"""What tells one run's results with one postprocessor from another's."""


def method_of(record: ResultRecord) -> Method:
    """Return the values of `METHOD` of a record, each as text, ``""`` for null."""
    engine = record.engine
    texts = {name: str(getattr(record, name, None) or "") for name in METHOD}
    texts["settings"] = (record.digests["training"] or "")[:8]
    texts["modalities"] = "+".join(record.modalities or ())
    texts["networks"] = _networks(record)
    texts["parameters"] = json.dumps(record.parameters, sort_keys=True) if record.parameters else ""
    texts["csid"] = "+".join(record.csid)
    texts["condition"] = _condition(record)
    texts["auxiliary"] = str((record.auxiliary or {}).get("name") or "")
    texts["engine"] = " ".join(filter(None, (engine["name"], engine["version"])))
    return tuple(texts[name] for name in METHOD)


def _condition(record: ResultRecord) -> str:
    """Return ``"noise:video=3, embedding, both"``; its seed is one of several draws, as a training's seed is."""
    if (condition := record.condition) is None:
        return ""
    severity = "" if condition["severity"] is None else f"={condition['severity']}"
    what = f"{condition['kind']}:{'+'.join(condition['modalities'])}{severity}"
    return f"{what}, {condition['level']}, {condition['applied_to']}"


def _networks(record: ResultRecord) -> str:
    networks = record.networks
    if not isinstance(networks, Mapping):
        return networks or ""
    each = [networks.get(name) for name in record.modalities or ()]
    if len(networks) == len(each) and all(isinstance(name, str) for name in each):
        return "+".join(map(str, each))
    return json.dumps(networks, sort_keys=True)


def content_of(record: ResultRecord, without: Collection[str] = ()) -> str:
    """Return what a record says, as text: all but its date, the package's version and the fields ``without``."""
    left_out = {"date", "package_version", *without}
    fields = {name: value for name, value in record.to_dict().items() if name not in left_out}
    return json.dumps(fields, sort_keys=True)


def stated_tier(record: ResultRecord) -> str:
    """Return the tier of a record of which nothing was verified."""
    if record.source != "published":
        return "self-reported"
    return "unverified" if UNVERIFIED in record.notes else "published"


def records_frame(records: Iterable[ResultRecord], tiers: Mapping[str, str] | None = None) -> pd.DataFrame:
    """Return one row a record.

    Args:
        records: any.
        tiers: `content_of` a record → its tier, for those that were verified.

    Returns:
        Columns: ``benchmark``, `METHOD` as text, ``ood_set``, ``partition``, ``seed`` and ``draw`` (the condition's
        seed; -1 for none), ``network`` (what tells trained networks apart: digest of the checkpoint, or the run),
        `METRICS`, the others of `BOARD_METRICS` that any record has, and `BOUNDS` (as `board_value` has them; NaN where
        unknown), ``n_id``, ``n_ood`` (None where unknown), ``notes`` (a tuple), ``split`` (a tuple of the
        manifest's digest, or of none), ``tier`` (its place in `TIERS`).
    """
    rows: list[dict[str, Any]] = []
    for record in records:
        row: dict[str, Any] = dict(zip(METHOD, method_of(record), strict=True))
        row |= {"benchmark": record.benchmark, "ood_set": record.ood_set, "partition": record.partition}
        row |= {
            "seed": -1 if record.seed is None else record.seed,
            "draw": -1 if record.condition is None else record.condition["seed"],
            "network": record.digests["checkpoint"] or record.run_id,
        }
        metrics = all_metrics(record)
        row |= {name: board_value(name, entry["value"]) for name, entry in metrics.items()}
        for name in INTERVALS:
            entry = metrics.get(name, {})
            row |= {f"{name}_{bound}": percent(entry.get(bound)) for bound in ("ci_low", "ci_high")}
        row |= {"n_id": record.n_id, "n_ood": record.n_ood, "notes": tuple(record.notes)}
        tier = (tiers or {}).get(content_of(record), stated_tier(record))
        manifest = record.digests["manifest"]
        row |= {"split": (manifest,) if manifest else (), "tier": TIERS.index(tier)}
        rows.append(row)
    present = {name for row in rows for name in row}.union(METRICS)
    numbers = (*(name for name in BOARD_METRICS if name in present), *BOUNDS)
    columns = ("benchmark", *METHOD, "ood_set", "partition", "seed", "draw", "network", *numbers)
    frame = pd.DataFrame(rows, columns=[*columns, "n_id", "n_ood", "notes", "split", "tier"])
    return frame.astype(dict.fromkeys(numbers, float))


def apart(frame: pd.DataFrame) -> pd.DataFrame:
    """Return `records_frame` with what keeps results apart (`APART`) in the benchmark's name."""
    benchmark = frame["benchmark"]
    for name in APART:
        benchmark = benchmark + (f", {name} " + frame[name]).where(frame[name] != "", "")
    return frame.assign(benchmark=benchmark)


def all_metrics(record: ResultRecord) -> dict[str, dict[str, float | None]]:
    """Return metric of `BOARD_METRICS` → its value and bounds, of those that a record has."""
    found = dict(record.metrics)
    found |= record.failure["metrics"] if record.failure else {}
    if record.calibration:
        found |= record.calibration["metrics"]
        found |= {f"{name}{SCALED}": each for name, each in (record.calibration["scaled"] or {}).items()}
    return found


def metrics_of(frame: pd.DataFrame) -> list[str]:
    """Return those of `BOARD_METRICS` that are columns of a `records_frame`."""
    return [name for name in BOARD_METRICS if name in frame]


def unit_of(metric: str) -> str:
    """Return ``"%"``, or ``""`` for metrics that are no fractions and are shown as they are: Brier score and NLL."""
    return "" if metric.removesuffix(SCALED) in UPPER_BOUNDS else "%"


def board_value(metric: str, value: float | None) -> float:
    """Return a record's value as leaderboards show it, in `unit_of` the metric; NaN for None."""
    return np.nan if value is None else value * (100 if unit_of(metric) else 1)


def percent(fraction: float | None) -> float:
    """Return a fraction in percent, NaN for None."""
    return np.nan if fraction is None else 100 * fraction


def means(frame: pd.DataFrame, by: Sequence[str], columns: Sequence[str] = METRICS) -> pd.DataFrame:
    """Return the mean of ``columns`` for each group, NaN where any of its rows has none."""
    grouped = frame.groupby(list(by), sort=False)[list(columns)]
    complete = grouped.count().eq(grouped.size(), axis=0)
    return grouped.mean().where(complete)


def summarise(
    frame: pd.DataFrame, by: Sequence[str], columns: Sequence[str] = METRICS, one_partition: str = ""
) -> pd.DataFrame:
    """Return mean and sample deviation for each group: over partitions, seeds averaged first.

    Args:
        frame: as `records_frame` returns it.
        by: columns that make groups.
        columns: what is averaged.
        one_partition: ``"seeds"``: where a group has one partition, the deviation is over its rows.

    Returns:
        A row a group, in order of appearance, with the index ``by`` and the columns ``partitions`` and ``seeds`` (how
        many there are, of the training and of the condition), ``columns``, and ``<column>_std`` (n - 1; NaN for one
        partition).
    """
    partitions = means(frame, [*by, "partition"], columns).reset_index()
    grouped = partitions.groupby(list(by), sort=False)
    result = means(partitions, by, columns)
    rows = frame.groupby(list(by), sort=False)
    deviations = grouped[list(columns)].std(ddof=1)
    if one_partition == "seeds":
        deviations = deviations.where(grouped.size() > 1, rows[list(columns)].std(ddof=1))
    deviations = deviations.where(result.notna()).add_suffix("_std")
    drawn = [name for name in ("seed", "draw") if name in frame]
    seeds = frame.drop_duplicates([*by, *drawn]).groupby(list(by), sort=False).size()
    counts = pd.DataFrame({"partitions": grouped.size(), "seeds": seeds})
    return pd.concat([counts, result, deviations], axis=1)


def over_sets(frame: pd.DataFrame, run: Sequence[str], wanted: Iterable[str]) -> pd.DataFrame:
    """Return the mean over the OOD sets ``wanted`` of every run that has all of them.

    Args:
        frame: as `records_frame` returns it.
        run: columns that tell runs apart.
        wanted: names of OOD sets.

    Returns:
        Index ``run``; columns: all metrics of ``frame``.
    """
    names = set(wanted)
    part = frame[frame["ood_set"].isin(names)]
    found = means(part, run, metrics_of(part))
    sizes = part.groupby(list(run), sort=False)["ood_set"].nunique()
    return found[sizes == len(names)]


CELL = ["benchmark", "modalities", "training", "postprocessor"]
"""What makes a row of a suite's table."""

COMPARISONS = (
    ("multimodal_multihead", "multimodal_baseline"),
    ("a2d", "multimodal_multihead"),
    ("a2d_npmix", "multimodal_multihead"),
    ("a2d_npmix", "a2d"),
    ("a2d", "multimodal_baseline"),
    ("a2d_npmix", "multimodal_baseline"),
)
"""(training, reference): each method against the fair baseline, the step before it, and the paper's baseline."""

_SAME_RUN = ("benchmark", "track", "modalities", "training", "partition", "seed", "setting", "ood_set")


def summary(frame: pd.DataFrame) -> pd.DataFrame:
    """Return one row a cell of a suite: `summarise` by `CELL`, the metrics in the order of tables."""
    result = summarise(frame, CELL, TABLE_METRICS, one_partition="seeds").reset_index()
    metrics = [column for name in TABLE_METRICS for column in (name, f"{name}_std")]
    return result[[*CELL, "partitions", "seeds", *metrics]]


def paired_differences(
    frame: pd.DataFrame,
    comparisons: Sequence[tuple[str, str]] = COMPARISONS,
    column: str = "training",
    one_partition: str = "",
) -> pd.DataFrame:
    """Return mean differences over partitions with 95 % t-intervals, for every pair and metric.

    Args:
        frame: as `records_frame` returns it.
        comparisons: (value, reference value) pairs of ``column``; those that are absent are left out.
        column: what the pair differs in; all else in `CELL` is equal.
        one_partition: ``"seeds"``: where there is one partition, the pairs are its seeds.

    Returns:
        Columns: the rest of `CELL`, ``<column>``, ``reference``, ``metric``, ``difference``, ``ci_low``,
        ``ci_high`` (NaN with one pair), ``partitions`` (how many pairs).
    """
    rest = [name for name in CELL if name != column]
    rows: list[dict[str, Any]] = []
    for key, cell in frame.groupby(rest, sort=False):
        unit = "seed" if one_partition == "seeds" and cell["partition"].nunique() == 1 else "partition"
        group = means(cell, [column, unit], TABLE_METRICS).reset_index()
        by_value = {value: part.set_index(unit) for value, part in group.groupby(column, sort=False)}
        for value, reference in comparisons:
            if value not in by_value or reference not in by_value:
                continue
            for metric in TABLE_METRICS:
                difference = (by_value[value][metric] - by_value[reference][metric]).dropna().to_numpy()
                low, high = mean_interval(difference)
                rows.append(
                    {
                        **dict(zip(rest, key, strict=True)),
                        column: value,
                        "reference": reference,
                        "metric": metric,
                        "difference": difference.mean() if len(difference) else np.nan,
                        "ci_low": low,
                        "ci_high": high,
                        "partitions": len(difference),
                    }
                )
    return pd.DataFrame(rows)


def over_scores(frame: pd.DataFrame, name: str = "mean of scores") -> pd.DataFrame:
    """Return the mean over the postprocessors of every run, under one name.

    Training methods that one postprocessor was made for (LogitNorm is a method of its own, read with MSP) are left out:
    they would compare different sets of postprocessors.
    """
    shared = frame.groupby("training")["postprocessor"].nunique()
    frame = frame[frame["training"].isin(shared[shared == shared.max()].index)]
    keys = [column for column in _SAME_RUN if column in frame]
    return means(frame, keys, TABLE_METRICS).reset_index().assign(postprocessor=name)


def by_size(modalities: pd.Series | list[str]) -> list[str]:
    """Return the distinct sets (``"a+b"``), single modalities first."""
    return sorted(dict.fromkeys(modalities), key=lambda text: text.count("+"))


def modality_differences(frame: pd.DataFrame) -> pd.DataFrame:
    """Return paired differences of every larger set of modalities and each of its proper subsets.

    Args:
        frame: as `records_frame` returns it.

    Returns:
        As `paired_differences`, with ``modalities`` and ``reference`` in place of the trainings; the mean
        over scores is among the scores.
    """
    sets = by_size(frame["modalities"])
    pairs = [
        (larger, smaller)
        for larger in sets
        for smaller in sets
        if set(smaller.split("+")) < set(larger.split("+"))
    ]
    both = pd.concat([frame, over_scores(frame)])
    return paired_differences(both, pairs, column="modalities")


def mean_interval(values: np.ndarray) -> tuple[float, float]:
    """Return the 95 % t-interval of the mean of ``values`` ``[n]``; NaN for fewer than two."""
    n = len(values)
    if n < 2:
        return float("nan"), float("nan")
    half = float(stats.t.ppf(0.975, n - 1) * values.std(ddof=1) / np.sqrt(n))
    return float(values.mean()) - half, float(values.mean()) + half


def mean_std(mean: float, std: float) -> str:
    """Return ``"93.10 ± 0.42"``, or the mean alone where there is no deviation."""
    return f"{mean:.2f}" if np.isnan(std) else f"{mean:.2f} ± {std:.2f}"


def signed_interval(value: float, low: float, high: float) -> str:
    """Return ``"+1.20 [+0.31, +2.09]"``, or the value alone where there is no interval."""
    return f"{value:+.2f}" if np.isnan(low) else f"{value:+.2f} [{low:+.2f}, {high:+.2f}]"
