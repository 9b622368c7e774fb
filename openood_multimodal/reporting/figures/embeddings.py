"""Figures of stored embeddings: a map of them, and how far the modalities' predictions are apart."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from ...arrays import Embeddings
from ...evaluators.curves import prediction_distances
from ...evaluators.intervals import Z95
from ...evaluators.outputs import ID_NAME
from .runs import Named, Options, RunFiles
from .style import ID_COLOUR, INK, OOD_COLOUR, legend_below, panels

MOST_POINTS = 1000
"""Samples of a set in the map; more hide each other."""

_OOD_COLOURS = (OOD_COLOUR, "#E69F00", "#CC79A7", "#009E73", "#000000")
_MARKERS = ("^", "s", "D", "v", "P")


def embedding_map(runs: Sequence[RunFiles], options: Options) -> Iterator[Named]:
    """Yield the concatenated embeddings of ID and OOD test samples in the plane, a panel a run (Figure 9)."""
    figure, grid = panels(1, len(runs), 2.0 if len(runs) > 1 else 3.2)
    for axes, run in zip(grid[0], runs, strict=True):
        sets = {name: _sample(each.features) for name, each in run.embeddings().items()}
        place, title = project(np.concatenate(list(sets.values())), options.projection)
        parts = np.split(place, np.cumsum([len(each) for each in sets.values()])[:-1])
        size = float(np.clip(2500 / len(place), 1.5, 8))
        for number, (name, part) in enumerate(zip(sets, parts, strict=True)):
            known = name == ID_NAME
            kind = (number - 1) % len(_OOD_COLOURS)
            colour, marker = (ID_COLOUR, "o") if known else (_OOD_COLOURS[kind], _MARKERS[kind])
            label = "ID" if known else f"OOD: {name}"
            axes.scatter(*part.T, s=size, c=colour, marker=marker, lw=0, alpha=0.65, label=label)
        axes.set_title(f"{run.name}, {title}")
        axes.set(xticks=[], yticks=[])
        for spine in axes.spines.values():
            spine.set_visible(True)
    legend_below(figure, grid[0, 0], 3, markerscale=2)
    yield "embeddings", figure


def project(features: NDArray[Any], projection: str = "tsne", seed: int = 0) -> tuple[NDArray[Any], str]:
    """Return the rows in the plane ``[N, 2]``, and the projection's title.

    Args:
        features: float ``[N, D]``.
        projection: ``"tsne"`` (scikit-learn's), ``"umap"`` (of umap-learn; PCA where that is missing) or ``"pca"``.
        seed: of t-SNE and UMAP.

    Warns:
        UserWarning: where umap-learn is missing.
    """
    from sklearn.decomposition import PCA

    if projection == "umap" and find_spec("umap") is None:
        warnings.warn(
            "umap-learn isn't installed, so the embeddings' figure shows their principal components; install it: "
            "pip install umap-learn.",
            stacklevel=2,
        )
        projection = "pca"
    rows = features.astype(np.float64)
    fewest = min(rows.shape)
    if projection == "pca" or len(rows) < 4:
        if fewest < 2:
            return np.column_stack([rows[:, 0], np.zeros(len(rows))]), "first column"
        return PCA(2, random_state=seed).fit_transform(rows), "PCA"
    if fewest > 50:
        rows = PCA(50, random_state=seed).fit_transform(rows)
    if projection == "umap":
        from umap import UMAP

        return np.asarray(UMAP(random_state=seed).fit_transform(rows)), "UMAP"
    from sklearn.manifold import TSNE

    perplexity = min(30.0, (len(rows) - 1) / 3)
    start = "pca" if rows.shape[1] > 1 else "random"
    with threadpool_limits(1):  # small arrays, and the same figure on every machine
        return TSNE(2, perplexity=perplexity, init=start, random_state=seed).fit_transform(rows), "t-SNE"


def _sample(features: NDArray[Any]) -> NDArray[Any]:
    if len(features) <= MOST_POINTS:
        return np.asarray(features)
    rows = np.random.default_rng(0).choice(len(features), MOST_POINTS, replace=False)
    return np.asarray(features[np.sort(rows)])


def discrepancy(runs: Sequence[RunFiles], options: Options) -> Iterator[Named]:
    """Yield the L1 distance between the modalities' predictions on ID and on OOD samples, a panel a run (Figure 4)."""
    sets = [run.embeddings(modality_logits=True) for run in runs]
    figure, grid = panels(len(runs), 1, 0.5 + 1.15 * len(runs), sharex=True)
    edges = np.linspace(0, 2, 41)
    for axes, run, found in zip(grid[:, 0], runs, sets, strict=True):
        known, *others = [prediction_distances(np.asarray(each.modality_logits)) for each in found.values()]
        unknown = np.concatenate(others)
        for values, colour, label in ((known, ID_COLOUR, "ID"), (unknown, OOD_COLOUR, "OOD")):
            heights = np.histogram(values, edges)[0] / len(values)
            axes.stairs(heights, edges, fill=True, color=colour, alpha=0.3, lw=0)
            axes.stairs(heights, edges, color=colour, lw=0.9, label=label)
            axes.axvline(values.mean(), 0, 0.8, color=colour, lw=0.9, ls="--")
        half = Z95 * np.sqrt(
            sum(each.var(ddof=1) / len(each) if len(each) > 1 else 0 for each in (known, unknown))
        )
        text = f"mean OOD - ID: {unknown.mean() - known.mean():+.2f} ± {half:.2f}"
        axes.set_ylim(0, axes.get_ylim()[1] * 1.25)
        axes.text(0.98, 0.97, text, transform=axes.transAxes, ha="right", va="top", fontsize=6, color=INK)
        axes.set_title(run.name)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
    grid[-1, 0].set_xlim(0, 2)
    grid[-1, 0].set_xlabel("L1 distance between the modalities' predictions")
    legend_below(figure, grid[0, 0])
    yield "discrepancy", figure


def predictions(runs: Sequence[RunFiles], options: Options) -> Iterator[Named]:
    """Yield each modality's softmax on one ID and one OOD sample of each run (Figure 3).

    The samples are those whose distance between the modalities' predictions is the median of their set.
    """
    for run in runs:
        sets = run.embeddings(modality_logits=True)
        found = dict(zip(sets, map(_median_sample, sets.values()), strict=True))
        count, names = len(found), sets[ID_NAME].modalities
        figure, grid = panels(len(names), count, 0.6 + 0.7 * len(names), width=max(3.3, 1.65 * count),
                              sharex=True, sharey=True)  # fmt: skip
        for column, (set_name, (p, distance)) in enumerate(found.items()):
            colour = ID_COLOUR if set_name == ID_NAME else OOD_COLOUR
            for axes, values in zip(grid[:, column], p, strict=True):
                axes.bar(np.arange(len(values)), values, color=colour, width=0.8)
                axes.set_ylim(0, 1.05)
            title = "ID" if set_name == ID_NAME else f"OOD: {set_name}"
            grid[0, column].set_title(f"{title} (L1 {distance:.2f})")
            grid[-1, column].set_xlabel("class")
        for axes, name in zip(grid[:, 0], names, strict=True):
            axes.set_ylabel(name)
        yield "predictions" if len(runs) == 1 else f"predictions-{run.name}", figure


def _median_sample(each: Embeddings) -> tuple[NDArray[Any], float]:
    logits = np.asarray(each.modality_logits)
    distances = prediction_distances(logits)
    row = int(np.argsort(distances, kind="stable")[len(distances) // 2])
    return softmax(logits[row].astype(np.float64), axis=-1), float(distances[row])
