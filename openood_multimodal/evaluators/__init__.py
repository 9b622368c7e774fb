"""`evaluate_sets`: scores in, metrics with 95 % intervals out; and OpenOOD's evaluator around it."""

from ..vocabulary import METRICS
from .metrics import Metric, auroc, compute_ood_metrics, mean_metrics
from .ood import MultimodalOODEvaluator
from .outputs import OODResult, SetScores, write_results_csv
from .sets import evaluate_sets

__all__ = [
    "METRICS",
    "Metric",
    "MultimodalOODEvaluator",
    "OODResult",
    "SetScores",
    "auroc",
    "compute_ood_metrics",
    "evaluate_sets",
    "mean_metrics",
    "write_results_csv",
]
