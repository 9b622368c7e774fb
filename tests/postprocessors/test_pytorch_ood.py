"""Native scores beside pytorch-ood's detectors, on the same arrays: AUROC and FPR@95.

Where they differ, the native one has the figures of the formula written out in float64.  These tests run where
pytorch-ood is installed (0.4.0 is what they were written against; it needs torchvision)::

    pip install pytorch-ood==0.4.0 && python -m pytest tests/postprocessors/test_pytorch_ood.py
"""

from __future__ import annotations

from typing import Any

import numpy as np
import parity  # scripts/openood_pages
import pytest
from score_parity import figures

from benchmarks.parts.methods import Problem, PytorchOOD, sized
from benchmarks.parts.pytorch_ood_detectors import DETECTORS

pytest.importorskip("pytorch_ood")

CASES = {case.name: case for case in parity.SCORE_CASES}
PARAMETERS: dict[str, dict[str, Any]] = {  # all training rows
    "nac": {"valid_num": 10_000},
    "nnguide": {"K": 10, "alpha": 1.0},
}
FEW_ROWS = ("fewer_rows_than_columns", "large_activations")
DIFFERENT: set[tuple[str, str]] = {
    *(("temperature_scaling", case) for case in CASES),  # its L-BFGS steps stop before the minimum
    *(
        ("vra", case) for case in CASES
    ),  # thresholds of each column, and small activations raised to the lower one
    *(("nac", case) for case in CASES),  # other boundaries of the states
    # float32 inverses of singular scatters, to which 1e-6 is added
    *((score, case) for score in ("mds", "rmds") for case in FEW_ROWS),
    # probabilities in float32: rounded to 1, or cut off at 1e-7
    *((score, "sure_predictions") for score in ("msp", "gen", "entropy")),
    *((score, "large_activations") for score in ("klm", "odin")),
    *((score, "large_activations") for score in ("pnml", "vim")),  # in float32
    *((score, "ties") for score in ("ash", "ash_p", "ash_s")),  # which of equal activations torch.topk keeps
}
REFUSED = {("she", "large_activations")}  # it wants a training row of each class that is predicted right


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("score", DETECTORS)
def test_native_and_pytorch_ood_agree_or_native_is_nearer_to_float64(score: str, case: str) -> None:
    given = CASES[case]

    def theirs(problem: parity.Problem) -> Any:
        whole = Problem(*problem, given.neighbours, given.vim_dim)
        detector = PytorchOOD(score, whole)
        if (score, case) in REFUSED:
            with pytest.raises(ValueError, match="No correct predictions"):
                detector.fit(whole)
            return np.zeros(len(problem.test))
        detector.fit(whole)
        return detector.score(whole).conf

    parameters = PARAMETERS.get(score) or sized(score, given.neighbours, given.vim_dim)
    ours, other, exact = figures(given, score, parameters, theirs)
    if (score, case) not in DIFFERENT | REFUSED:
        assert ours == pytest.approx(other, abs=parity.LIMIT)
    assert ours == pytest.approx(exact, abs=parity.LIMIT)
