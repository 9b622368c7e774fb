"""Methods, as MultiOOD's tables name them: a postprocessor, or LogitNorm, with a training method; and their papers.

LogitNorm is a training read with MSP; in a table of methods it stands as a row beside the scores.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pandas as pd

from ..escapes import markdown
from .papers import paper_of

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

TRAININGS = {
    "multimodal_baseline": "Cross-entropy",
    "multimodal_multihead": "Multi-head",
    "multimodal_logitnorm": "LogitNorm",
    "a2d": "A2D",
    "a2d_npmix": "A2D + NP-Mix",
    "a2d_logitnorm": "A2D + LogitNorm",
    "a2d_npmix_logitnorm": "A2D + NP-Mix + LogitNorm",
    "a2d_synthesis": "A2D + outlier synthesis",
    "multimodal_contrastive": "Contrastive loss",
    "multimodal_rna": "Relative norm alignment",
    "cross_modal_distillation": "Cross-modal distillation",
    "cross_modal_translation": "Cross-modal translation",
    "acr": "ACR",
    "dpu": "DPU",
    "outlier_exposure": "Outlier exposure",
    "energy_margin": "Energy margins",
    "multimodal_mixoe": "MixOE",
    "dos": "DOS",
    "smod": "SMOD",
}
"""Training method → its title in leaderboards."""


def title_of(name: str, titles: Mapping[str, str]) -> str:
    """Return a name's title; a name without one or a paper is its own.

    OpenOOD's own implementation of a postprocessor (``openood-knn``) has the title and paper of the postprocessor.
    """
    own = name.removeprefix("openood-")
    known = own in titles or paper_of(own) is not None
    return titles.get(own, own) + (" (OpenOOD)" if own != name else "") if known else name


def linked(name: str, titles: Mapping[str, str]) -> str:
    """Return `title_of` for Markdown: a reference to the paper, which `references` defines, where that is known."""
    title = markdown(title_of(name, titles))
    return f"[{title}]" if paper_of(name) else title


def references(names: Iterable[str], titles: Mapping[str, str]) -> list[str]:
    """Return the definitions of the references that `linked` makes of ``names``, sorted."""
    return sorted({f"{linked(name, titles)}: {paper.url}" for name in names if (paper := paper_of(name))})


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
