"""Figures of records: modalities, seeds and partitions, a parameter of the training, ranks over benchmarks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ..aggregate import apart, by_size, means, records_frame, summarise
from ..methods import COLUMNS, TITLES, TRAININGS, as_methods, in_order
from .runs import Named, NotDrawn, Options, RunFiles
from .style import FAINT, INK, legend_below, panels, style_of, title_of

MOST_PANELS, MOST_RANKED = 6, 30
SHOWN = ("FPR@95", "AUROC")
_BOARD = ["benchmark", "setting"]
_KINDS = ("engine", "preset", "fit_on", "source")


def _frame(runs: Sequence[RunFiles], postprocessors: Sequence[str] = ()) -> pd.DataFrame:
    frame = records_frame(record for run in runs for record in run.records)
    if frame.empty:
        raise NotDrawn(f"there are no records below {', '.join(str(run.folder) for run in runs)}.")
    return _chosen(frame, postprocessors)


def _chosen(frame: pd.DataFrame, postprocessors: Sequence[str]) -> pd.DataFrame:
    unknown = [name for name in postprocessors if name not in set(frame["postprocessor"])]
    if unknown:
        raise NotDrawn(
            f"no record is of the postprocessor '{unknown[0]}'; there are "
            f"{', '.join(sorted(set(frame['postprocessor'])))}."
        )
    frame = apart(frame[frame["postprocessor"].isin(postprocessors)] if postprocessors else frame)
    if frame["track"].nunique() > 1:
        frame["benchmark"] += ", track " + frame["track"]
    for name in _KINDS:  # never averaged
        if frame[name].nunique() > 1:
            frame["postprocessor"] += " (" + frame[name] + ")"
    return frame


def modalities(runs: Sequence[RunFiles], options: Options) -> Iterator[Named]:
    """Yield FPR@95 and AUROC of each postprocessor by set of modalities (Figure 1), a figure a training method."""
    frame = _frame(runs, options.postprocessors)
    drawn = False
    for (benchmark, setting, training), part in frame.groupby([*_BOARD, "training"], sort=False):
        if part["modalities"].nunique() < 2:
            continue
        drawn = True
        cells = means(part, ["modalities", "postprocessor"], SHOWN).reset_index()
        scores = in_order(cells["postprocessor"], TITLES)[::-1]
        sets = by_size(cells["modalities"])
        figure, grid = panels(1, 2, 0.9 + 0.17 * len(scores) + 0.1 * len(sets), sharey=True)
        for axes, metric in zip(grid[0], SHOWN, strict=True):
            for name in sets:
                own = cells[cells["modalities"] == name].set_index("postprocessor")[metric]
                whole = name == sets[-1]
                style = style_of(name)
                axes.plot(own.reindex(scores), range(len(scores)), ls="none",
                          marker="D" if whole else style.marker, color=INK if whole else style.colour,
                          ms=4 if whole else 3, mew=0, label=name, zorder=3 if whole else 2)  # fmt: skip
            axes.set_xlabel(f"{metric} (%) {'↓' if metric.startswith('FPR') else '↑'}")
            axes.grid(axis="y")
            axes.set_axisbelow(True)
        grid[0, 0].set_yticks(range(len(scores)), [title_of(name) for name in scores])
        figure.suptitle(f"{benchmark}, {setting or 'own'}: {title_of(str(training))}", fontsize=7)
        legend_below(figure, grid[0, 0], 1 if max(map(len, sets)) > 28 else 2)
        yield f"modalities-{benchmark}-{setting or 'own'}-{training or 'own'}", figure
    if not drawn:
        raise NotDrawn(
            "no benchmark has records of two sets of modalities; openood-mm compare-modalities makes them."
        )


def seeds(runs: Sequence[RunFiles], options: Options) -> Iterator[Named]:
    """Yield FPR@95 against AUROC (Figures 12, 13): each seed and partition faint, their mean bold; a panel a score."""
    frame = as_methods(_frame(runs))
    drawn = False
    for (benchmark, setting, chosen), part in frame.groupby([*_BOARD, "modalities"], sort=False):
        part = part[part["method"].isin(options.postprocessors)] if options.postprocessors else part
        if part.groupby(["training", "method"])["network"].nunique().max() < 2 if len(part) else True:
            continue
        drawn = True
        best = means(part, ["method"], ["AUROC"])["AUROC"].sort_values(ascending=False, kind="stable")
        names = in_order(list(best.index[:MOST_PANELS]), TITLES)
        columns = min(2, len(names))
        rows = -(-len(names) // columns)
        figure, grid = panels(rows, columns, 0.7 + 1.35 * rows, sharex=True, sharey=True)
        trainings = in_order(part["training"], TRAININGS)
        for axes in grid.flat[len(names) :]:
            axes.set_visible(False)
        for axes, name in zip(grid.flat, names, strict=False):
            for training in trainings:
                own = part[(part["method"] == name) & (part["training"] == training)]
                if own.empty:
                    continue
                style = style_of(training)
                each = means(own, ["partition", "seed", "network"], SHOWN)
                axes.scatter(
                    each["FPR@95"], each["AUROC"], s=7, c=style.colour, marker=style.marker, alpha=0.35, lw=0
                )
                middle = means(means(own, ["partition"], SHOWN).assign(all=0), ["all"], SHOWN).iloc[0]
                axes.scatter([middle["FPR@95"]], [middle["AUROC"]], s=28, c=style.colour, marker=style.marker,
                             edgecolors="white", lw=0.5, zorder=3, label=title_of(training))  # fmt: skip
            axes.set_title(title_of(name), pad=2)
            axes.grid()
            axes.set_axisbelow(True)
        for axes in grid[:, 0]:
            axes.set_ylabel("AUROC (%) ↑")
        for axes in grid.flat[max(0, len(names) - columns) : len(names)]:
            axes.set_xlabel("FPR@95 (%) ↓")
            axes.tick_params(labelbottom=True)
        legend_below(figure, grid[0, 0])
        yield f"seeds-{benchmark}-{setting or 'own'}-{chosen or 'own'}", figure
    if not drawn:
        raise NotDrawn("no method has records of two seeds or partitions; openood-mm benchmark makes them.")


def parameter(runs: Sequence[RunFiles], options: Options) -> Iterator[Named]:
    """Yield FPR@95 and AUROC by a number in the trainer's settings (Figures 10, 11), a figure a training and number.

    Postprocessors have a line each, and a point at the left: the first training method that has no such number.  Where
    trainings differ in several numbers, one varies with the others as most have them.
    """
    trained = [each for run in runs for each in run.trained()]
    frame = records_frame(record for _, records in trained for record in records)
    if frame.empty:
        raise NotDrawn("no training that keeps its config (training/config.yml) has records.")
    frame = frame.assign(trainer=[settings for settings, records in trained for _ in records])
    drawn = False
    boards = [*_BOARD, "modalities"]
    for (benchmark, setting, chosen), board in _chosen(frame, options.postprocessors).groupby(
        boards, sort=False
    ):
        for training, part in board.groupby("training", sort=False):
            for key in _varied(list(part["trainer"])):
                own = _alike(part, key)
                other = [name for name in in_order(board["training"], TRAININGS) if name != training]
                without = [name for name in other if not any(key in settings
                           for settings in board.loc[board["training"] == name, "trainer"])]  # fmt: skip
                reference = board[board["training"].isin(without[:1])]
                drawn = True
                title = f"{benchmark}, {setting or 'own'}: {title_of(str(training))}"
                stem = f"parameter-{key.rpartition('.')[2]}-{benchmark}-{setting or 'own'}-{chosen or 'own'}-{training}"
                yield stem, _by_parameter(own, reference, key.rpartition(".")[2], title)
    if not drawn:
        raise NotDrawn(
            "no training method was run with two values of a number; openood-mm reproduce figure10 makes such runs."
        )


def _varied(settings: list[dict[str, Any]]) -> list[str]:
    """Return the keys with several values, all of them numbers."""
    keys = dict.fromkeys(key for each in settings for key in each)
    numbers = [
        key for key in keys
        if all(isinstance(each.get(key), (int, float)) and not isinstance(each[key], bool) for each in settings)
    ]  # fmt: skip
    return [key for key in numbers if len({each[key] for each in settings}) > 1]


def _alike(part: pd.DataFrame, key: str) -> pd.DataFrame:
    """Return the rows with ``value``, the number called ``key``, that agree in all else: of such sets the largest."""
    rest = part["trainer"].map(lambda each: repr(sorted((name, each[name]) for name in each if name != key)))
    part = part.assign(value=part["trainer"].map(lambda each: each[key]))
    most = part.groupby(rest, sort=False)["value"].nunique().idxmax()
    return part[rest == most]


def _by_parameter(part: pd.DataFrame, reference: pd.DataFrame, name: str, title: str) -> Any:
    """Return the figure: means over runs, seeds averaged within a partition first; the reference stands at the left."""
    best = means(part, ["postprocessor"], ["AUROC"])["AUROC"].sort_values(ascending=False, kind="stable")
    scores = in_order(list(best.index[:MOST_PANELS]), TITLES)
    cells = summarise(part, ["postprocessor", "value"], SHOWN)
    base = summarise(reference, ["postprocessor"], SHOWN).reindex(scores)
    values = sorted(part["value"].unique())
    first = [COLUMNS.get(name, title_of(name)) for name in reference["training"].iloc[:1]]
    figure, grid = panels(1, 2, 2.2)
    for axes, metric in zip(grid[0], SHOWN, strict=True):
        for score in scores:
            style = style_of(score)
            look = {"color": style.colour, "marker": style.marker, "ms": 4, "mew": 0}
            places = range(len(first), len(first) + len(values))
            axes.plot(
                places, cells.loc[score].reindex(values)[metric], ls=style.dash, label=title_of(score), **look
            )
            axes.plot([0] * len(first), base.loc[[score] * len(first), metric], **look)
        axes.set_xticks(range(len(first) + len(values)), [*first, *(f"{value:g}" for value in values)])
        axes.set_xlabel(name)
        axes.set_title(f"{metric} (%) {'↓' if metric.startswith('FPR') else '↑'}", pad=2)
        axes.grid(axis="y")
    figure.suptitle(title, fontsize=7)
    legend_below(figure, grid[0, 0], 4)
    return figure


def ranks(runs: Sequence[RunFiles], options: Options, metric: str = "AUROC") -> Iterator[Named]:
    """Yield the rank of every method (training and score) in each benchmark and set of modalities, 1 the best."""
    frame = as_methods(_frame(runs, options.postprocessors))
    boards = [*_BOARD, "modalities"]
    cells = means(frame, [*boards, "training", "method"], [metric]).reset_index()
    if cells.groupby(boards)[metric].count().max() < 2:
        raise NotDrawn("no benchmark has records of two methods; there is nothing to rank.")
    cells["rank"] = cells.groupby(boards)[metric].rank(ascending=metric.startswith("FPR"), method="min")
    cells["board"] = ["\n".join(filter(None, (name, setting))) + f"\n{_brief(chosen)}"
                      for name, setting, chosen in cells[boards].itertuples(index=False)]  # fmt: skip
    one = cells["training"].nunique() == 1
    cells["name"] = [title_of(method) if one else f"{title_of(method)} · {title_of(training)}"
                     for training, method in cells[["training", "method"]].itertuples(index=False)]  # fmt: skip
    cells["place"] = cells["rank"] / cells.groupby(boards)[metric].transform("count")
    order = cells.groupby("name")["place"].mean().sort_values(kind="stable").index[:MOST_RANKED]
    table = cells.pivot_table("rank", "name", "board", sort=False)
    table = table.loc[order]
    longest = max(map(len, table.index))
    width = max(3.3, 0.055 * longest + 0.75 * table.shape[1])
    figure, grid = panels(1, 1, 0.8 + 0.155 * len(table), width=width)
    axes, values = grid[0, 0], table.to_numpy()
    most = float(np.nanmax(values))
    axes.imshow(values, cmap="cividis_r", vmin=1, vmax=max(most, 2), aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            light = value > 1 + 0.55 * (most - 1)
            axes.text(
                column,
                row,
                f"{value:.0f}",
                ha="center",
                va="center",
                fontsize=6,
                color="white" if light else INK,
            )
        else:
            axes.text(column, row, "-", ha="center", va="center", fontsize=6, color=FAINT)
    axes.set_yticks(range(len(table)), table.index)
    axes.set_xticks(range(table.shape[1]), table.columns)
    axes.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_xlabel(f"rank by {metric}, 1 = best")
    yield "ranks", figure


def _brief(modalities: Any) -> str:
    text = str(modalities or "")
    return text if len(text) < 14 else f"{text.count('+') + 1} modalities"
