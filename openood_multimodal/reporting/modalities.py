"""Modalities compared: the same scores on one modality, on pairs, on all together, trained alike.

This is the comparison with image OOD detection that MultiOOD opens with (Figure 1, Table 9): a method made for
one input, given one modality or the concatenation of several.
"""

from __future__ import annotations

import pandas as pd

from .aggregate import mean_std, over_scores, paired_differences, signed_interval
from .methods import TITLES, in_order

BASELINE = "multimodal_baseline"


def by_size(modalities: pd.Series | list[str]) -> list[str]:
    """Return the distinct sets (``"a+b"``), single modalities first."""
    return sorted(dict.fromkeys(modalities), key=lambda text: text.count("+"))


def modality_table(summaries: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return the text table of one benchmark and training: a row a method, a column a set of modalities.

    Args:
        summaries: rows of `aggregate.summary` with one benchmark and one training.
        metric: ``"AUROC"`` or ``"FPR@95"``.
    """
    rows = summaries.assign(method=summaries["postprocessor"])
    sets = by_size(rows["modalities"])
    cells: dict[str, dict[str, str]] = {}
    for method in in_order(list(rows["method"]), TITLES):
        part = rows[rows["method"] == method].set_index("modalities")
        values = part[metric].round(2)
        best = values.min() if metric == "FPR@95" else values.max()
        cells[method] = {
            name: mean_std(part.loc[name, metric], part.loc[name, f"{metric}_std"])
            + (" *" if values[name] == best else "  ")
            for name in sets
            if name in part.index
        }
    table = pd.DataFrame.from_dict(cells, orient="index").fillna("")[sets]
    accuracy = rows.groupby("modalities")["ACC"].first()
    table.loc["(ID accuracy)"] = {name: f"{accuracy[name]:.2f}  " for name in sets}
    table.insert(0, "method", [TITLES.get(name, name) for name in table.index])
    return table


def modality_differences(frame: pd.DataFrame) -> pd.DataFrame:
    """Return paired differences of every larger set of modalities and each of its proper subsets.

    Args:
        frame: as `aggregate.records_frame` returns it.

    Returns:
        As `aggregate.paired_differences`, with ``modalities`` and ``reference`` in place of the trainings; the mean
        over scores is among the scores.
    """
    sets = by_size(frame["modalities"])
    pairs = [
        (larger, smaller)
        for larger in sets
        for smaller in sets
        if set(smaller.split("+")) < set(larger.split("+"))
    ]
    both = pd.concat([frame, over_scores(frame)])
    return paired_differences(both, pairs, column="modalities")


def difference_table(differences: pd.DataFrame, training: str, scores: tuple[str, ...]) -> pd.DataFrame:
    """Return the text table of `modality_differences` for one training and some scores."""
    rows = []
    if differences.empty:
        return pd.DataFrame()
    chosen = differences[differences["training"] == training]
    for key, part in chosen.groupby(["benchmark", "modalities", "reference"], sort=False):
        row = {"benchmark": key[0], "comparison": f"{key[1]} - {key[2]}"}
        for score in scores:
            for metric in ("AUROC", "FPR@95"):
                found = part[(part["postprocessor"] == score) & (part["metric"] == metric)]
                row[f"Δ{metric}, {TITLES.get(score, score)}"] = (
                    ""
                    if found.empty
                    else signed_interval(*found.iloc[0][["difference", "ci_low", "ci_high"]])
                )
        rows.append(row)
    return pd.DataFrame(rows)
