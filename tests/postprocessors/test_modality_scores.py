"""Scores that look at the modalities: held against literal versions, on every road, and with bad input."""

from __future__ import annotations

import dataclasses
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from scipy import stats

from openood_multimodal.arrays import Embeddings, LinearHead
from openood_multimodal.datasets.loaders import EmbeddingLoader
from openood_multimodal.errors import UserError
from openood_multimodal.networks import EmbeddingHead
from openood_multimodal.postprocessors import (
    KNN,
    MDS,
    MSP,
    Discrepancy,
    Ensemble,
    PerModality,
    ReAct,
    fit_all,
    score_all,
)
from openood_multimodal.postprocessors.spec import build_score, parse_spec, split_names

WIDTHS = {"video": 7, "audio": 4, "flow": 9}
CLASSES = 4


def softmax(logits: np.ndarray) -> np.ndarray:
    exponents = np.exp(logits - logits.max(-1, keepdims=True))
    return np.asarray(exponents / exponents.sum(-1, keepdims=True))


class Problem:
    """Three modalities with linear heads."""

    def __init__(self, widths: dict[str, int] = WIDTHS) -> None:
        rng = np.random.default_rng(3)
        stops = np.cumsum(list(widths.values())).tolist()
        self.slices = {
            name: (stop - width, stop) for (name, width), stop in zip(widths.items(), stops, strict=True)
        }
        weight = rng.normal(size=(CLASSES, stops[-1]))
        own = {
            name: LinearHead(weight[:, a:b], rng.normal(size=CLASSES)) for name, (a, b) in self.slices.items()
        }
        self.head = LinearHead(weight, rng.normal(size=CLASSES), own)
        self.train, self.val, self.test = (self.make(rng, n) for n in (200, 90, 50))
        self.ood = self.make(rng, 60, 1.5)

    def make(self, rng: Any, count: int, shift: float = 0.0) -> Embeddings:
        labels = np.arange(count) % CLASSES
        features = rng.normal(size=(count, self.head.dim)) + self.head.weight[labels] + shift
        own = [
            self.head.modality_heads[name].logits(features[:, a:b]) for name, (a, b) in self.slices.items()
        ]
        return Embeddings(
            features, labels.astype(np.int64), self.head.logits(features), np.stack(own, axis=1), self.slices
        )


@pytest.fixture(scope="module")
def problem() -> Problem:
    return Problem()


def literal_discrepancy(name: str, logits: np.ndarray) -> list[float]:
    found = []
    for sample in softmax(logits):
        pairs = []
        for i, j in combinations(range(len(sample)), 2):
            p, q = sample[i], sample[j]
            if name == "l1":
                pairs.append(sum(abs(a - b) for a, b in zip(p, q, strict=True)) / len(p))
            elif name == "l2":
                pairs.append(sum((a - b) ** 2 for a, b in zip(p, q, strict=True)) / len(p))
            elif name == "hellinger":
                roots = [max(a, 1e-6) ** 0.5 - max(b, 1e-6) ** 0.5 for a, b in zip(p, q, strict=True)]
                pairs.append((0.5 * sum(r * r for r in roots)) ** 0.5)
            else:  # one sample: the nearest prediction is its own
                pairs.append(sum((a - b) ** 2 for a, b in zip(p, q, strict=True)) ** 0.5)
        found.append(-sum(pairs) / len(pairs))
    return found


@pytest.mark.parametrize("name", ["l1", "l2", "hellinger", "wasserstein"])
def test_discrepancy_is_the_literal_one(problem: Problem, name: str) -> None:
    score = Discrepancy(discrepancy=name).fit(head=problem.head)
    pred, conf = score.score(problem.test)
    assert problem.test.modality_logits is not None
    np.testing.assert_allclose(conf, literal_discrepancy(name, problem.test.modality_logits), rtol=1e-12)
    np.testing.assert_array_equal(pred, problem.head.logits(problem.test.features).argmax(1))


