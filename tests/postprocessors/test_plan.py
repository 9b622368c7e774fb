"""Scores together: the same as each alone, with what they share computed once, in little memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from openood_multimodal.arrays import Embeddings, LinearHead, Scores
from openood_multimodal.errors import UserError
from openood_multimodal.linalg import neighbours
from openood_multimodal.linalg.arithmetic import Arithmetic
from openood_multimodal.linalg.torch_arithmetic import TorchArithmetic
from openood_multimodal.postprocessors import MDS, MSP, Postprocessor, Rows, ScoreInfo, ViM, shared
from openood_multimodal.postprocessors.options import ScoringOptions
from openood_multimodal.postprocessors.plan import fit_all, score_all
from openood_multimodal.postprocessors.shared import Shared
from openood_multimodal.postprocessors.training import PILOT_ROWS, Needs
from openood_multimodal.registry import POSTPROCESSORS

NAMES = ("msp", "ebo", "mls", "mds", "react", "ash", "gen", "knn", "vim")
SMALL: dict[str, dict[str, Any]] = {"vim": {"dim": 6}, "knn": {"K": 5}}


def nine() -> list[Postprocessor]:
    return [POSTPROCESSORS.get(name)(**SMALL.get(name, {})) for name in NAMES]


class Counting(np.ndarray):
    """An array that counts the rows read from it, by slice and by index."""

    sliced = 0
    picked = 0

    def __getitem__(self, key: Any) -> Any:
        found = super().__getitem__(key)
        where = key[0] if isinstance(key, tuple) else key
        if isinstance(where, slice) and type(self) is Counting and self.ndim == 2:
            self.sliced += len(found)
        elif isinstance(where, np.ndarray):
            self.picked += len(found)
        return np.asarray(found)


def counted(embeddings: Embeddings) -> tuple[Embeddings, Counting]:
    features = embeddings.features.view(Counting)
    return Embeddings(features, embeddings.labels, slices=embeddings.slices), features


@pytest.mark.parametrize("chunk_rows", [None, 11])
def test_together_as_alone(make_problem: Any, chunk_rows: int | None) -> None:
    problem = make_problem(rows=200)
    options = ScoringOptions(chunk_rows=chunk_rows)
    together = nine()
    fit_all(together, problem.train, problem.val, problem.head, options)
    found = score_all(together, {"test": problem.test, "val": problem.val}, options)
    assert list(found) == ["test", "val"]
    for i, score in enumerate(nine()):
        score.fit(problem.train, problem.val, problem.head)
        for name, embeddings in (("test", problem.test), ("val", problem.val)):
            alone = score.score(embeddings)
            np.testing.assert_array_equal(found[name][i].pred, alone.pred)
            np.testing.assert_allclose(found[name][i].conf, alone.conf, rtol=1e-9, atol=1e-9)
        assert together[i].notes == score.notes


def test_the_training_rows_are_read_once(make_problem: Any) -> None:
    problem = make_problem(rows=3000, dim=96)
    options = ScoringOptions(chunk_rows=250, checked=True)
    train, features = counted(problem.train)
    scores = [POSTPROCESSORS.get(name)(**SMALL.get(name, {})) for name in NAMES if name != "vim"]
    fit_all(scores, train, problem.val, problem.head, options)
    assert features.sliced == 3000
    assert features.picked <= PILOT_ROWS + 3 + 512  # pilot, and knn's sample
    # vim's mean residual norm is in no moment of the rows: one more pass
    train, features = counted(problem.train)
    fit_all(nine(), train, problem.val, problem.head, options)
    assert features.sliced == 6000


def test_scored_sets_are_read_once_and_shared_work_is_done_once(
    make_problem: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = make_problem()
    scores = nine()
    fit_all(scores, problem.train, problem.val, problem.head)
    test, features = counted(problem.test)
    calls = {"logits": 0, "finite": 0}
    logits = LinearHead.logits

    def count_logits(head: LinearHead, given: Any) -> Any:
        calls["logits"] += 1
        return logits(head, given)

    from openood_multimodal.postprocessors import rows

    finite = rows.require_finite

    def count_finite(*given: Any) -> None:
        calls["finite"] += given[1] == "features"
        finite(*given)

    monkeypatch.setattr(LinearHead, "logits", count_logits)
    monkeypatch.setattr(rows, "require_finite", count_finite)
    score_all(scores, {"test": test}, ScoringOptions(chunk_rows=20))
    assert features.sliced == 40
    assert calls == {"logits": 2 * 3, "finite": 2}  # as they are, clipped, shaped; two blocks
    calls.update(logits=0, finite=0)
    score_all(scores, {"test": problem.test}, ScoringOptions(checked=True))
    assert calls == {"logits": 3, "finite": 0}


def test_one_factorisation_serves_all_who_ask(make_problem: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Relative(Postprocessor):
        """The docstring's example, made whole: distance to the nearest class, less that to all data."""

        name = "relative"
        info = ScoreInfo("A test", "Nobody", "nowhere", 2021, "https://example.org")
        needs = frozenset({"train"})

        def learn(self, shared: Shared) -> None:
            self.within = shared.whitening()
            self.centres = self.within.centres(shared.class_means.means)
            self.mean = shared.mean
            self.precision = np.linalg.inv(shared.covariance())

        def score_rows(self, rows: Rows) -> Scores:
            about = rows.features - self.mean
            background = np.einsum("ij,jk,ik->i", about, self.precision, about)
            near = self.within.nearest_squared_distance(rows.stored, self.centres)
            return Scores(rows.pred, background - near)

    problem = make_problem(rows=300)
    made = []
    original = shared.whitening_of
    monkeypatch.setattr(shared, "whitening_of", lambda *given: made.append(1) or original(*given))
    scores: list[Postprocessor] = [MDS(), Relative(), ViM(dim=5)]
    fit_all(scores, problem.train, None, problem.head)
    assert made == [1]
    mds, relative, _ = score_all(scores, {"test": problem.test})["test"]
    x, t = problem.train.features.astype(float), problem.test.features.astype(float)
    about = t - x.mean(axis=0)
    literal = np.einsum("ij,jk,ik->i", about, np.linalg.inv(np.cov(x.T, bias=True)), about)
    np.testing.assert_allclose(relative.conf - mds.conf, literal, rtol=1e-8)
    alone = Relative().fit(problem.train, None, problem.head).score(problem.test)
    np.testing.assert_allclose(alone.conf, relative.conf, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("before", [(), ("knn",), ("vim", "knn")])
def test_any_score_may_ask_for_anything_and_the_first_to_ask_decides_nothing(
    make_problem: Any, before: tuple[str, ...]
) -> None:
    class Curious(MSP):
        name = "curious"
        needs = frozenset({"train"})

        def learn(self, shared: Shared) -> None:
            self.found = (
                shared.norms,
                shared.class_means.means,
                shared.class_means.counts,
                shared.mean,
                np.asarray(shared.largest_logit),
                shared.covariance(),
            )

    problem = make_problem(rows=300)
    scores = [POSTPROCESSORS.get(name)(**SMALL.get(name, {})) for name in before]
    curious = Curious()
    fit_all([*scores, curious], problem.train, None, problem.head)
    x, y = problem.train.features.astype(float), problem.train.labels
    means = np.stack([x[y == c].mean(axis=0) for c in np.unique(y)])
    logits = x @ problem.head.weight.T.astype(float) + problem.head.bias
    literal = (
        np.linalg.norm(x, axis=1),
        means,
        np.bincount(y),
        x.mean(axis=0),
        logits.max(axis=1).mean(),
        np.cov(x.T, bias=True),
    )
    for found, expected in zip(curious.found, literal, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


def test_cheap_statistics_take_no_products(make_problem: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = make_problem()
    monkeypatch.setattr(Arithmetic, "add_gram", lambda *given: pytest.fail("a product"))
    fit_all([POSTPROCESSORS.get("knn")(K=5)], problem.train, None, problem.head)
    shared = Shared([], problem.train, None, problem.head)
    assert len(shared.class_means.means) == len(shared.class_means.counts)
    assert shared.largest_logit != 0.0


def test_without_a_head_there_is_no_largest_logit(make_problem: Any) -> None:
    with pytest.raises(UserError, match="needs the head"):
        _ = Shared([], make_problem().train, None, None).largest_logit


def test_what_earlier_releases_declared_is_accepted(make_problem: Any) -> None:
    class Earlier(MDS):
        uses = frozenset({Needs.CLASS_MEANS, Needs.WITHIN_SCATTER})

    problem = make_problem()
    found = Earlier().fit(problem.train, None, problem.head).score(problem.test)
    np.testing.assert_array_equal(
        found.conf, MDS().fit(problem.train, None, problem.head).score(problem.test).conf
    )


def test_scores_that_know_nothing_of_the_others(make_problem: Any) -> None:
    class Old(Postprocessor):
        name = "old"
        info = ScoreInfo("A test", "Nobody", "nowhere", 2020, "https://example.org")
        needs = frozenset({"train"})

        def estimate(self, train: Any, val: Any, head: Any) -> None:
            self.centre = train.features.mean(axis=0, dtype=float)

        def score_rows(self, rows: Rows) -> Scores:
            return Scores(rows.pred, -np.linalg.norm(rows.features - self.centre, axis=1))

    class Own(Old):
        """Does more in fit and score than the base class."""

        def fit(self, train: Any = None, val: Any = None, head: Any = None) -> Any:
            self.seen = len(train)
            return super().fit(train, val, head)

        def score(self, embeddings: Any) -> Scores:
            pred, conf = super().score(embeddings)
            return Scores(pred, 2 * conf)

    class Extended(MDS):
        """Written when scores had `estimate` only."""

        def estimate(self, train: Any, val: Any, head: Any) -> None:
            super().estimate(train, val, head)
            self.notes.append("extended")

    problem = make_problem()
    scores: list[Postprocessor] = [Old(), Own(), MDS(), Extended()]
    fit_all(scores, problem.train, None, problem.head)
    old, own, mds, extended = score_all(scores, {"test": problem.test}, ScoringOptions(chunk_rows=7))["test"]
    centre = problem.train.features.mean(axis=0, dtype=float)
    np.testing.assert_allclose(old.conf, -np.linalg.norm(problem.test.features - centre, axis=1))
    np.testing.assert_array_equal(own.conf, 2 * old.conf)
    assert scores[1].seen == 90
    np.testing.assert_allclose(extended.conf, mds.conf, rtol=1e-12)
    assert scores[3].notes == ["extended"]


def test_scores_of_another_shape_are_refused(make_problem: Any) -> None:
    class Scalar(MSP):
        def score_rows(self, rows: Rows) -> Scores:
            return Scores(rows.pred, np.asarray(1.0))  # would be broadcast

    problem = make_problem()
    with pytest.raises(
        UserError, match=r"msp: score_rows must return pred and conf of shape \(40,\).*and \(\)"
    ):
        Scalar().fit(head=problem.head).score(problem.test)


def test_chunks_do_not_matter(make_problem: Any) -> None:
    problem = make_problem(rows=900, dim=70, test_rows=50)
    results = []
    for chunk_rows in (None, 1, 7, 1000):
        scores = nine()
        options = ScoringOptions(chunk_rows=chunk_rows)
        fit_all(scores, problem.train, problem.val, problem.head, options)
        results.append(score_all(scores, {"test": problem.test}, options)["test"])
    for other in results[1:]:
        for one, two in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(one.pred, two.pred)
            np.testing.assert_allclose(two.conf, one.conf, atol=1e-9 * one.conf.std(), rtol=1e-9)


def test_an_error_is_that_of_the_score_that_cannot_run(make_problem: Any) -> None:
    problem = make_problem()
    current: list[str] = []

    @contextmanager
    def around(score: Postprocessor) -> Iterator[None]:
        current.append(score.name)
        yield

    wider = LinearHead(np.ones((5, 24), "f4"), np.zeros(5, "f4"))
    with pytest.raises(UserError, match="classes 3, 4 of 5 have 0 of the 90"):
        fit_all(nine(), problem.train, problem.val, wider, around=around)
    assert current[-1] == "mds"
    # the others don't ask for classes: they run
    others = [score for score in nine() if score.name != "mds"]
    fit_all(others, problem.train, problem.val, wider)
    assert all(score.fitted for score in others)
    # nor does a label that is none keep them from what they share with it
    current.clear()
    order = [*others, MDS()]
    with pytest.raises(UserError, match="classes 3, 4 of 5"):
        fit_all(order, problem.train, problem.val, wider, around=around)
    assert current[-1] == "mds"


def test_torch_computes_the_same(make_problem: Any, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = make_problem(rows=400, dim=80)
    options = ScoringOptions()
    results = []
    for arithmetic in (shared.arithmetic_for, lambda _: TorchArithmetic(device)):
        monkeypatch.setattr(shared, "arithmetic_for", arithmetic)
        scores = nine()
        fit_all(scores, problem.train, problem.val, problem.head, options)
        results.append(score_all(scores, {"test": problem.test}, options)["test"])
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one.pred, other.pred)
        np.testing.assert_allclose(one.conf, other.conf, rtol=1e-5)


def test_the_bar_counts_rows(make_problem: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from openood_multimodal.postprocessors import plan

    made = []

    class Bar:
        def __init__(self, **given: Any) -> None:
            self.given, self.n, self.total = given, 0, given["total"]
            made.append(self)

        def __enter__(self) -> Bar:
            return self

        def __exit__(self, *error: object) -> None:
            pass

        def update(self, rows: int) -> None:
            self.n += rows

        def set_postfix_str(self, text: str) -> None:
            pass

    monkeypatch.setattr(plan, "progress_bar", Bar)
    problem = make_problem(rows=200)
    scores = nine()
    options = ScoringOptions(progress=True, chunk_rows=30)
    fit_all(scores, problem.train, problem.val, problem.head, options)
    score_all(scores, {"a": problem.test, "b": problem.val}, options)
    fit, score = made
    assert (fit.given["unit"], fit.given["quiet"], fit.n) == ("row", False, 400)  # the pass, and vim's own
    assert (score.given["unit"], score.n, score.total) == ("row", 70, 70)


def test_memory_is_set_by_the_chunk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dim, classes = 64, 4
    monkeypatch.setattr(neighbours, "CACHE_BYTES", 0)
    monkeypatch.setattr(neighbours, "SIDE_BYTES", 4 * dim * 500)
    monkeypatch.setattr(neighbours, "PRODUCT_BYTES", 4 * 500 * 200)
    rng = np.random.default_rng(0)
    head = LinearHead(rng.standard_normal((classes, dim)).astype("f4"), np.zeros(classes, "f4"))
    peaks = []
    for rows in (5_000, 40_000):
        path = tmp_path / f"{rows}.npy"
        np.save(path, rng.standard_normal((rows, dim)).astype("f4"))
        train = Embeddings(np.load(path, mmap_mode="r"), np.arange(rows) % classes)
        test = Embeddings(rng.standard_normal((200, dim)).astype("f4"), np.full(200, -1))
        scores = [POSTPROCESSORS.get(name)(**SMALL.get(name, {})) for name in ("mds", "knn", "vim", "react")]
        options = ScoringOptions(chunk_rows=500)
        monkeypatch.setattr("openood_multimodal.linalg.statistics.COPY_BYTES", 2**18)
        monkeypatch.setattr("openood_multimodal.linalg.statistics.SAMPLE", 2**12)
        tracemalloc.start()
        fit_all(scores, train, None, head, options)
        score_all(scores, {"test": test}, options)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    features = 4 * dim * (40_000 - 5_000)
    assert peaks[1] - peaks[0] < 0.25 * features  # norms, their inverses and class numbers: 24 bytes a row
    assert peaks[1] < 6 * 2**20


def test_logits_of_some_rows_alone(make_problem: Any) -> None:
    problem = make_problem(rows=60)
    which = np.array([3, 17])
    rows = Rows(problem.train, slice(20, 60), problem.head)
    np.testing.assert_allclose(rows.logits_at(which), rows.logits[which], rtol=1e-12, atol=1e-12)
    stored = np.arange(60.0 * 4).reshape(60, 4)
    rows = Rows(Embeddings(problem.train.features, problem.train.labels, stored), slice(20, 60), None)
    np.testing.assert_array_equal(rows.logits_at(which), stored[[23, 37]])
    features = problem.train.features.astype(float)
    features[37] = 1e140
    head = LinearHead(problem.head.weight.astype(float) * 1e180, problem.head.bias.astype(float))
    rows = Rows(Embeddings(features, problem.train.labels), slice(20, 60), head)
    with np.errstate(all="ignore"), pytest.raises(UserError, match="row 37"):
        rows.logits_at(which)
