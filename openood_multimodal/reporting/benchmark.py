"""The report of a benchmark: scores x training methods, and what these add, as text, Markdown, CSV and a figure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from textwrap import fill
from typing import NamedTuple

import pandas as pd
from tabulate import tabulate

from ..errors import UserError
from ..escapes import csv_cell, markdown, one_line
from ..files.atomic import write_text
from .aggregate import (
    apart,
    by_size,
    mean_std,
    modality_differences,
    over_scores,
    paired_differences,
    records_frame,
    signed_interval,
    summary,
)
from .figures.benchmark import plot_benchmark
from .methods import COLUMNS, TITLES, as_methods, in_order
from .records import load_records

LEGEND = (
    "Percent; mean ± standard deviation over class partitions, seeds averaged first (over seeds where there is one "
    "partition); the best of a column is starred. FPR@95 is OpenOOD's (OOD positive). Partitions of one dataset share "
    "rows: intervals over few of them are indicative."
)
SHOWN_SCORES = ("ebo", "mean of scores")
"""Scores for which the differences are printed; differences.csv has all."""

TERMINAL = 80
"""Columns of a terminal."""

_SETTING = ("benchmark", "modalities", "training")

DIFFERENCES = "paired differences over partitions, mean [95 % t-interval]"


class Report(NamedTuple):
    """The tables as text (those of FPR@95 stand in the Markdown file), and the files that were written."""

    text: str
    files: list[Path]


def suite_frame(folders: Mapping[Path, str]) -> pd.DataFrame:
    """Return the records below a suite's folders as one frame.

    Args:
        folders: of a run → its variant: ``training`` becomes ``<training>-<variant>`` where it has one.

    Returns:
        As `aggregate.records_frame`; where both settings are there, ``benchmark`` says which one a row is of.

    Raises:
        UserError: for a record that can't be read.
    """
    found = [(record, variant) for folder, variant in folders.items() for record in load_records(folder)]
    frame = records_frame(record for record, _ in found)
    variants = pd.Series([f"-{variant}" if variant else "" for _, variant in found], dtype=object)
    frame = frame.assign(training=frame["training"] + variants)
    if frame["setting"].nunique() > 1:  # near and far are never averaged
        frame["benchmark"] += " " + frame["setting"] + "-OOD"
        frame = frame.sort_values("setting", key=lambda column: column != "near", kind="stable")
    return apart(frame)


def write_report(folders: Mapping[Path, str], output_dir: Path) -> Report:
    """Read the records below ``folders`` and write the benchmark's report into ``output_dir``.

    Args:
        folders: as `suite_frame` takes them.
        output_dir: where the report goes.

    Raises:
        UserError: for a record that can't be read, or when there is none.
    """
    frame = suite_frame(folders)
    if frame.empty:
        raise UserError(f"there are no records below {output_dir}.")
    summaries = summary(frame)
    differences = paired_differences(pd.concat([frame, over_scores(frame)]))
    between_modalities = modality_differences(frame)
    tables = [
        *_training_tables(summaries),
        *_modality_tables(summaries),
        (f"What the training adds: {DIFFERENCES}", effect_table(differences, "training")),
    ]
    for training in _with_single_modalities(summaries):
        title = f"What more modalities add, training {training}: {DIFFERENCES}"
        of_training = (
            between_modalities
            if between_modalities.empty
            else between_modalities[between_modalities["training"] == training]
        )
        tables.append((title, effect_table(of_training, "modalities")))
    files = [
        _write(output_dir / "leaderboard.md", _join(tables, "github")),
        _write(output_dir / "leaderboard.csv", _csv(summaries)),
        _write(output_dir / "differences.csv", _csv(differences)),
        _write(output_dir / "modalities.csv", _csv(between_modalities)),
    ]
    figure = plot_benchmark(summaries, output_dir / "leaderboard.png")
    shown = [_for_terminal(*each) for each in tables if ": FPR@95 by" not in each[0]]
    return Report(_join(shown, "simple"), files + ([figure] if figure else []))


def _training_tables(summaries: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Methods x trainings, for every setting with more than one training."""
    return [
        (f"{benchmark}, {modalities}: {metric} by training", metric_table(part, "training", metric))
        for (benchmark, modalities), part in summaries.groupby(["benchmark", "modalities"], sort=False)
        if part["training"].nunique() > 1
        for metric in ("AUROC", "FPR@95")
    ]


def _with_single_modalities(summaries: pd.DataFrame) -> list[str]:
    single = summaries[~summaries["modalities"].str.contains("+", regex=False)]
    return in_order(single["training"], COLUMNS)


