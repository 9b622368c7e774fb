"""Methods, as MultiOOD's tables name them: a score, or LogitNorm, under one of three trainings.

LogitNorm is a training read with MSP; in a table of methods it stands as a row beside the scores.
"""

from __future__ import annotations

import pandas as pd

TITLES = {
    "msp": "MSP",
    "ebo": "Energy",
    "mls": "MaxLogit",
    "mds": "Mahalanobis",
    "react": "ReAct",
    "ash": "ASH",
    "gen": "GEN",
    "knn": "KNN",
    "vim": "ViM",
    "logitnorm": "LogitNorm",
}
"""The paper's ten methods, in its order."""

LOGITNORM_OF = {
    "multimodal_logitnorm": "multimodal_baseline",
    "a2d_logitnorm": "a2d",
    "a2d_npmix_logitnorm": "a2d_npmix",
}
"""LogitNorm's trainings → the training in whose column they stand."""

COLUMNS = {
    "multimodal_baseline": "baseline",
    "multimodal_multihead": "multi-head",
    "a2d": "A2D",
    "a2d_npmix": "A2D+NP-Mix",
}
"""Training → its column's title."""


def as_methods(frame: pd.DataFrame) -> pd.DataFrame:
    """Return ``frame`` with a column ``method``, and LogitNorm's MSP rows as the method ``logitnorm``.

    Other scores of LogitNorm's trainings are dropped, as in the paper: LogitNorm is one method.

    Args:
        frame: with the columns ``training`` and ``postprocessor``.
    """
    is_logitnorm = frame["training"].isin(list(LOGITNORM_OF))
    kept = frame[~is_logitnorm | (frame["postprocessor"] == "msp")].copy()
    normed = kept["training"].isin(list(LOGITNORM_OF))
    kept["method"] = kept["postprocessor"].where(~normed, "logitnorm")
    kept["training"] = kept["training"].replace(LOGITNORM_OF)
    return kept


def in_order(names: pd.Series | list[str], known: dict[str, str]) -> list[str]:
    """Return the distinct ``names``, those of ``known`` first and in its order."""
    present = list(dict.fromkeys(names))
    return [name for name in known if name in present] + [name for name in present if name not in known]
