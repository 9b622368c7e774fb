"""What all scores share: contract, presets, parameters, blocks, read-only inputs, messages."""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from openood_multimodal.arrays import Embeddings, LinearHead, Scores
from openood_multimodal.errors import UserError
from openood_multimodal.postprocessors import (
    ASH,
    EBO,
    GEN,
    KNN,
    MSP,
    Postprocessor,
    ReAct,
    Rows,
    ScoreInfo,
    ViM,
)
from openood_multimodal.registry import POSTPROCESSORS

NAMES = ("ash", "ebo", "gen", "knn", "mds", "mls", "msp", "react", "vim")
SMALL: dict[str, dict[str, Any]] = {"vim": {"dim": 6}, "knn": {"K": 5}}


def make(name: str, **more: Any) -> Postprocessor:
    return POSTPROCESSORS.get(name)(**{**SMALL.get(name, {}), **more})


def test_all_nine_are_registered() -> None:
    assert set(NAMES) <= set(POSTPROCESSORS.names())
    for name in NAMES:
        cls = POSTPROCESSORS.get(name)
        assert cls.name == name
        assert cls.info.url.startswith("https://")
        assert 2015 < cls.info.year < 2026
        assert cls.needs <= {"train", "val"}
        assert set(cls.presets) == {"openood", "multiood"}
        assert [k.removesuffix("_list") for k in cls.sweep] == [
            f.name for f in dataclasses.fields(cls.Params)
        ][: len(cls.sweep)]


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
@pytest.mark.parametrize("name", NAMES)
def test_contract(make_problem: Any, name: str, dtype: str) -> None:
    problem = make_problem(dtype=dtype)
    before = [a.copy() for e in problem[:3] for a in (e.features, e.labels)]
    score = make(name).fit(problem.train, problem.val, problem.head)
    pred, conf = score.score(problem.test)
    assert pred.dtype == np.int64
    assert pred.shape == conf.shape == (len(problem.test),)
    assert np.isfinite(conf).all()
    after = [
        a for e in problem[:3] for a in (e.features, e.labels)
    ]  # read-only, so a write would have raised
    for old, new in zip(before, after, strict=True):
        np.testing.assert_array_equal(old, new)
    again = score.score(problem.test)
    np.testing.assert_array_equal(conf, again.conf)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("rows", [1, 7, 1000])
