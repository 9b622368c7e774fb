"""Rows of leaderboards for papers and programs: CSV, JSON Lines, LaTeX, BibTeX.

The page's downloads are the same, of the rows that it shows.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from ..escapes import latex
from ..files.atomic import csv_text
from ..naming import did_you_mean
from .columns import (
    DASH,
    SCOPE,
    TIMES,
    Column,
    Line,
    Table,
    columns_of,
    ranked,
    shown_in,
    tables_of,
)
from .leaderboard_rows import decimals, digits_of, rounded
from .papers import bibtex

if TYPE_CHECKING:
    from .leaderboard import Board

ALWAYS = ("protocol", "tier", "split", "runs", "std_over")
"""Columns that CSV and JSON always have."""

_COUNTS = ("n_partitions", "n_seeds", "n_runs")
_NEEDS = "% needs \\usepackage{booktabs} and \\usepackage[T1]{fontenc}"


@dataclass(frozen=True)
class Selected:
    """A table's rows in order, with their ranks, and its columns."""

    table: Table
    columns: Sequence[Column]
    rows: Sequence[tuple[int | None, Line]]


def select(
    boards: Iterable[Board],
    where: Mapping[str, Collection[str]] | None = None,
    sort: str | None = None,
    columns: Sequence[str] | None = None,
) -> list[Selected]:
    """Return the tables of ``boards``, as the page shows them.

    Args:
        boards: any.
        where: field → values: only rows that have one of them.
        sort: the metric that orders and ranks; None: AUROC, or a table's first metric where it has none.
        columns: names; ``["all"]``: all of them; None: those that the page shows at first.

    Raises:
        UserError: for a field, value, metric or column that no row has.
    """
    tables = [table for board in boards for table in tables_of(board)]
    known = {column.name: column for column in columns_of(tables)}
    where = where or {}
    for name, values in where.items():
        texts = tables[0].lines[0].texts
        if name not in texts:
            raise UserError(f"rows have no field '{name}' to choose by.{did_you_mean(name, texts)}")
        there = {line.texts[name] for table in tables for line in table.lines}
        for value in values:
            if value not in there:
                raise UserError(f"no row has the {name} '{value}'.{did_you_mean(value, there)}")
    metrics = [column.name for column in known.values() if column.kind == "metric"]
    if sort is not None and sort not in metrics:
        raise UserError(f"no row has the metric '{sort}' to be ranked by.{did_you_mean(sort, metrics)}")
    for name in columns or ():
        if name not in (*known, "all"):
            raise UserError(f"there is no column '{name}'.{did_you_mean(name, known)}")
    selected = []
    for table in tables:
        kept = [
            line for line in table.lines if all(line.texts[name] in values for name, values in where.items())
        ]
        if not kept:
            continue
        names = table.shown if columns is None else known if "all" in columns else columns
        metric = sort or next((name for name in ("AUROC", *table.metrics) if name in table.metrics), "AUROC")
        selected.append(Selected(table, [known[name] for name in names], ranked(kept, metric)))
    if not selected:
        raise UserError("no row has all that was chosen; leave one of the conditions out.")
    return selected


def records(selected: Iterable[Selected]) -> list[dict[str, Any]]:
    """Return each row as name → value, names as in the CSV files of leaderboards; metrics in percent."""
    return [_record(each, rank, line) for each in selected for rank, line in each.rows]


def _record(selected: Selected, rank: int | None, line: Line) -> dict[str, Any]:
    row = line.row
    values: dict[str, Any] = {"benchmark": selected.table.benchmark}
    values |= {name: line.texts[name] for name in SCOPE}
    values["rank"] = rank
    for name in (*(column.name for column in selected.columns), *ALWAYS):
        column = next((each for each in selected.columns if each.name == name), None)
        if name == "runs":
            values |= dict(zip(_COUNTS, line.counts or (None,) * 3, strict=True))
        elif name in line.texts:
            values[name] = line.texts[name]
        elif column is None or column.kind in ("plot", "interval"):
            continue
        elif column.kind == "metric":
            low, high = row.intervals.get(name, (None, None))
            values |= {name: line.mean(name), f"{name}_std": rounded(row.stds.get(name))}
            values |= {f"{name}_ci_low": rounded(low), f"{name}_ci_high": rounded(high)}
        else:
            values["rank_in_input" if name == "rank" else name] = rounded(getattr(row, name))
    return values


def csv(selected: Iterable[Selected]) -> str:
    """Return rows as a CSV table, metrics as on the page; columns without any value are left out."""
    rows = records(selected)
    names = [
        name
        for name in dict.fromkeys(name for row in rows for name in row)
        if any(row.get(name) is not None for row in rows)
    ]
    return csv_text(names, [{name: _cell(name, row.get(name)) for name in names} for row in rows])


def _cell(name: str, value: Any) -> str:
    return (
        decimals(value, digits_of(name.removesuffix("_std")))
        if isinstance(value, float)
        else ""
        if value is None
        else str(value)
    )


def jsonl(selected: Iterable[Selected]) -> str:
    """Return rows as JSON Lines: an object a line; metrics with six decimals, null where unknown."""
    return "".join(f"{json.dumps(row, ensure_ascii=False, allow_nan=False)}\n" for row in records(selected))


def as_latex(selected: Iterable[Selected]) -> str:
    """Return a table (booktabs) for each group of rows that are ranked together."""
    return "\n".join(map(_latex_table, selected))


def _latex_table(selected: Selected) -> str:
    columns = [column for column in selected.columns if column.kind != "plot"]
    head = [
        latex(column.title).replace("↑", "$\\uparrow$").replace("↓", "$\\downarrow$") for column in columns
    ]
    body = [
        ["--" if rank is None else str(rank), *(_latex_cell(line, column) for column in columns)]
        for rank, line in selected.rows
    ]
    kinds = "".join("l" if column.kind == "text" else "r" for column in columns)
    return "\n".join(
        [
            *(_NEEDS, "\\begin{table}", "\\centering", f"\\caption{{{latex(selected.table.caption)}}}"),
            *(f"\\begin{{tabular}}{{r{kinds}}}", "\\toprule", f"\\# & {' & '.join(head)} \\\\", "\\midrule"),
            *(f"{' & '.join(cells)} \\\\" for cells in body),
            *("\\bottomrule", "\\end{tabular}", "\\end{table}", ""),
        ]
    )


def _latex_cell(line: Line, column: Column) -> str:
    deviation = line.row.stds.get(column.name) if column.kind == "metric" else None
    shown = latex(shown_in(line, column))
    if column.kind != "text":
        shown = shown.replace(f" {DASH} ", "--").replace(TIMES, "$\\times$")
    return (
        shown
        if deviation is None
        else f"{shown} $\\pm$ {decimals(rounded(deviation), digits_of(column.name))}"
    )


def as_bibtex(selected: Iterable[Selected]) -> str:
    """Return the BibTeX entries of the training methods and postprocessors of rows, as far as they are known."""
    lines = [line for each in selected for _, line in each.rows]
    return bibtex(line.row.values[name] for line in lines for name in ("training", "postprocessor"))


FORMATS: Mapping[str, Callable[[Iterable[Selected]], str]] = {
    "csv": csv,
    "jsonl": jsonl,
    "latex": as_latex,
    "bibtex": as_bibtex,
}
"""Format of exports → its writer."""
