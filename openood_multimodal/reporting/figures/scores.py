"""Figures of the scores of single samples: ROC, precision-recall, histograms, reliability, risk-coverage."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...evaluators.curves import precision_recall, reliability, risk_coverage, roc_curve
from ...evaluators.metrics import RECALL, count_metrics, score_counts
from ...evaluators.outputs import ID_NAME, SetScores
from .runs import Named, NotDrawn, Options, RunFiles
from .style import FAINT, ID_COLOUR, INK, OOD_COLOUR, legend_below, panels, style_of, title_of

MOST_LINES, MOST_ROWS = 6, 4
"""Postprocessors in one figure, where none are named: lines of a panel, rows of panels."""
SETTLED = 0.05
"""Coverage from which on risks decide the axis; those of the first few samples jump."""


def roc(runs: Sequence[RunFiles], options: Options) -> Iterator[Named]:
    """Yield the ROC of each OOD set, a panel a run."""

    def draw(axes: Any, name: str, known: SetScores, unknown: SetScores) -> None:
        style, found = style_of(name), _metrics(known, unknown)
        label = f"{title_of(name)}: {found['AUROC']:.1f}"
        axes.plot(*roc_curve(known.conf, unknown.conf), color=style.colour, ls=style.dash, label=label)

    for name, figure, grid in _lines(runs, options, "roc", "AUROC (%)", draw):
        for axes in grid:
            axes.axhline(RECALL, color=FAINT, lw=0.6, zorder=0)
            axes.plot([0, 1], [0, 1], color=FAINT, lw=0.6, ls=":", zorder=0)
            axes.set_xlabel("ID samples rejected (FPR)")
        grid[0].set_ylabel("OOD samples rejected (TPR)")
        grid[0].set_yticks([0, 0.25, 0.5, 0.75, RECALL])
        yield name, figure


def precision_recall_curves(runs: Sequence[RunFiles], options: Options) -> Iterator[Named]:
    """Yield precision against recall of each OOD set, OOD positive, a panel a run; the line is the share of OOD."""
    shares: dict[Any, float] = {}
    lowest = [1.0]

    def draw(axes: Any, name: str, known: SetScores, unknown: SetScores) -> None:
        style, found = style_of(name), _metrics(known, unknown)
        shares[axes] = len(unknown.conf) / (len(known.conf) + len(unknown.conf))
        recall, precision = precision_recall(known.conf, unknown.conf)
        lowest.append(float(precision.min()))
        label = f"{title_of(name)}: {found['AUPR_OUT']:.1f}"
        axes.plot(recall, precision, color=style.colour, ls=style.dash, label=label)

    for name, figure, grid in _lines(runs, options, "precision_recall", "AUPR_OUT (%)", draw):
        for axes in grid:
            axes.axhline(shares[axes], color=FAINT, lw=0.6, ls=":", zorder=0)
            axes.set_xlabel("recall (OOD samples rejected)")
        grid[0].set_ylim(bottom=np.floor(10 * min(*lowest, *shares.values())) / 10 - 0.02)
        grid[0].set_ylabel("precision")
        yield name, figure


def _lines(
    runs: Sequence[RunFiles],
    options: Options,
    name: str,
    legend: str,
    draw: Callable[[Any, str, SetScores, SetScores], None],
) -> Iterator[tuple[str, Any, list[Any]]]:
    """Yield name, figure and panels for each OOD set that all runs have; each panel has its own legend below."""
    for ood_set in _shared_sets(runs):
        chosen = runs[0].best(ood_set, MOST_LINES, options.postprocessors)
        figure, grid = panels(1, len(runs), 3.0 if len(runs) > 1 else 3.5, sharey=True)
        for axes, run in zip(grid[0], runs, strict=True):
            for each in _in(run, chosen):
                draw(axes, each, run.scores[each][ID_NAME], run.scores[each][ood_set])
            axes.set(xlim=(0, 1), ylim=(0, 1.02), xticks=[0, 0.5, 1])
            axes.set_title(_title(runs, run, ood_set))
            many = len(runs) > 1
            place = (0.5, -0.27 if many else -0.15)
            axes.legend(title=legend, title_fontsize=6, loc="upper center", bbox_to_anchor=place,
                        ncols=1 if many else 2, borderaxespad=0)  # fmt: skip
        yield f"{name}-{ood_set}", figure, list(grid[0])


def histogram(runs: Sequence[RunFiles], options: Options) -> Iterator[Named]:
    """Yield the distributions of ID and OOD scores: a row a postprocessor, a column a run (Figure 8)."""
    for ood_set in _shared_sets(runs):
        chosen = runs[0].best(ood_set, MOST_ROWS, options.postprocessors)
        height = 0.45 + (1.0 if len(runs) > 1 else 1.15) * len(chosen)
        figure, grid = panels(len(chosen), len(runs), height)
        for row, name in zip(grid, chosen, strict=True):
            for axes, run in zip(row, runs, strict=True):
                if name in run.scores:
                    _distributions(axes, run.scores[name][ID_NAME], run.scores[name][ood_set])
                axes.set_yticks([])
                axes.locator_params(axis="x", nbins=4)
                axes.spines["left"].set_visible(False)
            row[0].set_ylabel(title_of(name))
        for axes, run in zip(grid[0], runs, strict=True):
            axes.set_title(_title(runs, run, ood_set))
        for axes in grid[-1]:
            axes.set_xlabel("score (higher = more ID)")
        legend_below(figure, grid[0, 0])
        yield f"histogram-{ood_set}", figure


def _distributions(axes: Any, known: SetScores, unknown: SetScores) -> None:
    both = np.concatenate([known.conf, unknown.conf]).astype(np.float64)
    low, high = (
        np.quantile(both[np.isfinite(both)], [0.005, 0.995]) if np.isfinite(both).any() else (0.0, 1.0)
    )
    edges = np.linspace(low, high if high > low else low + 1.0, 31)
    for conf, colour, label in ((known.conf, ID_COLOUR, "ID"), (unknown.conf, OOD_COLOUR, "OOD")):
        heights = np.histogram(np.clip(conf, edges[0], edges[-1]), edges)[0] / len(conf)
        axes.stairs(heights, edges, fill=True, color=colour, alpha=0.3, lw=0)
        axes.stairs(heights, edges, color=colour, lw=0.9, label=label)
    axes.set_ylim(0, axes.get_ylim()[1] * 1.22)
    found = _metrics(known, unknown)
    text = f"AUROC {found['AUROC']:.1f}, FPR@95 {found['FPR@95']:.1f}"
    axes.text(0.5, 0.99, text, transform=axes.transAxes, ha="center", va="top", fontsize=5.8, color=INK)


def reliability_diagram(runs: Sequence[RunFiles], options: Options) -> Iterator[Named]:
    """Yield the accuracy of ID predictions by their softmax probability, a panel a run."""
    figure, grid = panels(1, len(runs), 1.9 if len(runs) > 1 else 2.9, sharey=True)
    for axes, run in zip(grid[0], runs, strict=True):
        confidence, right = _probabilities(run)
        found = reliability(confidence, right)
        axes.plot([0, 1], [0, 1], color=FAINT, lw=0.6, ls=":", zorder=0)
        axes.vlines(found.confidence, found.confidence, found.accuracy, color=OOD_COLOUR, lw=0.9, label="gap")
        sizes = 5 + 60 * found.samples / found.samples.sum()
        axes.scatter(found.confidence, found.accuracy, s=sizes, color=ID_COLOUR, lw=0, zorder=3, label="bin")
        axes.set(xlim=(0, 1.02), ylim=(0, 1.02), xticks=[0, 0.5, 1], xlabel="mean probability")
        axes.set_title(_title(runs, run, "ID test set"))
        text = f"ECE {100 * found.ece:.1f} %\naccuracy {100 * np.mean(right):.1f} %"
        axes.text(0.97, 0.04, text, transform=axes.transAxes, ha="right", fontsize=6, color=INK)
    grid[0, 0].set_ylabel("accuracy")
    yield "reliability", figure


def _probabilities(run: RunFiles) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return the probability of each ID prediction, and whether it is right: from native MSP's log-odds."""
    engines = {each.engine["name"] for each in run.records if each.postprocessor == "msp"}
    if "msp" not in run.scores or engines != {"native"}:
        raise NotDrawn(
            f"{run.folder} has no scores of the native msp, which are the probabilities of the predictions; score "
            "msp, too."
        )
    known = run.scores["msp"][ID_NAME]
    return 1.0 / (1.0 + np.exp(-known.conf.astype(np.float64))), known.pred == known.label


