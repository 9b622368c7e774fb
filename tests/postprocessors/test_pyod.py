"""PyOD's detectors as an engine."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import pytest
from literal_scores import make_case, unit

from openood_multimodal import evaluate
from openood_multimodal.errors import MissingPackageError, UserError
from openood_multimodal.postprocessors.run import build, choose, resolve

with_pyod = pytest.mark.skipif(
    importlib.util.find_spec("pyod") is None, reason='no PyOD: pip install "openood-multimodal[pyod]"'
)


def test_without_pyod_the_message_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "pyod" else found(name, *more)
    )
    with pytest.raises(
        MissingPackageError, match=r'pyod/ECOD needs PyOD: pip install "openood-multimodal\[pyod\]"'
    ):
        choose("pyod/ECOD")
    with pytest.raises(UserError, match="ECOD"):  # the registry's own answer
        choose("ECOD")


@with_pyod
@pytest.mark.parametrize("name", ["ECOD", "IForest", "HBOS", "KNN"])
def test_scores_are_pyods(name: str) -> None:
    problem = make_case("more_rows_than_columns")
    score = build(resolve(f"pyod/{name}")).fit(problem.train, None, problem.head)
    assert score.name == f"pyod-{name}"
    assert score.engine["name"] == "pyod"
    theirs = score.kind(**score.parameters).fit(unit(problem.train.features))
    pred, conf = score.score(problem.test)
    np.testing.assert_allclose(conf, -theirs.decision_function(unit(problem.test.features)), rtol=1e-9)
    np.testing.assert_array_equal(pred, problem.head.logits(problem.test.features).argmax(axis=1))


@with_pyod
@pytest.mark.parametrize(
    ("name", "parameters", "said"),
    [
        ("ECODD", {}, r"PyOD has no detector 'ECODD'.*ecod"),
        ("KNN", {"n_neighbours": 3}, r"KNN\.n_neighbours is not a parameter.*n_neighbors"),
        ("base", {}, r"has no class 'base'"),
        ("IForest", {"contamination": 7}, r"IForest: PyOD refuses its parameters"),
    ],
)
def test_a_wrong_name_or_parameter(name: str, parameters: dict[str, Any], said: str) -> None:
    problem = make_case("more_rows_than_columns")
    with pytest.raises(UserError, match=said):
        build(resolve(f"pyod/{name}"), parameters=parameters).fit(problem.train, None, problem.head)


@with_pyod
def test_beside_native_scores() -> None:
    problem = make_case("more_rows_than_columns")
    sets = [(each.features, each.labels) for each in (problem.train, problem.test)]
    head = (problem.head.weight, problem.head.bias)
    table = evaluate(
        sets[0],
        sets[1],
        {"far": 5 * sets[1][0][:, ::-1]},
        head,
        postprocessors="msp,pyod/KNN",
        parameters={"pyod/KNN": {"n_neighbors": 3}},
    )
    assert list(table["postprocessor"]) == ["msp", "pyod-KNN"]
