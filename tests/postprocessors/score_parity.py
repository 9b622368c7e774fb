"""AUROC and FPR@95 of a score's native, another package's and literal float64 version, on the same arrays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import parity  # scripts/openood_pages
from literal_scores import Problem
from literal_trained import LITERAL
from numpy.typing import NDArray

from openood_multimodal.arrays import LinearHead, Scores
from openood_multimodal.evaluators.metrics import compute_ood_metrics
from openood_multimodal.registry import POSTPROCESSORS

Figures = list[list[float]]
"""``[[AUROC, FPR@95], ...]``, fractions: native, the other's, float64."""


def figures(
    case: parity.Case, name: str, parameters: dict[str, Any], other: Callable[[Any], NDArray[Any]]
) -> Figures:
    """Fit and score; ``other`` returns the other package's confidences of the problem's test rows."""
    problem = parity.make_problem(case)
    sets = (replace(each, features=each.features.astype(float)) for each in problem[:3])
    head = LinearHead(problem.head.weight.astype(float), problem.head.bias.astype(float))
    native = POSTPROCESSORS.get(name)(**parameters).fit(problem.train, problem.val, problem.head)
    ours: Scores = native.score(problem.test)
    literal = LITERAL[name](Problem(*sets, head), **parameters)
    half = parity.TEST_ROWS
    found = []
    for conf in (ours.conf, other(problem), literal):
        metrics = compute_ood_metrics(
            conf[:half], conf[half:], ours.pred[:half], problem.test.labels[:half], intervals=False
        )
        found.append([metrics["AUROC"].value, metrics["FPR@95"].value])
    return found
