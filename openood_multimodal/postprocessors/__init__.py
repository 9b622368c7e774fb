"""Scores, one a module, each with its metadata: embeddings in, confidences out.

Importing this package registers them in `openood_multimodal.registry.POSTPROCESSORS`.
"""

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
