"""The figure of an inspection: what share of each class is accepted, by each score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .style import FAINT, legend_below, panels, style_of, title_of

MOST_CLASSES, MOST_SCORES = 15, 6

Rows = Sequence[Mapping[str, Any]]


def accepted_by_class(id_classes: Rows, ood_classes: Rows, scores: Sequence[str], tpr: float) -> Any:
    """Return the figure: ID classes above OOD classes, those with the most errors first, at most 15 each.

    Args:
        id_classes: rows with ``postprocessor``, ``class``, ``share`` (of its samples that are rejected).
        ood_classes: rows with ``postprocessor``, ``dataset``, ``class``, ``share`` (of its samples that are accepted).
        scores: the postprocessors to draw; the first six are.
        tpr: the share of ID samples that is to be accepted; a line.
    """
    shown = list(scores)[:MOST_SCORES]
    known = _shares([{**row, "dataset": ""} for row in id_classes], shown)
    unknown = _shares(ood_classes, shown)
    heights = [1 + len(known), 1 + len(unknown)]
    size = 0.9 + 0.13 * sum(heights)
    figure, grid = panels(2, 1, size, sharex=True, height_ratios=heights)
    titles = "ID classes", "OOD classes"
    for axes, title, rows, right in zip(grid[:, 0], titles, (known, unknown), (1.0, 0.0), strict=True):
        for name in shown:
            style = style_of(name)
            shares = [1 - row[name] if right else row[name] for row in rows.values()]
            axes.scatter(shares, range(len(rows)), s=9, color=style.colour, marker=style.marker, lw=0,
                         alpha=0.8, label=title_of(name), clip_on=False, zorder=3)  # fmt: skip
        axes.set_yticks(range(len(rows)), list(rows))
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlim(0, 1)
        axes.axvline(tpr, color=FAINT, lw=0.6, ls=":", zorder=0)
        axes.grid(axis="y")
        axes.set_title(title, loc="left")
    grid[1, 0].set_xlabel("share accepted as ID")
    legend_below(figure, grid[0, 0], 3)
    return figure


def _shares(rows: Rows, scores: Sequence[str]) -> dict[str, dict[str, float]]:
    """Return class → score → share of errors, for the classes with the most errors on average."""
    found: dict[str, dict[str, float]] = {}
    several = len({row["dataset"] for row in rows}) > 1
    for row in rows:
        named = row["class"] or row["dataset"]
        label = f"{row['dataset']}: {named}" if several and row["class"] else named
        found.setdefault(label, {})[row["postprocessor"]] = row["share"]
    order = sorted(found, key=lambda label: -sum(found[label][name] for name in scores))
    return {label: found[label] for label in order[:MOST_CLASSES]}
