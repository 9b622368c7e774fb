"""Scores, one a module, each with its metadata: embeddings in, confidences out.

The names below are imported when they are asked for, and a score when the registry is, so that a run imports what it
uses.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .ash import ASH
    from .base import Postprocessor
    from .discrepancy import Discrepancy
    from .ebo import EBO
    from .ensemble import Ensemble
    from .gen import GEN
    from .knn import KNN
    from .mds import MDS
    from .mls import MLS
    from .msp import MSP
    from .options import ScoringOptions, ScoringSettings
    from .params import NoParams, ScoreInfo
    from .per_modality import PerModality
    from .plan import fit_all, score_all
    from .react import ReAct
    from .rows import Rows
    from .shared import Shared
    from .training import Needs
    from .vim import ViM

_MODULES = {
    "ASH": "ash",
    "EBO": "ebo",
    "GEN": "gen",
    "KNN": "knn",
    "MDS": "mds",
    "MLS": "mls",
    "MSP": "msp",
    "Discrepancy": "discrepancy",
    "Ensemble": "ensemble",
    "Needs": "training",
    "NoParams": "params",
    "PerModality": "per_modality",
    "Postprocessor": "base",
    "ReAct": "react",
    "Rows": "rows",
    "ScoreInfo": "params",
    "ScoringOptions": "options",
    "ScoringSettings": "options",
    "Shared": "shared",
    "ViM": "vim",
    "fit_all": "plan",
    "score_all": "plan",
}

__all__ = [
    "ASH",
    "EBO",
    "GEN",
    "KNN",
    "MDS",
    "MLS",
    "MSP",
    "Discrepancy",
    "Ensemble",
    "Needs",
    "NoParams",
    "PerModality",
    "Postprocessor",
    "ReAct",
    "Rows",
    "ScoreInfo",
    "ScoringOptions",
    "ScoringSettings",
    "Shared",
    "ViM",
    "fit_all",
    "score_all",
]


def __getattr__(name: str) -> Any:
    """Import what is asked for."""
    if name in _MODULES:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
