"""Every score against its formula, written out row by row."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from literal_scores import CASES, TOLERANCE, TOO_SLOW, make_case
from literal_trained import LITERAL, SETTINGS

from openood_multimodal.postprocessors import fit_all, score_all
from openood_multimodal.postprocessors.run import all_scores
from openood_multimodal.registry import POSTPROCESSORS

TRIED = [(name, params) for name in LITERAL for params in SETTINGS.get(name, [{}])]


def score_of(name: str, params: dict[str, Any]) -> Any:
    return POSTPROCESSORS.get(name).from_preset("openood", **params)


def test_every_score_has_a_literal_version() -> None:
    assert set(all_scores()) == set(LITERAL)


@pytest.mark.parametrize(
    ("name", "params", "case"),
    [(*tried, case) for tried in TRIED for case in CASES if (tried[0], case) not in TOO_SLOW],
    ids=str,
)
def test_is_the_formula(name: str, params: dict[str, Any], case: str) -> None:
    problem = make_case(case)
    score = score_of(name, params)
    conf = score.fit(problem.train, problem.val, problem.head).score(problem.test).conf
    np.testing.assert_allclose(
        conf, LITERAL[name](problem, **params), rtol=TOLERANCE.get(name, 1e-6), atol=1e-8
    )


def test_together_they_give_what_each_gives_alone() -> None:
    problem = make_case("more_rows_than_columns")
    scores = [score_of(name, params) for name, params in TRIED]
    fit_all(scores, problem.train, problem.val, problem.head)
    found = score_all(scores, {"test": problem.test})["test"]
    for (name, params), (pred, conf) in zip(TRIED, found, strict=True):
        alone = score_of(name, params).fit(problem.train, problem.val, problem.head).score(problem.test)
        np.testing.assert_allclose(conf, alone.conf, rtol=1e-9, err_msg=name)
        np.testing.assert_array_equal(pred, alone.pred, err_msg=name)
