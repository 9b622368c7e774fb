"""The figure of a benchmark's report, where matplotlib is installed."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ...escapes import one_line
from ...files.atomic import write_bytes
from ..aggregate import by_size
from ..methods import COLUMNS, TITLES, as_methods, in_order
from .style import plain_text, style_of


def plot_benchmark(summaries: pd.DataFrame, path: Path, metric: str = "AUROC") -> Path | None:
    """Draw every method's mean with its standard deviation over partitions: by training, and by modalities.

    Args:
        summaries: as `aggregate.summary` returns it.
        path: PNG to write.
        metric: what to draw.

    Returns:
        ``path``, or None where matplotlib is missing.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return None

    rows = as_methods(summaries)
    panels = [
        (f"{benchmark}, {_short(modalities)}: by training", part, "training", in_order(part["training"], COLUMNS))
        for (benchmark, modalities), part in rows.groupby(["benchmark", "modalities"], sort=False)
        if part["training"].nunique() > 1
    ] + [
        (f"{benchmark}, training {COLUMNS.get(training, training)}: by modalities", part, "modalities",
         by_size(part["modalities"]))
        for (benchmark, training), part in rows[rows["method"] != "logitnorm"].groupby(
            ["benchmark", "training"], sort=False
        )
        if part["modalities"].nunique() > 1 and not part["modalities"].str.contains("+", regex=False).all()
    ]  # fmt: skip
    panels = panels or [(metric, rows, "training", in_order(rows["training"], COLUMNS))]

    figure = Figure(figsize=(10, 3.1 * len(panels)), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    for axes, panel in zip(figure.subplots(len(panels), 1, squeeze=False)[:, 0], panels, strict=True):
        _panel(axes, *panel, metric=metric)
    figure.suptitle(f"{metric} (%), mean ± standard deviation over class partitions", fontsize=11)
    plain_text(figure)
    buffer = io.BytesIO()
    canvas.print_figure(buffer, format="png", dpi=110)
    write_bytes(path, buffer.getvalue())
    return path


def _panel(axes: Any, title: str, part: pd.DataFrame, column: str, values: list[str], metric: str) -> None:
    methods = in_order(list(part["method"]), TITLES)
    offsets = np.linspace(-0.3, 0.3, len(values)) if len(values) > 1 else [0.0]
    for offset, value in zip(offsets, values, strict=True):
        chosen = part[part[column] == value].set_index("method")
        places = [methods.index(name) + offset for name in chosen.index]
        deviations = chosen[f"{metric}_std"].fillna(0.0)
        label = COLUMNS.get(value, value) if column == "training" else _short(value)
        look = style_of(value)
        axes.errorbar(
            places, chosen[metric], yerr=deviations, fmt=look.marker, color=look.colour, markersize=5, capsize=2,
            label=label,
        )  # fmt: skip
    names = [one_line(TITLES.get(name, name)) for name in methods]
    axes.set_xticks(range(len(methods)), names, fontsize=8, parse_math=False)
    axes.set_title(title, fontsize=10)
    axes.set_ylabel(metric)
    axes.grid(axis="y", alpha=0.3)
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)


def _short(modalities: str) -> str:
    return modalities if len(modalities) < 24 else f"{modalities.count('+') + 1} modalities"
