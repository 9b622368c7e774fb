"""Our results beside the paper's: metrics of finished rows, from their records only, and the reported cells."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ..files.atomic import write_csv
from ..reporting.aggregate import over_sets, records_frame
from ..reporting.claims import on_the_authors_lists
from ..reporting.records import load_records
from ..vocabulary import AVERAGE, PAPER_METRICS
from .table_runs import TableRun
from .tables import Table

COLUMNS = (
    *("row", "postprocessor", "ood_set"),
    *(f"{metric}_{what}" for metric in PAPER_METRICS for what in ("paper", "ours", "std", "difference")),
    *("n", "comparable"),
)


@dataclass(frozen=True)
class RowResult:
    """A row of the table with all its partitions and seeds.

    Attributes:
        name: of the row.
        cells: one for each postprocessor and OOD set (or ``average``), with the columns of `COLUMNS`; in the paper's
            order, for a table of one's own in the records'.  Metrics are in percent: the paper's as printed, ours as
            mean and sample deviation over partitions, seeds averaged first (over seeds where there is one partition),
            and ours minus the paper's.  None where there is none; there is no difference where ours are not on the
            clips of the authors' lists (``comparable``).
        notes: what the records say beside figures, each once.
    """

    name: str
    cells: list[dict[str, Any]]
    notes: list[str]


def compare(table: Table, runs: Sequence[TableRun]) -> list[RowResult]:
    """Return the rows of ``runs``, those that have not run with the paper's figures alone."""
    printed = table.published()
    rows: dict[str, list[TableRun]] = {}
    for run in runs:
        rows.setdefault(run.name, []).append(run)
    return [_row(name, seeds, printed) for name, seeds in rows.items()]


def printed_cells(run: TableRun, printed: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    """Return the published rows that ``run`` answers to, in their order.

    A row of the paper is one ID set, modalities, encoders, training, synthesis and discrepancy; it is looked for by
    what the run's configs say.
    """
    trainer = run.training_command().config()["trainer"]
    wanted = {
        "id_set": run.id_set,
        "modalities": "+".join(run.group.modalities),
        "networks": "+".join(run.table.encoders.get(each, "?") for each in run.group.modalities),
        "training": run.row.training,
        "synthesis": trainer.get("synthesis") or "",
        "discrepancy": trainer.get("discrepancy") or "",
    }
    scores = set(run.postprocessors)
    return [
        row
        for row in printed
        if all(row[key] == value for key, value in wanted.items()) and row["postprocessor"] in scores
    ]


def not_implemented_cells(table: Table) -> list[tuple[str, str, int]]:
    """Return (what, why, number of printed cells) for every part of the table without a method here."""
    printed = table.published()
    found = []
    for each in table.not_implemented:
        same = [
            row
            for row in printed
            if row["training"] == each.training and each.synthesis in ("", row["synthesis"])
        ]
        what = f"{each.training}, {each.synthesis}" if each.synthesis else each.training
        found.append((what, each.why, len(same)))
    return found


def _row(name: str, runs: Sequence[TableRun], printed: Sequence[dict[str, str]]) -> RowResult:
    results = [
        (number, record)
        for number, run in enumerate(runs)
        if run.is_done()
        for record in load_records(run.folder / "test" / "records")
    ]
    frame = records_frame(record for _, record in results).assign(
        run=[number for number, _ in results],
        comparable=[on_the_authors_lists(record, runs[0].id_set) for _, record in results],
    )
    # another scale is other data: nothing of the paper's stands beside it
    paper = [] if runs[0].scale else printed_cells(runs[0], printed)
    wanted = [(row["postprocessor"], row["ood_set"]) for row in paper]
    if not wanted:
        order = {score: place for place, score in enumerate(runs[0].postprocessors)}
        both = set(zip(frame["postprocessor"], frame["ood_set"], strict=True))
        wanted = sorted(both, key=lambda cell: (order.get(cell[0], len(order)), cell[0], cell[1]))
    by_cell = {(row["postprocessor"], row["ood_set"]): row for row in paper}
    sets = {ood_set for _, ood_set in wanted} - {AVERAGE}
    cells = [
        _cell(name, score, sets if ood_set == AVERAGE else {ood_set}, frame, by_cell.get((score, ood_set)))
        for score, ood_set in wanted
    ]
    notes = dict.fromkeys(note for _, record in results for note in record.notes)
    return RowResult(name, cells, list(notes))


def _cell(
    name: str, score: str, sets: Set[str], frame: pd.DataFrame, paper: dict[str, str] | None
) -> dict[str, Any]:
    """Return the mean over ``sets``, of those runs that have all of them."""
    part = frame[(frame["postprocessor"] == score) & frame["ood_set"].isin(list(sets))]
    ours = over_sets(part, ["run", "partition"], sets)
    comparable = bool(part.loc[part["run"].isin(ours.index.get_level_values("run")), "comparable"].all())
    by_partition = ours.groupby("partition").mean()
    mean, std = by_partition.mean(), (by_partition if len(by_partition) > 1 else ours).std(ddof=1)
    ood_set = next(iter(sets)) if len(sets) == 1 else AVERAGE
    cell: dict[str, Any] = {"row": name, "postprocessor": score, "ood_set": ood_set}
    for metric in PAPER_METRICS:
        printed = float(paper[metric]) if paper and paper[metric] else None
        difference = mean[metric] - printed if printed is not None and comparable else None
        values = {"paper": printed, "ours": mean[metric], "std": std[metric], "difference": difference}
        for what, value in values.items():
            cell[f"{metric}_{what}"] = None if pd.isna(value) else float(value)
    return cell | {"n": len(ours), "comparable": comparable}


def write_comparison(path: Path, rows: Sequence[RowResult]) -> Path:
    """Write the comparison as CSV, a line a cell, percent; empty where there is nothing."""
    lines = [
        {key: f"{value:.2f}" if isinstance(value, float) else value for key, value in cell.items()}
        | {"n": str(cell["n"]), "comparable": "yes" if cell["comparable"] else "no"}
        for row in rows
        for cell in row.cells
    ]
    write_csv(path, COLUMNS, [{key: value or "" for key, value in line.items()} for line in lines])
    return path
