"""From records to the table of a benchmark: means over partitions, and paired differences with intervals.

Seeds are averaged within a partition first, so that the partition is the unit that is counted; partitions of one
data set share rows, so intervals over few of them are indicative.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from ..vocabulary import TABLE_METRICS
from .records import ResultRecord

CELL = ["benchmark", "modalities", "training", "postprocessor"]
COMPARISONS = (
    ("multimodal_multihead", "multimodal_baseline"),
    ("a2d", "multimodal_multihead"),
    ("a2d_npmix", "multimodal_multihead"),
    ("a2d_npmix", "a2d"),
    ("a2d", "multimodal_baseline"),
    ("a2d_npmix", "multimodal_baseline"),
)
"""(training, reference): each method against the fair baseline, the step before it, and the paper's baseline."""


def records_frame(records: Iterable[ResultRecord]) -> pd.DataFrame:
    """Return one row a record: cell, partition, seed, setting, OOD set, and the metrics in percent."""
    rows: list[dict[str, Any]] = []
    for record in records:
        row: dict[str, Any] = {
            "benchmark": record.benchmark,
            "track": record.track,
            "modalities": "+".join(record.modalities or ()),
            "training": record.training,
            "postprocessor": record.postprocessor,
            "partition": record.partition,
            "seed": record.seed,
            "setting": record.setting,
            "ood_set": record.ood_set,
        }
        row |= {name: 100 * record.metrics[name]["value"] for name in record.metrics}
        rows.append(row)
    return pd.DataFrame(rows)


def per_partition(frame: pd.DataFrame) -> pd.DataFrame:
    """Average over OOD sets and seeds: one row a cell and partition."""
    metrics = [name for name in TABLE_METRICS if name in frame]
    return frame.groupby([*CELL, "partition"], sort=False)[metrics].mean().reset_index()


def summary(frame: pd.DataFrame) -> pd.DataFrame:
    """Return one row a cell: mean and standard deviation over partitions, and how many there are.

    Args:
        frame: as `records_frame` returns it.

    Returns:
        Columns of `CELL`, ``partitions``, ``seeds``, and ``<metric>``, ``<metric>_std`` (n - 1; NaN for one).
    """
    partitions = per_partition(frame)
    grouped = partitions.groupby(CELL, sort=False)
    result = grouped[["partition"]].count().rename(columns={"partition": "partitions"})
    result["seeds"] = frame.groupby(CELL, sort=False)["seed"].nunique()
    for name in TABLE_METRICS:
        result[name] = grouped[name].mean()
        result[f"{name}_std"] = grouped[name].std(ddof=1)
    return result.reset_index()


def paired_differences(
    frame: pd.DataFrame, comparisons: Sequence[tuple[str, str]] = COMPARISONS, column: str = "training"
) -> pd.DataFrame:
    """Return mean differences over partitions with 95 % t-intervals, for every pair and metric.

    Args:
        frame: as `records_frame` returns it.
        comparisons: (value, reference value) pairs of ``column``; those that are absent are left out.
        column: what the pair differs in; all else in `CELL` is equal.

    Returns:
        Columns: the rest of `CELL`, ``<column>``, ``reference``, ``metric``, ``difference``, ``ci_low``,
        ``ci_high`` (NaN with one partition), ``partitions``.
    """
    partitions = per_partition(frame)
    rest = [name for name in CELL if name != column]
    rows: list[dict[str, Any]] = []
    for key, group in partitions.groupby(rest, sort=False):
        by_value = {value: part.set_index("partition") for value, part in group.groupby(column, sort=False)}
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


def mean_interval(values: np.ndarray) -> tuple[float, float]:
    """Return the 95 % t-interval of the mean of ``values`` ``[n]``; NaN for fewer than two."""
    n = len(values)
    if n < 2:
        return float("nan"), float("nan")
    half = float(stats.t.ppf(0.975, n - 1) * values.std(ddof=1) / np.sqrt(n))
    return float(values.mean()) - half, float(values.mean()) + half


def over_scores(frame: pd.DataFrame, name: str = "mean of scores") -> pd.DataFrame:
    """Return ``frame`` with the scores of every run averaged, under one name.

    Trainings that one score was made for (LogitNorm is an own method, read with MSP) are left out: they would
    compare different sets of scores.
    """
    shared = frame.groupby("training")["postprocessor"].nunique()
    frame = frame[frame["training"].isin(shared[shared == shared.max()].index)]
    keys = [column for column in frame if column not in TABLE_METRICS and frame[column].dtype != float]
    keys.remove("postprocessor")
    averaged = frame.groupby(keys, sort=False)[list(TABLE_METRICS)].mean().reset_index()
    return averaged.assign(postprocessor=name)


def mean_std(mean: float, std: float) -> str:
    """Return ``"93.10 ± 0.42"``, or the mean alone where there is no deviation."""
    return f"{mean:.2f}" if np.isnan(std) else f"{mean:.2f} ± {std:.2f}"


def signed_interval(value: float, low: float, high: float) -> str:
    """Return ``"+1.20 [+0.31, +2.09]"``, or the value alone where there is no interval."""
    return f"{value:+.2f}" if np.isnan(low) else f"{value:+.2f} [{low:+.2f}, {high:+.2f}]"
