"""Modality prediction discrepancy (how far predictions are apart, OOD - ID) and OOD detection (Figure 4)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats
from tabulate import tabulate

from ...escapes import one_line
from ...evaluators.curves import prediction_distances
from ...evaluators.outputs import ID_NAME
from ..aggregate import mean_interval, percent
from ..methods import TITLES, TRAININGS, in_order
from .runs import Named, NotDrawn, Options, RunFiles
from .style import INK, legend_below, panels, style_of, title_of

CELL = ["benchmark", "training"]
FEWEST = 3
"""Runs that a correlation takes."""


def points(runs: Sequence[RunFiles], postprocessors: Sequence[str] = ()) -> pd.DataFrame:
    """Return a row a run, OOD set and postprocessor: mean distances of the modalities' predictions, and the AUROC.

    Args:
        runs: with embedding stores that hold the logits of several modalities' heads, and records.
        postprocessors: names; empty for Energy.

    Returns:
        Columns ``benchmark``, ``training``, ``partition``, ``ood_set``, ``postprocessor``, ``id`` and ``ood`` (mean L1
        distance of the softmax, over pairs of modalities: 0 to 2), ``gap`` (``ood - id``), ``AUROC`` (percent).

    Raises:
        NotDrawn: where a run lacks stores, heads, or a record of a postprocessor on an OOD set.
    """
    rows = []
    for run in runs:
        sets = run.embeddings(modality_logits=True)
        mean = {
            name: float(prediction_distances(np.asarray(each.modality_logits)).mean())
            for name, each in sets.items()
        }
        found = {(each.postprocessor, each.ood_set): each for each in run.records if each.condition is None}
        for name in postprocessors or ("ebo",):
            for ood_set in mean.keys() - {ID_NAME}:
                if (name, ood_set) not in found:
                    raise NotDrawn(f"{run.folder} has no record of '{name}' on {ood_set}.")
                record = found[name, ood_set]
                rows.append(
                    {
                        **{
                            "benchmark": record.benchmark,
                            "training": record.training or run.name,
                            "partition": record.partition,
                            "ood_set": ood_set,
                        },
                        **{"postprocessor": name, "id": mean[ID_NAME], "ood": mean[ood_set]},
                        **{
                            "gap": mean[ood_set] - mean[ID_NAME],
                            "AUROC": percent(record.metrics["AUROC"]["value"]),
                        },
                    }
                )
    return pd.DataFrame(rows)


def discrepancy_auroc(runs: Sequence[RunFiles], options: Options) -> Iterator[Named]:
    """Yield the AUROC against the predictions' distance, OOD - ID: runs faint, their means bold; a panel a score."""
    frame = points(runs, options.postprocessors)
    names = in_order(frame["postprocessor"], TITLES)
    figure, grid = panels(len(names), 1, 0.6 + 1.9 * len(names), sharex=True)
    for axes, name in zip(grid[:, 0], names, strict=True):
        part = frame[frame["postprocessor"] == name]
        for training in in_order(part["training"], TRAININGS):
            style = style_of(training)
            own, look = part[part["training"] == training], {"c": style.colour, "marker": style.marker}
            axes.scatter(own["gap"], own["AUROC"], s=8, alpha=0.4, lw=0, **look)
            middle = own.groupby("benchmark", sort=False)[["gap", "AUROC"]].mean()
            axes.scatter(middle["gap"], middle["AUROC"], s=30, edgecolors="white", lw=0.5, zorder=3,
                         label=title_of(training), **look)  # fmt: skip
            for benchmark, place in middle.iterrows() if part["benchmark"].nunique() > 1 else ():
                axes.annotate(
                    str(benchmark), place, xytext=(3, 3), textcoords="offset points", fontsize=5, color=INK
                )
        axes.set_ylabel(f"AUROC (%), {title_of(name)}")
        axes.set_title(_correlation(part), pad=2)
        axes.grid()
        axes.set_axisbelow(True)
    grid[-1, 0].set_xlabel("L1 distance between the modalities' predictions, OOD - ID")
    legend_below(figure, grid[0, 0])
    yield "discrepancy_auroc", figure


def discrepancy_table(runs: Sequence[RunFiles], options: Options) -> str:
    """Return the means of `points` by benchmark and training, and the correlation of ``gap`` with AUROC, as text.

    Trainings are compared with the first one of the benchmark: the mean paired difference of ``gap`` over class
    partitions, with its 95 % t-interval where there are several.
    """
    frame = points(runs, options.postprocessors)
    names = in_order(frame["postprocessor"], TITLES)
    cells = frame.groupby([*CELL, "postprocessor"], sort=False)["AUROC"].mean()
    lines: list[list[str]] = []
    gaps: dict[str, pd.Series] = {}
    for (benchmark, training), part in frame.groupby(CELL, sort=False):
        part = part[part["postprocessor"] == names[0]]
        means = [f"{part[column].mean():.2f}" for column in ("id", "ood", "gap")]
        aurocs = [f"{cells[benchmark, training, name]:.2f}" for name in names]
        own = part.groupby("partition")["gap"].mean()
        first = gaps.setdefault(benchmark, own)
        difference = "" if first is own else _difference((own - first).dropna().to_numpy())
        lines.append([benchmark, title_of(training), *means, difference, *aurocs, str(len(part))])
    headers = ["benchmark", "training", "L1, ID", "L1, OOD", "OOD - ID", "difference to the first"]
    headers += [f"AUROC, {title_of(name)}" for name in names]
    lines = [list(map(one_line, line)) for line in lines]
    table = tabulate(lines, headers=[*headers, "n"], tablefmt="github", disable_numparse=True)
    found = [f"{title_of(name)}: {_correlation(frame[frame['postprocessor'] == name])}" for name in names]
    return "\n".join([table, "", "Correlation of OOD - ID with the AUROC:", *found])


def _difference(values: NDArray[np.float64]) -> str:
    if not len(values):
        return "-"
    low, high = mean_interval(values)
    return f"{values.mean():+.2f}" + (f" [{low:+.2f}, {high:+.2f}]" if np.isfinite(low) else "")


def _correlation(part: pd.DataFrame) -> str:
    """Return Pearson's and Spearman's coefficients over all rows as text."""
    if len(part) < FEWEST or part["gap"].nunique() < 2 or part["AUROC"].nunique() < 2:
        return f"{len(part)} runs; a correlation takes {FEWEST} that differ"
    pearson, spearman = (f(part["gap"], part["AUROC"]).statistic for f in (stats.pearsonr, stats.spearmanr))
    return f"Pearson {pearson:+.2f}, Spearman {spearman:+.2f} over {len(part)} runs"
