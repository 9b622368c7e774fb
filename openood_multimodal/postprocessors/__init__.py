"""Scores, one a module, each with its metadata: embeddings in, confidences out.

The names below are imported when they are asked for, and a score when the registry is, so that a run imports what it
uses.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .ash import ASH as ASH
    from .base import Postprocessor as Postprocessor
    from .discrepancy import Discrepancy as Discrepancy
    from .ebo import EBO as EBO
    from .ensemble import Ensemble as Ensemble
    from .gen import GEN as GEN
    from .knn import KNN as KNN
    from .mds import MDS as MDS
    from .mls import MLS as MLS
    from .msp import MSP as MSP
    from .options import ScoringOptions as ScoringOptions
    from .options import ScoringSettings as ScoringSettings
    from .params import NoParams as NoParams
    from .params import ScoreInfo as ScoreInfo
    from .per_modality import PerModality as PerModality
    from .plan import fit_all as fit_all
    from .plan import score_all as score_all
    from .react import ReAct as ReAct
    from .rows import Rows as Rows
    from .shared import Shared as Shared
    from .training import Needs as Needs
    from .vim import ViM as ViM

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

__all__ = list(_MODULES)


def __getattr__(name: str) -> Any:
    """Import what is asked for."""
    if name in _MODULES:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
