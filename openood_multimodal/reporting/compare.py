"""A run beside the published result of its cell, or beside other runs: difference, interval, verdict."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from ..vocabulary import APART, TABLE_METRICS, UNVERIFIED
from .aggregate import signed_interval
from .claims import on_the_authors_lists
from .leaderboard import make_boards
from .leaderboard_rows import Row, decimals
from .records import ResultRecord

CELL = (
    *("setting", "id_set", *APART, "modalities", "networks", "training", "synthesis", "discrepancy"),
    "postprocessor",
)
"""What two rows of a benchmark and an OOD set have in common to be compared; a published row states all of it."""

REMARKED = ("protocol", "preset", "parameters", "fit_on", "engine", "settings", "track")
"""What they may differ in; the comparison says so."""

WIDEST = 5.0
"""Half of the widest interval, in points, that may be called agreement."""


@dataclass(frozen=True)
class Comparison:
    """One metric of one row and its reference, percent.

    Attributes:
        row: ours.
        reference: the published row, or that of other runs; None where there is none of this cell.
        metric: name.
        difference: ours minus the reference.
        low: lower end of the difference's 95 % interval, NaN where there is none.
        high: upper end.
        verdict: ``"agrees"``, ``"differs"``, ``"can't tell"`` or ``"no reference"``.
        reasons: what the verdict rests on.
    """

    row: Row
    reference: Row | None
    metric: str
    difference: float
    low: float
    high: float
    verdict: str
    reasons: Sequence[str]


def compare(records: Iterable[ResultRecord], references: Iterable[ResultRecord]) -> list[Comparison]:
    """Compare every row of ``records`` with the reference of its cell.

    With several runs the interval is that of Student's t over runs: for a reference of one run, where one more run of
    ours would be (a published figure is one run); for several, Welch's, of the difference of means.  With one run it
    is the run's own 95 % interval, which is about its test samples alone.

    Args:
        records: each result once; published ones are left out.
        references: likewise, of what is compared with.

    Returns:
        For each row, in the order of leaderboards, the metrics of `TABLE_METRICS` that both have; one metric
        without a reference.
    """
    ours = [record for record in records if record.source != "published"]
    on_lists = {record.run_id for record in ours if on_the_authors_lists(record, record.benchmark)}
    benchmarks = {record.benchmark for record in ours}
    known = {
        (name, row.ood_set, *(_cell(row))): row
        for name, board in make_boards(each for each in references if each.benchmark in benchmarks).items()
        for row in board.rows
    }
    found = []
    for name, board in make_boards(ours).items():
        trusted = {record.run_id for record in board.records} <= on_lists
        for row in board.rows:
            reference = known.get((name, row.ood_set, *_cell(row)))
            metrics = [
                name for name in TABLE_METRICS if name in row.means and name in (reference or row).means
            ]
            for metric in metrics if reference else metrics[:1]:
                found.append(_comparison(row, reference, metric, trusted))
    return found


def _cell(row: Row) -> tuple[str, ...]:
    values = {**row.values, "postprocessor": row.values["postprocessor"].removeprefix("openood-")}
    return tuple(values[name] for name in CELL)


def _comparison(row: Row, reference: Row | None, metric: str, trusted: bool) -> Comparison:
    nan = float("nan")
    if reference is None:
        reason = "no result of this ID and OOD set, modalities, networks, training method and postprocessor"
        return Comparison(row, None, metric, nan, nan, nan, "no reference", [reason])
    difference = row.means[metric] - reference.means[metric]
    low, high, basis = _interval(row, reference, metric, difference)
    published = reference.values["source"] == "published"
    doubts = []
    if published and not trusted:
        doubts.append("nothing shows that these runs are on the paper's split")
    elif not published and (not row.splits or row.splits != reference.splits):
        doubts.append("the splits are not the same, or not known")
    if np.isnan(low):
        doubts.append("there is no interval; test other seeds")
    elif low <= 0 <= high and (high - low) / 2 > WIDEST:
        doubts.append(f"the interval is wider than ± {WIDEST:g} points; test other seeds")
    verdict = "can't tell" if doubts else "agrees" if low <= 0 <= high else "differs"
    remarks = [UNVERIFIED] if reference.tier == "unverified" else []
    remarks += [
        f"{name}: {row.values[name] or 'none'}, there {reference.values[name] or 'none'}"
        for name in REMARKED
        if row.values[name] != reference.values[name]
        and (reference.values[name] or not published)
        and not (published and name == "engine")
    ]
    return Comparison(row, reference, metric, difference, low, high, verdict, [*doubts, *basis, *remarks])


def _interval(row: Row, reference: Row, metric: str, difference: float) -> tuple[float, float, list[str]]:
    """Return the bounds of a difference, and what they are of."""
    ours, theirs = (
        np.array([values[metric] for *_, values in each.runs if metric in values])
        for each in (row, reference)
    )
    spreads = [each.var(ddof=1) for each in (ours, theirs) if len(each) > 1]
    if not spreads:
        bounds = row.intervals.get(metric)
        if bounds is None:
            return float("nan"), float("nan"), []
        low, high = (bound - reference.means[metric] for bound in bounds)
        return low, high, ["one run: the interval is about its test samples, not about other seeds"]
    if len(spreads) == 2:
        parts = [each.var(ddof=1) / len(each) for each in (ours, theirs)]
        freedom = (
            sum(parts) ** 2
            / sum(part**2 / (len(each) - 1) for part, each in zip(parts, (ours, theirs), strict=True))
            if sum(parts)
            else 1.0
        )
        variance, basis = sum(parts), f"{len(ours)} and {len(theirs)} runs"
    else:
        several = max(len(ours), len(theirs))
        variance, freedom = spreads[0] * (1 + 1 / several), several - 1
        basis = f"{several} runs: the interval is where one more run would be"
    half = float(stats.t.ppf(0.975, freedom) * np.sqrt(variance))
    return difference - half, difference + half, [basis]


def as_table(comparisons: Iterable[Comparison]) -> list[dict[str, str]]:
    """Return comparisons as rows of a text table."""
    return [
        {
            "training": each.row.values["training"],
            "score": each.row.values["postprocessor"],
            "OOD set": each.row.ood_set,
            "metric": each.metric,
            "ours": decimals(each.row.means[each.metric]),
            "there": "" if each.reference is None else decimals(each.reference.means[each.metric]),
            "difference": ""
            if each.reference is None
            else signed_interval(each.difference, each.low, each.high),
            "verdict": each.verdict,
            "why": "; ".join(each.reasons),
        }
        for each in comparisons
    ]
