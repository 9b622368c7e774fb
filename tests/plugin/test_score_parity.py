"""Native scores beside OpenOOD's classes of the same names, on the same arrays: AUROC and FPR@95.

Where they differ, the native one is nearer to the formula written out in float64.  OpenOOD is run once, in a process of
its own.
"""

import json
import sys
from pathlib import Path
from typing import Any

import pages  # scripts/openood_pages
import parity
import pytest

from openood_multimodal.errors import UserError
from openood_multimodal.plugin.adapters import OpenOODPostprocessor
from openood_multimodal.plugin.host import find_openood

sys.path.append(str(Path(__file__).resolve().parents[1] / "postprocessors"))
from score_parity import figures

CASES = tuple(case.name for case in parity.SCORE_CASES)
PARAMETERS: dict[str, dict[str, Any]] = {"residual": {"dim": 16}, "nnguide": {"K": 20, "alpha": 1.0}}
SCORES = (
    *("dice", "fdbd", "gradnorm", "klm", "nci", "nnguide", "odin", "relation", "residual", "rmds", "scale"),
    *("she", "temperature_scaling", "vra"),
)
DIFFERENT = {
    *(("temperature_scaling", case) for case in CASES),  # its L-BFGS steps stop before the minimum
    ("rmds", "large_activations"),  # a covariance of rank below D, and class means rounded to float32
    ("odin", "large_activations"),  # probabilities near 1 / C at T = 1000, in float32
}


def _measure() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for case in parity.SCORE_CASES:
        for name in SCORES:
            parameters = PARAMETERS.get(name, {})

            def theirs(p: parity.Problem, name: str = name, parameters: dict[str, Any] = parameters) -> Any:
                # OpenOOD's residual takes what it calls training features from the validation set
                val = p.train if name == "residual" else p.val
                return OpenOODPostprocessor(name, parameters).fit(p.train, val, p.head).score(p.test).conf

            found[f"{name} {case.name}"] = figures(case, name, parameters, theirs)
    return found


@pytest.fixture(scope="module")
def measured() -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delitem(sys.modules, "openood", raising=False)  # another test's stand-in
        try:
            root = find_openood()
        except UserError as error:
            pytest.skip(f"the real OpenOOD is not tested: {error}")
    if not (root / "openood" / "postprocessors" / "vra_postprocessor.py").is_file():
        pytest.skip(f"{root} is older than OpenOOD's main: it lacks some of the postprocessors compared here")
    return pages.ask_process([__file__], root)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("score", SCORES)
def test_native_and_openood_agree_or_native_is_nearer_to_float64(
    measured: dict[str, Any], score: str, case: str
) -> None:
    ours, theirs, exact = measured[f"{score} {case}"]
    if (score, case) not in DIFFERENT:
        assert ours == pytest.approx(theirs, abs=parity.LIMIT)
    assert ours == pytest.approx(exact, abs=parity.LIMIT)


if __name__ == "__main__":
    print(json.dumps(_measure()))
