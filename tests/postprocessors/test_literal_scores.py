"""Every score against its formula, written out row by row; and what it does with odd inputs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from literal_scores import CASES, TOLERANCE, TOO_SLOW, make_case
from literal_trained import LITERAL, SETTINGS, TRAINED

from openood_multimodal.arrays import LinearHead
from openood_multimodal.errors import UserError
from openood_multimodal.postprocessors import fit_all, score_all
from openood_multimodal.postprocessors.run import all_scores
from openood_multimodal.registry import POSTPROCESSORS

TRIED = [(name, params) for name in LITERAL for params in SETTINGS.get(name, [{}])]
SMALL = {
    **{name: SETTINGS.get(name, [{}])[0] for name in all_scores()},
    "flow": {"epochs": 1},
}


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


def odd(kind: str) -> Any:
    problem = make_case("more_rows_than_columns")
    changed = []
    for each in problem[:3]:
        features = np.array(each.features)
        if kind == "constant columns":
            features[:, :5], features[:, 5:8] = 0.0, 3.0
        elif kind == "duplicated rows":
            features[:] = features[each.labels]
        elif kind == "float16":
            features = features.astype(np.float16)
        elif kind == "a row of zeros":
            features[0] = 0.0
        changed.append(replace(each, features=features))
    if kind == "one class":
        own = {
            name: LinearHead(each.weight[:1], each.bias[:1])
            for name, each in problem.head.modality_heads.items()
        }
        head = LinearHead(problem.head.weight[:1], problem.head.bias[:1], own)
        changed = [replace(each, labels=np.zeros(len(each), np.int64)) for each in changed]
        return (*changed, head)
    return (*changed, problem.head)


@pytest.mark.parametrize(
    "kind", ["constant columns", "duplicated rows", "float16", "a row of zeros", "one class"]
)
@pytest.mark.parametrize("name", SMALL)
def test_odd_inputs_give_finite_confidences_or_one_error(name: str, kind: str) -> None:
    train, val, test, head = odd(kind)
    score = score_of(name, SMALL[name])
    if (name, kind) in REFUSED:
        with pytest.raises(UserError, match=f"^{name}"):
            score.fit(train, val, head).score(test)
        return
    conf = score.fit(train, val, head).score(test).conf
    assert np.isfinite(conf).all()
    if kind == "float16":
        exact = [replace(each, features=each.features.astype(np.float64)) for each in (train, val, test)]
        same = score_of(name, SMALL[name]).fit(*exact[:2], head).score(exact[2]).conf
        # what float32 training makes of rounding in its input
        np.testing.assert_allclose(conf, same, rtol=1e-3 if name in TRAINED else 1e-6)


REFUSED = {("vim", "duplicated rows"), ("nl_invariants", "duplicated rows")}
"""Scores and inputs for which an error is the right answer."""


@pytest.mark.parametrize("where", [0, 1, 2], ids=["train", "val", "test"])
@pytest.mark.parametrize("name", SMALL)
def test_nan_is_one_error(name: str, where: int) -> None:
    problem = list(make_case("more_rows_than_columns"))
    features = np.array(problem[where].features)
    features[3, 2] = np.nan
    problem[where] = replace(problem[where], features=features)
    train, val, test, head = problem
    score = score_of(name, SMALL[name])
    read = where == 2 or ("train", "val")[where] in score.needs
    if not read:
        score.fit(train, val, head).score(test)
        return
    with pytest.raises(UserError, match=r"hold nan at row 3"):
        score.fit(train, val, head).score(test)