def test_blocks_do_not_matter(make_problem: Any, name: str, rows: int) -> None:
    problem = make_problem()
    score = make(name).fit(problem.train, problem.val, problem.head)
    whole = score.score(problem.test)
    score.chunk_rows = rows
    parts = score.score(problem.test)
    np.testing.assert_array_equal(whole.pred, parts.pred)
    np.testing.assert_allclose(whole.conf, parts.conf, rtol=1e-9, atol=1e-6 if name == "knn" else 1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_memory_maps(make_problem: Any, name: str, tmp_path: Path) -> None:
    problem = make_problem()
    expected = make(name).fit(problem.train, problem.val, problem.head).score(problem.test)
    mapped = []
    for i, each in enumerate(problem[:3]):
        np.save(tmp_path / f"{i}.npy", each.features)
        features = np.load(tmp_path / f"{i}.npy", mmap_mode="r")
        mapped.append(Embeddings(features, each.labels, slices=each.slices))
    found = make(name).fit(mapped[0], mapped[1], problem.head).score(mapped[2])
    np.testing.assert_array_equal(expected.conf, found.conf)


@pytest.mark.parametrize("name", NAMES)
def test_one_row_and_no_row(make_problem: Any, name: str) -> None:
    problem = make_problem()
    score = make(name).fit(problem.train, problem.val, problem.head)
    one = Embeddings(problem.test.features[:1], problem.test.labels[:1])
    assert score.score(one).conf == pytest.approx(score.score(problem.test).conf[:1], rel=1e-5, abs=1e-6)
    none = Embeddings(problem.test.features[:0], problem.test.labels[:0])
    assert score.score(none).conf.shape == (0,)


@pytest.mark.parametrize("name", NAMES)
def test_constant_features_and_huge_logits(name: str) -> None:
    rng = np.random.default_rng(0)
    train = Embeddings(rng.uniform(0, 1, (60, 10)).astype("f4"), np.arange(60) % 3)
    head = LinearHead(1e4 * rng.standard_normal((3, 10)), np.zeros(3))
    score = make(name).fit(train, train, head)
    same = Embeddings(np.ones((8, 10), "f4"), np.full(8, -1))
    conf = score.score(same).conf
    assert np.isfinite(conf).all()
    np.testing.assert_allclose(conf, conf[0], rtol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_before_fit(make_problem: Any, name: str) -> None:
    with pytest.raises(UserError, match=f"'{name}' was asked to score before fit"):
        make(name).score(make_problem().test)


@pytest.mark.parametrize("name", NAMES)
def test_pickles(make_problem: Any, name: str) -> None:
    problem = make_problem()
    score = make(name).fit(problem.train, problem.val, problem.head)
    copy = pickle.loads(pickle.dumps(score))
    np.testing.assert_array_equal(score.score(problem.test).conf, copy.score(problem.test).conf)


def test_stored_logits_come_before_the_head(make_problem: Any) -> None:
    problem = make_problem()
    logits = np.zeros((40, 3), "f4")
    logits[:, 2] = np.arange(40)
    test = Embeddings(problem.test.features, problem.test.labels, logits)
    pred, conf = make("mls").fit(head=problem.head).score(test)
    np.testing.assert_array_equal(conf, np.arange(40))
    np.testing.assert_array_equal(pred[1:], 2)


def test_missing_logits_and_head(make_problem: Any) -> None:
    problem = make_problem()
    with pytest.raises(UserError, match="no logits, and no head"):
        MSP().fit().score(problem.test)
    for name in ("react", "ash", "vim"):
        with pytest.raises(UserError, match=f"{name} needs the head"):
            make(name).fit(problem.train, problem.val, None)


def test_widths_are_checked(make_problem: Any) -> None:
    problem = make_problem(dim=24)
    narrow = LinearHead(np.zeros((3, 20), "f4"), np.zeros(3, "f4"))
    with pytest.raises(UserError, match="train features have 24 columns, the head expects 20"):
        KNN(K=5).fit(problem.train, None, narrow)
    with pytest.raises(UserError, match="features have 24 columns, the head expects 20"):
        ASH().fit(head=narrow).score(problem.test)
    wide = Embeddings(problem.test.features, problem.test.labels, np.zeros((40, 4), "f4"))
    with pytest.raises(UserError, match=r"logits have shape \(40, 4\), the head has 3 classes"):
        MSP().fit(head=problem.head).score(wide)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_no_numbers_are_named(make_problem: Any, bad: float) -> None:
    problem = make_problem()
    features = problem.test.features.copy()
    features[33, 4] = bad
    spoilt = Embeddings(features, problem.test.labels)
    score = make("mls").fit(head=problem.head)
    score.chunk_rows = 10
    with pytest.raises(UserError, match=f"features hold {bad} at row 33, column 4"):
        score.score(spoilt)
    for name in ("mds", "knn", "vim", "react"):
        with pytest.raises(UserError, match="row 33, column 4"):
            make(name).fit(Embeddings(features, problem.test.labels), None, problem.head)


def test_what_is_needed_is_asked_for(make_problem: Any) -> None:
    problem = make_problem()
    for name in ("mds", "knn", "vim"):
        with pytest.raises(UserError, match=f"'{name}' needs train"):
            make(name).fit(None, problem.val, problem.head)
        empty = Embeddings(problem.train.features[:0], problem.train.labels[:0])
        with pytest.raises(UserError, match="train embeddings are empty"):
            make(name).fit(empty, None, problem.head)


def test_a_failed_fit_leaves_nothing_to_score_with(make_problem: Any) -> None:
    problem = make_problem(rows=30)
    score = KNN(K=5).fit(problem.train, None, problem.head)
    score.params = KNN.Params(K=50)
    with pytest.raises(UserError):
        score.fit(problem.train, None, problem.head)
    with pytest.raises(UserError, match="before fit"):
        score.score(problem.test)


# --- parameters and presets


def test_presets() -> None:
    assert KNN.from_preset("openood").parameters == {"K": 50}
    assert KNN.from_preset("multiood").parameters == {"K": 10}
    assert KNN.from_preset("multiood", K=7).parameters == {"K": 7}
    assert GEN.from_preset("openood").parameters == {"gamma": 0.1, "M": 100}
    assert GEN.from_preset("multiood").parameters == {"gamma": 0.1, "M": None}
    assert ViM.from_preset("multiood").parameters == {"dim": 256}
    for cls in (ReAct, ASH):
        assert cls.from_preset("openood").parameters == {"percentile": 90, "per_modality": False}
        assert cls.from_preset("multiood").parameters == {"percentile": 90, "per_modality": True}
    assert EBO.from_preset("openood").parameters == {"temperature": 1.0}
    with pytest.raises(UserError, match="Did you mean 'multiood'"):
        KNN.from_preset("multiod")
    with pytest.raises(UserError, match="no parameter 'k'"):
        KNN.from_preset("openood", k=3)
    with pytest.raises(UserError, match=r"no parameter 'percentil'\. Did you mean 'percentile'"):
        ASH(percentil=3)


def test_params_object_and_overrides() -> None:
    assert GEN(GEN.Params(gamma=0.5), M=3).parameters == {"gamma": 0.5, "M": 3}
    assert repr(KNN(K=3)) == "KNN(K=3)"
    with pytest.raises(UserError, match="percentile must be at least 0 and at most 100"):
        ReAct(percentile=101)


def test_openoods_sweep() -> None:
    assert KNN().args_dict == {"K_list": [50, 100, 200, 500, 1000]}
    assert list(GEN().args_dict) == ["gamma_list", "M_list"]
    score = GEN()
    score.set_hyperparam([0.5, 10])
    assert score.get_hyperparam() == [0.5, 10]
    assert score.parameters == {"gamma": 0.5, "M": 10}
    ash = ASH()
    ash.set_hyperparam([65])
    assert ash.get_hyperparam() == 65
    assert ash.parameters == {"percentile": 65, "per_modality": False}
    assert MSP().args_dict == {}
    with pytest.raises(UserError, match="sweeps 1 parameters"):
        ash.set_hyperparam([1, 2])
    score.args_dict = {"gama_list": [1]}
    with pytest.raises(UserError, match="Did you mean 'gamma'"):
        score.set_hyperparam([1])


def test_react_follows_a_new_percentile(make_problem: Any) -> None:
    problem = make_problem()
    score = ReAct().fit(problem.train, problem.val, problem.head)
    score.set_hyperparam([50])
    assert score.thresholds["all"] == pytest.approx(np.percentile(problem.val.features, 50), rel=1e-6)


def test_a_score_of_ones_own_is_a_few_lines(make_problem: Any) -> None:
    class FeatureNorm(Postprocessor):
        name = "feature_norm"
        info = ScoreInfo("A test", "Nobody", "nowhere", 2020, "https://example.org")

        def score_rows(self, rows: Rows) -> Scores:
            return Scores(rows.pred, np.linalg.norm(rows.features, axis=1))

    problem = make_problem()
    conf = FeatureNorm().fit(head=problem.head).score(problem.test).conf
    np.testing.assert_allclose(conf, np.linalg.norm(problem.test.features.astype(float), axis=1))