def test_discrepancy_of_two_opposite_certain_predictions_is_the_extreme() -> None:
    logits = np.zeros((2, 2, 3))
    logits[0, :, 0] = 1000.0  # both say class 0
    logits[1, 0, 0] = logits[1, 1, 1] = 1000.0  # they say different classes
    same = Embeddings(np.empty((2, 0)), np.zeros(2, dtype=np.int64), np.zeros((2, 3)), logits)
    np.testing.assert_allclose(Discrepancy().fit().score(same).conf, [0.0, -2.0 / 3.0])


def test_modality_logits_come_from_the_heads_where_none_are_stored(problem: Problem) -> None:
    bare = dataclasses.replace(problem.test, logits=None, modality_logits=None)
    for score in (Discrepancy(), PerModality(MSP())):
        stored = score.fit(head=problem.head).score(problem.test).conf
        np.testing.assert_allclose(score.fit(head=problem.head).score(bare).conf, stored, rtol=1e-9)


@pytest.mark.parametrize("combine", ["mean", "min", "max"])
@pytest.mark.parametrize("make", [MSP, lambda: KNN(K=5), MDS, ReAct])
def test_per_modality_is_the_score_on_each_part(problem: Problem, make: Any, combine: str) -> None:
    parts = []
    for name in WIDTHS:
        part = make()
        part.fit(problem.train.modality(name), problem.val.modality(name), problem.head.modality_heads[name])
        parts.append(part.score(problem.test.modality(name)).conf)
    score = PerModality(make(), combine=combine).fit(problem.train, problem.val, problem.head)
    np.testing.assert_allclose(
        score.score(problem.test).conf, getattr(np, combine)(parts, axis=0), rtol=1e-10
    )


def test_weights_given_and_fitted(problem: Problem) -> None:
    assert problem.test.modality_logits is not None
    assert problem.val.modality_logits is not None
    parts = [MSP().fit().score(problem.test.modality(name)).conf for name in WIDTHS]
    expected = (1 * parts[0] + 0 * parts[1] + 3 * parts[2]) / 4
    for weights in ([1, 0, 3], {"flow": 3, "video": 1, "audio": 0}):
        score = PerModality(MSP(), weights=weights).fit(problem.train, problem.val, problem.head)
        np.testing.assert_allclose(score.score(problem.test).conf, expected)
    accuracy = (problem.val.modality_logits.argmax(2) == problem.val.labels[:, None]).mean(0)
    above = np.maximum(accuracy - 1 / CLASSES, 0)
    score = PerModality(MSP(), weights="validation").fit(problem.train, problem.val, problem.head)
    np.testing.assert_allclose(score.score(problem.test).conf, above @ np.stack(parts) / above.sum())
    assert "weights from ID validation accuracy" in score.notes[0]


def test_ensemble_by_zscore_and_by_rank(problem: Problem) -> None:
    single = [MSP(), KNN(K=5)]
    for each in single:
        each.fit(problem.train, problem.val, problem.head)
    val = [each.score(problem.val).conf for each in single]
    test = [each.score(problem.test).conf for each in single]
    by_zscore = np.mean([(t - v.mean()) / v.std() for t, v in zip(test, val, strict=True)], axis=0)
    ranks = [[stats.percentileofscore(v, x, "mean") / 100 for x in t] for t, v in zip(test, val, strict=True)]
    by_rank = np.mean(ranks, axis=0)
    for normalize, expected in (("zscore", by_zscore), ("rank", by_rank)):
        score = Ensemble(MSP(), KNN(K=5), normalize=normalize).fit(problem.train, problem.val, problem.head)
        np.testing.assert_allclose(score.score(problem.test).conf, expected, rtol=1e-9)


def test_a_missing_validation_set_is_noted(problem: Problem) -> None:
    score = Ensemble(MSP(), KNN(K=5)).fit(problem.train, None, problem.head)
    assert "no validation features; the common scale" in score.notes[0]