def _modality_tables(summaries: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Methods x modalities, for every training with single modalities, and whatever no other table shows."""
    alone = summaries.groupby(["benchmark", "modalities"])["training"].transform("nunique") == 1
    return [
        (
            f"{benchmark}, training {training}: {metric} by modalities",
            metric_table(part, "modalities", metric),
        )
        for (benchmark, training), part in summaries.groupby(["benchmark", "training"], sort=False)
        if alone[part.index].any()
        for metric in ("AUROC", "FPR@95")
    ]


def metric_table(summaries: pd.DataFrame, column: str, metric: str) -> pd.DataFrame:
    """Return the text table of one metric: a row a method, a column a training method or a set of modalities.

    The best method of a training method is starred, or the best set of modalities of a method.

    Args:
        summaries: rows of `aggregate.summary` that differ in postprocessor and ``column``.
        column: ``"training"`` or ``"modalities"``.
        metric: ``"AUROC"`` or ``"FPR@95"``.
    """
    by_training = column == "training"
    rows = as_methods(summaries) if by_training else summaries.assign(method=summaries["postprocessor"])
    names = in_order(rows[column], COLUMNS) if by_training else by_size(rows[column])
    methods = in_order(list(rows["method"]), TITLES)
    means, deviations = (
        rows.pivot(index="method", columns=column, values=name).loc[methods, names]
        for name in (metric, f"{metric}_std")
    )
    rounded = means.round(2)
    best = (rounded.min if metric == "FPR@95" else rounded.max)(axis=0 if by_training else 1)
    stars = rounded.eq(best, axis=1 if by_training else 0).replace({True: "*", False: " "})
    accuracy = summaries.groupby(column)["ACC"].first()
    table = pd.DataFrame({"method": [TITLES.get(name, name) for name in methods] + ["(ID accuracy)"]})
    for name in names:
        cells = zip(means[name], deviations[name], stars[name], strict=True)
        table[COLUMNS.get(name, name)] = [
            *("" if pd.isna(mean) else mean_std(mean, std) + star for mean, std, star in cells),
            f"{accuracy[name]:.2f} ",
        ]
    return table


def effect_table(differences: pd.DataFrame, column: str) -> pd.DataFrame:
    """Return the text table of `aggregate.paired_differences` in ``column``, for `SHOWN_SCORES`."""
    if differences.empty:
        return pd.DataFrame()
    rows = []
    keys = ["benchmark", *(["modalities"] if column == "training" else []), column, "reference"]
    for key, part in differences.groupby(keys, sort=False):
        *where, value, reference = (COLUMNS.get(name, name) for name in key)
        row = dict(zip(keys, where, strict=False)) | {"comparison": f"{value} - {reference}"}
        for score in SHOWN_SCORES:
            for metric in ("AUROC", "FPR@95"):
                found = part[(part["postprocessor"] == score) & (part["metric"] == metric)]
                bounds = found[["difference", "ci_low", "ci_high"]]
                row[f"Δ{metric}, {TITLES.get(score, score)}"] = (
                    "" if found.empty else signed_interval(*bounds.iloc[0])
                )
        rows.append(row)
    table = pd.DataFrame(rows)
    shown = table.loc[:, (table != "").any()]
    return shown if any(name.startswith("Δ") for name in shown) else pd.DataFrame()


def _for_terminal(title: str, table: pd.DataFrame) -> tuple[str, pd.DataFrame]:
    """Return a table that fits a terminal: what is the same in every row goes into the title; AUROC's differences."""
    same = [name for name in table.columns[:-1] if name in _SETTING and table[name].nunique() == 1]
    title += "".join(f"; {table[name].iloc[0]}" for name in same)
    table = table.drop(columns=[*same, *(name for name in table if name.startswith("ΔFPR"))])
    while _width(table) > TERMINAL and sum(name.startswith("Δ") for name in table) > 1:
        table = table[table.columns[:-1]]
    return title, table


def _width(table: pd.DataFrame) -> int:
    return sum(max(len(name), *map(len, table[name]), 0) + 2 for name in table) - 2


def _write(path: Path, text: str) -> Path:
    write_text(path, text)
    return path


def _csv(frame: pd.DataFrame) -> str:
    return str(_escaped(frame, csv_cell).to_csv(index=False, lineterminator="\n"))


def _escaped(frame: pd.DataFrame, escape: Callable[[str], str]) -> pd.DataFrame:
    texts = frame.select_dtypes(exclude="number").columns
    return frame.assign(
        **{name: [escape(each) if isinstance(each, str) else each for each in frame[name]] for name in texts}
    ).rename(columns=escape)


def _join(tables: Iterable[tuple[str, pd.DataFrame]], style: str) -> str:
    parts = []
    for title, table in tables:
        if table.empty:
            continue
        escape = markdown if style == "github" else one_line
        heading = f"### {escape(title)}\n" if style == "github" else fill(escape(title), TERMINAL)
        body = tabulate(
            _escaped(table, escape), headers="keys", showindex=False, tablefmt=style, disable_numparse=True
        )
        parts.append(f"{heading}\n{body}")
    legend = LEGEND if style == "github" else fill(LEGEND, TERMINAL)
    return "\n\n".join([*parts, legend]) + "\n"
