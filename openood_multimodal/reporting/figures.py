"""Figures of a benchmark, where matplotlib is installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from ..atomic import write_bytes
from .tables import METRICS, per_partition


def plot_benchmark(frame: pd.DataFrame, path: Path, postprocessor: str) -> Path | None:
    """Draw AUROC and FPR@95 of every training, a dot a partition and a bar for the mean, for one score.

    Args:
        frame: as `tables.records_frame` returns it.
        path: PNG to write.
        postprocessor: the score to show.

    Returns:
        ``path``, or None where matplotlib is missing.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return None
    import io

    partitions = per_partition(frame)
    partitions = partitions[partitions["postprocessor"] == postprocessor]
    settings = list(partitions.groupby(["benchmark", "modalities"], sort=False))
    trainings = list(dict.fromkeys(partitions["training"]))
    colours = {name: f"C{i}" for i, name in enumerate(trainings)}
    metrics = [name for name in METRICS if name != "ACC"]

    figure = Figure(figsize=(2.2 + 2.3 * len(settings), 3.2 * len(metrics)), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots(len(metrics), len(settings), squeeze=False, sharey="row")
    for column, ((benchmark, modalities), group) in enumerate(settings):
        for row, metric in enumerate(metrics):
            _panel(axes[row][column], group, metric, trainings, colours)
            if column == 0:
                axes[row][column].set_ylabel(
                    f"{metric} (%), {'higher' if metric == 'AUROC' else 'lower'} is better"
                )
        title = modalities if len(modalities) < 24 else f"{modalities.count('+') + 1} modalities"
        axes[0][column].set_title(f"{benchmark}\n{title}", fontsize=9)
    figure.suptitle(
        f"Near-OOD by training, score {postprocessor}: a dot a class partition, a bar the mean", fontsize=10
    )
    buffer = io.BytesIO()
    canvas.print_figure(buffer, format="png", dpi=120)
    write_bytes(path, buffer.getvalue())
    return path


def _panel(
    axes: Any, group: pd.DataFrame, metric: str, trainings: list[str], colours: dict[str, str]
) -> None:
    present = [name for name in trainings if name in set(group["training"])]
    for position, name in enumerate(present):
        values = group.loc[group["training"] == name, metric].to_numpy()
        axes.plot([position] * len(values), values, "o", color=colours[name], alpha=0.45, markersize=4)
        axes.hlines(values.mean(), position - 0.3, position + 0.3, color=colours[name], linewidth=2.5)
    axes.set_xticks(
        range(len(present)), [n.removeprefix("multimodal_") for n in present], rotation=35, ha="right"
    )
    axes.set_xlim(-0.6, len(present) - 0.4)
    axes.grid(axis="y", alpha=0.3)