def risk_coverage_curves(runs: Sequence[RunFiles], options: Options) -> Iterator[Named]:
    """Yield the share of wrong ID predictions among those with the highest scores, a panel a run."""
    figure, grid = panels(1, len(runs), 2.4 if len(runs) > 1 else 2.9, sharey=True)
    top = 0.0
    chosen = runs[0].best(_shared_sets(runs)[0], MOST_LINES, options.postprocessors)
    for axes, run in zip(grid[0], runs, strict=True):
        for name in _in(run, chosen):
            known, style = run.scores[name][ID_NAME], style_of(name)
            coverage, risk = risk_coverage(known.conf, known.pred == known.label)
            label = title_of(name)
            axes.plot(coverage, 100 * risk, color=style.colour, ls=style.dash, label=label)
            top = max(top, 110 * float(risk[coverage >= SETTLED].max()))
        axes.set(xlim=(0, 1), xticks=[0, 0.5, 1], xlabel="coverage")
        axes.set_title(_title(runs, run, "ID test set"))
    grid[0, 0].set_ylabel("risk (% predicted wrongly)")
    grid[0, 0].set_ylim(0, top or 1.0)
    legend_below(figure, grid[0, 0], 3)
    yield "risk_coverage", figure


def _shared_sets(runs: Sequence[RunFiles]) -> list[str]:
    shared = [name for name in runs[0].ood_sets() if all(name in run.ood_sets() for run in runs)]
    if not shared:
        raise NotDrawn(f"{' and '.join(str(run.folder) for run in runs)} share no OOD set.")
    return shared


def _in(run: RunFiles, chosen: Sequence[str]) -> list[str]:
    return [name for name in chosen if name in run.scores]


def _title(runs: Sequence[RunFiles], run: RunFiles, alone: str) -> str:
    return run.name if len(runs) > 1 else f"{run.name}, {alone}"


def _metrics(known: SetScores, unknown: SetScores) -> dict[str, float]:
    found = count_metrics(score_counts(known.conf, unknown.conf), intervals=False)
    return {name: 100 * metric.value for name, metric in found.items()}