def test_what_scores_share_is_fitted_and_computed_once(
    problem: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = {"fit": 0, "score": 0}
    learn, score_rows = KNN.learn, KNN.score_rows

    def counted(key: str, method: Any) -> Any:
        def call(self: Any, *args: Any) -> Any:
            calls[key] += 1
            return method(self, *args)

        return call

    monkeypatch.setattr(KNN, "learn", counted("fit", learn))
    monkeypatch.setattr(KNN, "score_rows", counted("score", score_rows))
    for order in (0, 1):
        calls.update(fit=0, score=0)
        scores: list[Any] = [KNN(K=5), Ensemble(MSP(), KNN(K=5)), Ensemble(MSP(), KNN(K=6))]
        fit_all(scores[::-1] if order else scores, problem.train, problem.val, problem.head)
        found = score_all(scores, {"test": problem.test})["test"]
        assert calls["fit"] == 2, "K = 5 once, K = 6 once"
        assert calls["score"] == 2 + 2, "the validation set and the test set, each once for each K"
        alone = Ensemble(MSP(), KNN(K=5)).fit(problem.train, problem.val, problem.head).score(problem.test)
        np.testing.assert_array_equal(found[1].conf, alone.conf)


SCORES = [
    "discrepancy",
    "per_modality(msp)",
    "per_modality(knn(K=5),normalize=zscore,combine=min)",
    "per_modality(ash(percentile=50),weights=validation)",
    "ensemble(msp,discrepancy,per_modality(mds))",
]


@pytest.mark.parametrize("written", SCORES)
def test_networks_and_batches_give_the_same_scores(problem: Problem, written: str) -> None:
    def float32(each: Embeddings) -> Embeddings:
        return dataclasses.replace(
            each, features=each.features.astype(np.float32), logits=None, modality_logits=None
        )

    sets = {name: float32(each) for name, each in (("train", problem.train), ("val", problem.val))}
    test = float32(problem.test)
    net = EmbeddingHead(problem.head.weight, problem.head.bias, problem.head.modality_heads)
    score = build_score(written)
    score.setup(net, {name: list(EmbeddingLoader(each, 16)) for name, each in sets.items()})
    pred, conf, labels = score.inference(net, list(EmbeddingLoader(test, 16)), progress=False)
    alone = build_score(written).fit(sets["train"], sets["val"], problem.head).score(test)
    np.testing.assert_allclose(conf, alone.conf, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(pred, alone.pred)
    np.testing.assert_array_equal(labels, test.labels)


@pytest.mark.parametrize(
    "names", ["msp,per_modality(knn", "msp,per_modality(knn))", ["ensemble(msp", "knn]"]]
)
def test_brackets_that_do_not_match_are_refused(names: Any) -> None:
    with pytest.raises(UserError, match=r"lacks '\)'|too many, or at a wrong place"):
        split_names(names)


def test_written_forms() -> None:
    assert split_names("msp, per_modality( knn , combine = max ),ebo") == [
        "msp",
        "per_modality(knn,combine=max)",
        "ebo",
    ]
    assert split_names(["msp", "per_modality(knn", " combine=max)"]) == [
        "msp",
        "per_modality(knn,combine=max)",
    ]
    assert str(parse_spec("ensemble(msp,per_modality(knn(K=3)),weights=[1,2])")) == (
        "ensemble(msp,per_modality(knn(K=3)),weights=[1,2])"
    )
    score = build_score("per_modality(knn(K=7),combine=min)", "multiood")
    assert score.name == "per_modality(knn(K=7),combine=min)"
    assert score.parameters["scores"]["knn(K=7)"]["K"] == 7
    assert build_score("ensemble", parameters={"scores": ["msp", "knn"]}).name == "ensemble(msp,knn)"
    assert build_score("per_modality(knn)", "multiood").parameters["scores"]["knn"]["K"] == 10


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("per_modality", r"combines 1 score\(s\), got 0; write per_modality\(msp\)"),
        ("ensemble(msp)", "at least 2"),
        ("per_modality(msp,knn)", "combines 1"),
        ("per_modality(mspp)", "Did you mean 'msp'"),
        ("msp(knn)", "combines no other scores"),
        ("per_modality(msp", "is written"),
        ("per_modality(msp))", "too many|is written"),
        ("per_modality([msp)", "lacks ']'|wrong place"),
        ("per_modality(msp,combine=median)", "combine"),
        ("per_modality(msp,combine=min,weights=[1,2])", "don't go with combine=min"),
        ("per_modality(msp,weights=[0,0])", "all 0"),
        ("per_modality(msp,weights=[1,-2])", "at least 0"),
        ("ensemble(msp,ebo,weights=[1])", "1 weights for 2 scores"),
        ("ensemble(msp,ebo,weigths=[1,1])", "Did you mean 'weights'"),
        ("discrepancy(discrepancy=l3)", "no discrepancy called 'l3'"),
        ("(msp)", "is written"),
        ("per_modality(" * 12 + "msp" + ")" * 12, "nested more than 8"),
    ],
)
def test_bad_forms_are_refused(written: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_score(written)


def test_missing_inputs_are_one_error_that_names_score_input_and_remedy(problem: Problem) -> None:
    bare = Embeddings(problem.test.features, problem.test.labels, problem.test.logits)
    with pytest.raises(UserError, match=r"discrepancy needs modality_logits \[N, M, C\].*add an array"):
        Discrepancy().fit(head=problem.head).score(bare)
    with pytest.raises(
        UserError, match=r"per_modality.* needs the head of each modality, and that of 'video'"
    ):
        PerModality(ReAct()).fit(
            problem.train, problem.val, LinearHead(problem.head.weight, problem.head.bias)
        )
    unsliced = dataclasses.replace(problem.train, slices={}, modalities=())
    with pytest.raises(UserError, match=r"per_modality.* don't say which columns belong to which modality"):
        PerModality(KNN(K=5)).fit(unsliced, None, problem.head)
    # a score of logits alone needs no columns
    assert np.isfinite(PerModality(MSP()).fit(unsliced, None, None).score(unsliced).conf).all()
    one = Problem({"video": 6})
    with pytest.raises(UserError, match="at least 2"):
        Discrepancy().fit(head=one.head).score(one.test)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"modality_logits": np.zeros((50, 2, CLASSES))},
            "have 2 modalities.*there are 3: video, audio, flow",
        ),
        ({"modality_logits": np.zeros((50, 3, CLASSES + 1))}, r"have 5 classes .* but logits 4"),
        ({"modality_logits": np.zeros((49, 3, CLASSES))}, "have 49 rows, features 50"),
        ({"modality_logits": np.zeros((50, 3))}, r"must be \[N, M, C\]"),
        ({"modalities": ("a", "b", "c")}, "slices name video, audio, flow"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(problem: Problem, change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        dataclasses.replace(problem.test, **change)


def test_heads_and_columns_that_do_not_fit_are_refused(problem: Problem) -> None:
    bare = dataclasses.replace(problem.test, modality_logits=None)
    wrong = {name: LinearHead(np.zeros((CLASSES, 5)), np.zeros(CLASSES)) for name in WIDTHS}
    head = LinearHead(problem.head.weight, problem.head.bias, wrong)
    with pytest.raises(UserError, match="slice of 'video' has 7 columns, its head expects 5"):
        Discrepancy().fit(head=head).score(bare)
    with pytest.raises(UserError, match="head of modality 'video' has 9 classes, the fusion head 4"):
        LinearHead(
            problem.head.weight, problem.head.bias, {"video": LinearHead(np.zeros((9, 7)), np.zeros(9))}
        )
    short = dataclasses.replace(problem.test, slices={"video": (0, 7), "audio": (7, 11), "flow": (11, 19)})
    with pytest.raises(UserError, match="slices cover 19 columns, but the features have 20"):
        PerModality(KNN(K=5)).fit(short, None, problem.head)
    other = dataclasses.replace(problem.test, modality_logits=problem.test.modality_logits[:, :2], modalities=(),
                                slices={"video": (0, 11), "flow": (11, 20)})  # type: ignore[index]  # fmt: skip
    score = PerModality(MSP()).fit(problem.train, problem.val, problem.head)
    with pytest.raises(
        UserError, match="was fitted on the modalities video, audio, flow; the set has video, flow"
    ):
        score.score(other)
    nan = np.array(problem.test.modality_logits)
    nan[3, 1, 2] = np.nan
    with pytest.raises(UserError, match="modality_logits hold nan at row 3, column 6"):
        Discrepancy().fit().score(dataclasses.replace(problem.test, modality_logits=nan))
