"""One evaluator class under two names, ``near_ood`` and ``far_ood``; metrics and their 95 % intervals."""

from ..vocabulary import METRICS
from .metrics import Metric, auroc, compute_ood_metrics, mean_metrics
from .ood import MultimodalOODEvaluator
from .outputs import OODResult, write_results_csv

__all__ = [
    "METRICS",
    "Metric",
    "MultimodalOODEvaluator",
    "OODResult",
    "auroc",
    "compute_ood_metrics",
    "mean_metrics",
    "write_results_csv",
]
