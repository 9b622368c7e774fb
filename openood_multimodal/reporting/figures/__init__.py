"""Figures of runs: `draw` makes those that a run's files allow, in the size of a paper's column.

Scores of single samples, embedding stores and records are read as a test, `openood-mm score` or a suite wrote them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ...errors import ArgumentError, UserError
from ...naming import did_you_mean
from ...progress import progress_bar
from . import correlation, embeddings, records, scores
from .runs import PROJECTIONS, Named, NotDrawn, Options, RunFiles, open_runs
from .style import FORMATS, drawing, save


class Kind(NamedTuple):
    """One kind of figure: what it shows, what draws it, how many runs it takes, and its numbers as text, if any."""

    shows: str
    draw: Callable[[Sequence[RunFiles], Options], Iterator[Named]]
    most: int = 2
    table: Callable[[Sequence[RunFiles], Options], str] | None = None


FIGURES = {
    "roc": Kind("ROC of the postprocessors", scores.roc),
    "precision_recall": Kind("precision-recall of the postprocessors", scores.precision_recall_curves),
    "histogram": Kind(
        "scores of ID and OOD samples; two runs: before and after (Figure 8)", scores.histogram
    ),
    "embeddings": Kind("map of the embeddings: t-SNE, UMAP or PCA (Figure 9)", embeddings.embedding_map),
    "predictions": Kind(
        "each modality's softmax on an ID and an OOD sample (Figure 3)", embeddings.predictions
    ),
    "discrepancy": Kind(
        "distance between the modalities' predictions, ID and OOD", embeddings.discrepancy, 6
    ),
    "discrepancy_auroc": Kind(
        "that distance, OOD - ID, against the AUROC of Energy (Figure 4)",
        correlation.discrepancy_auroc,
        10**6,
        correlation.discrepancy_table,
    ),
    "reliability": Kind("reliability diagram of the ID test set", scores.reliability_diagram),
    "risk_coverage": Kind("risk against coverage of the ID test set", scores.risk_coverage_curves),
    "modalities": Kind("one modality against several (Figure 1)", records.modalities, 10**6),
    "seeds": Kind("FPR@95 and AUROC over seeds and partitions (Figures 12, 13)", records.seeds, 10**6),
    "parameter": Kind(
        "FPR@95 and AUROC by a number of the training: N, alpha (Figures 10, 11)", records.parameter, 10**6
    ),
    "ranks": Kind("ranks of methods over benchmarks", records.ranks, 10**6),
}
"""Figure → what it shows; figure numbers are those of the MultiOOD paper."""


class Drawn(NamedTuple):
    """What `draw` did.

    Attributes:
        files: that were written.
        left_out: figure → why these runs don't allow it.
        texts: tables of the figures that have one.
    """

    files: list[Path]
    left_out: dict[str, str]
    texts: list[str] = []  # noqa: RUF012 - never changed


def draw(
    runs: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str] | None = None,
    only: Sequence[str] = (),
    formats: Sequence[str] = ("png", "pdf"),
    postprocessors: Sequence[str] = (),
    projection: str = "tsne",
    quiet: bool = True,
) -> Drawn:
    """Draw the figures of one run, of two side by side, or of the records of many.

    Args:
        runs: folders, e.g. ``--output-dir`` of `openood-mm score`, what a test wrote, or a suite's; two for before and
            after, in this order.
        out: folder of the figures; ``figures`` in the first run's by default.
        only: names in `FIGURES`; by default all that the runs' files allow.
        formats: of ``png``, ``pdf`` and ``svg``.
        postprocessors: those to draw; by default all, or those with the highest AUROC where they are many.
        projection: of ``embeddings``: ``tsne``, ``umap`` or ``pca``.
        quiet: show no progress.

    Raises:
        UserError: for an unknown name, a folder that is no run's, a figure of ``only`` that can't be drawn, or when
            nothing can.
        MissingPackageError: where matplotlib is missing.
    """
    _check("only", only, tuple(FIGURES))
    _check("formats", formats, FORMATS)
    _check("projection", [projection], PROJECTIONS)
    if not runs or not formats:
        raise UserError("figures take at least one run's folder, and one format.")
    with drawing():
        opened = open_runs([Path(run) for run in runs])
        folder = Path(out) if out is not None else Path(runs[0]) / "figures"
        options = Options(postprocessors, projection)
        files: list[Path] = []
        left_out: dict[str, str] = {}
        texts: list[str] = []
        for name in progress_bar(
            list(only or FIGURES), desc="Figure", unit="figure", leave=False, quiet=quiet
        ):
            try:
                for stem, figure in _figures(FIGURES[name], opened, options):
                    files += save(figure, folder, stem, formats)
                if table := FIGURES[name].table:
                    texts.append(table(opened, options))
            except NotDrawn as error:
                left_out[name] = str(error)
    if left_out and (only or not files):
        raise UserError("; ".join(f"{name} can't be drawn: {why}" for name, why in left_out.items()))
    return Drawn(files, left_out, texts)


def _figures(kind: Kind, runs: Sequence[RunFiles], options: Options) -> Iterator[Named]:
    if len(runs) > kind.most:
        raise NotDrawn(f"it shows at most {kind.most} runs side by side, and {len(runs)} are named.")
    return kind.draw(runs, options)


def _check(argument: str, given: Sequence[str], known: Sequence[str]) -> None:
    for name in given:
        if name not in known:
            raise ArgumentError(
                argument, f"names '{name}'; there are {', '.join(known)}.{did_you_mean(name, known)}"
            )
