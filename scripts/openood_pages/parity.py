"""The nine native scores against OpenOOD's classes, and both against literal float64 computations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import linalg
from scipy.special import logsumexp, softmax

from openood_multimodal.arrays import Embeddings, LinearHead
from openood_multimodal.errors import UserError
from openood_multimodal.evaluators.metrics import compute_ood_metrics
from openood_multimodal.naming import did_you_mean
from openood_multimodal.plugin.adapters import OpenOODPostprocessor
from openood_multimodal.registry import POSTPROCESSORS

Floats = NDArray[np.float64]

LIMIT = 1e-4
"""Largest difference of AUROC and of FPR@95, as fractions, that needs no explanation."""

SCORES = ("msp", "ebo", "mls", "gen", "mds", "react", "ash", "knn", "vim")
TEST_ROWS = 300  # ID, and as many OOD


class Case(NamedTuple):
    """One generated problem."""

    name: str
    rows: int
    dim: int
    classes: int
    vim_dim: int
    neighbours: int = 10
    head_scale: float = 1.0
    offset: float = 0.0  # added to every feature
    decay: float | None = None  # noise with variances k^-decay, by columns; None: correlated noise
    ties: bool = False  # features are rounded to halves, and every row is there twice


CASES = (
    Case("more_rows_than_columns", 600, 48, 4, 16),
    Case("sure_predictions", 600, 48, 4, 16, head_scale=12.0),
    Case("fewer_rows_than_columns", 120, 160, 4, 16),
    Case("large_activations", 120, 160, 4, 16, offset=10.0),
    Case("many_classes", 1290, 160, 129, 64),
    Case("two_backbones", 300, 4352, 4, 64),
    Case("two_backbones_many_classes", 516, 4352, 129, 256),
)
"""D = 4352 is the width of a SlowFast (2304) and a SlowOnly (2048) together.  Where predictions are sure, float32
probabilities saturate at 1; where activations are large beside their spread, means and differences lose digits."""

SCORE_CASES = (
    *(case for case in CASES if case.dim < 1000),
    Case("isotropic_spectrum", 600, 48, 4, 16, decay=0.0),
    Case("decaying_spectrum", 600, 48, 4, 16, decay=2.0),
    Case("ties", 600, 48, 4, 16, ties=True),
)
"""What the tests hold every score to that another package has, too."""


class Comparison(NamedTuple):
    """One score, both engines.

    Attributes:
        case, score: which.
        auroc, fpr: AUROC and FPR@95 as fractions, of ``(native, openood, float64 reference)``.
        ties: test samples whose confidence another one has too, of the same three.
        samples: in the test set.
        notes: what OpenOOD's score noted of its training data.
    """

    case: str
    score: str
    auroc: tuple[float, float, float]
    fpr: tuple[float, float, float]
    ties: tuple[int, int, int]
    samples: int
    notes: tuple[str, ...] = ()

    @property
    def within(self) -> bool:
        """Whether the engines' AUROC and FPR@95 agree within `LIMIT`."""
        return max(abs(figure[0] - figure[1]) for figure in (self.auroc, self.fpr)) <= LIMIT

    @property
    def native_is_closer(self) -> bool:
        """Whether neither native figure is further from the reference's than OpenOOD's."""
        return all(
            abs(native - reference) <= abs(openood - reference)
            for native, openood, reference in (self.auroc, self.fpr)
        )


class Problem(NamedTuple):
    """Embeddings of a case: float32, with labels; the test set's first half is in-distribution."""

    train: Embeddings
    val: Embeddings
    test: Embeddings
    head: LinearHead


def make_problem(case: Case) -> Problem:
    """Draw a case: rectified class centres plus correlated noise, a head that points at the class means."""
    rng = np.random.default_rng(sum(map(ord, case.name)))
    dim, classes = case.dim, case.classes
    inner = min(dim, 256)  # rank of the correlated noise
    mixing = rng.standard_normal((inner, dim)) / np.sqrt(inner)
    centres = 0.8 * rng.standard_normal((classes, dim)) + 0.2

    def draw(middle: Floats, spread: float) -> NDArray[np.float32]:
        if case.decay is None:
            noise = spread * rng.standard_normal((len(middle), inner)) @ mixing
            noise += 0.1 * rng.standard_normal(middle.shape)
        else:
            noise = spread * rng.standard_normal(middle.shape) * np.arange(1.0, dim + 1) ** (-case.decay / 2)
        features = (np.maximum(middle + noise, 0.0) + case.offset).astype(np.float32)
        if case.ties:
            features = np.round(2 * features) / 2
            row = np.arange(len(features))
            features = features[row - classes * (row // classes % 2)]
        features.setflags(write=False)
        return features

    def labels(rows: int) -> NDArray[np.int64]:
        return np.arange(rows, dtype=np.int64) % classes

    train = draw(centres[labels(case.rows)], 1.0)
    val = draw(centres[labels(200)], 1.0)
    mixed = 0.6 * centres + 0.4 * centres[rng.permutation(classes)]
    mixed += 0.3 * rng.standard_normal(centres.shape)
    middles = np.concatenate([centres[labels(TEST_ROWS)], mixed[labels(TEST_ROWS)]])
    test = draw(middles, 1.2)
    means = np.stack([train[labels(case.rows) == c].mean(axis=0) for c in range(classes)]).astype(np.float64)
    weight = means - 0.5 * means.mean(axis=0)
    weight *= (
        3.0 * case.head_scale / np.linalg.norm(weight, axis=1).mean() / np.sqrt(np.square(means).mean() * dim)
    )
    head = LinearHead(weight.astype(np.float32), (0.1 * rng.standard_normal(classes)).astype(np.float32))
    known = np.concatenate([labels(TEST_ROWS), np.full(TEST_ROWS, -1)])
    return Problem(
        Embeddings(train, labels(case.rows)), Embeddings(val, labels(200)), Embeddings(test, known), head
    )


def compare_engines(name: str, scores: tuple[str, ...] = SCORES) -> list[Comparison]:
    """Run both engines on the case called ``name``.

    Raises:
        UserError: for an unknown case; when OpenOOD can't be imported.
    """
    case = next((each for each in CASES if each.name == name), None)
    if case is None:
        raise UserError(f"there is no case '{name}'.{did_you_mean(name, [each.name for each in CASES])}")
    problem = make_problem(case)
    parameters: dict[str, dict[str, Any]] = {"knn": {"K": case.neighbours}, "vim": {"dim": case.vim_dim}}
    return [_compare(case, problem, score, parameters.get(score, {})) for score in scores]


def _compare(case: Case, problem: Problem, score: str, parameters: Mapping[str, Any]) -> Comparison:
    fit = (problem.train, problem.val, problem.head)
    native = POSTPROCESSORS.get(score)(**parameters).fit(*fit).score(problem.test)
    theirs = OpenOODPostprocessor(score, parameters).fit(*fit)
    openood = theirs.score(problem.test)
    reference = REFERENCES[score](problem, **parameters)
    figures = []
    for pred, conf in (native, openood, (native.pred, reference)):
        metrics = compute_ood_metrics(
            conf[:TEST_ROWS],
            conf[TEST_ROWS:],
            pred[:TEST_ROWS],
            problem.test.labels[:TEST_ROWS],
            intervals=False,
        )
        figures.append((metrics["AUROC"].value, metrics["FPR@95"].value, _ties(conf)))
    auroc, fpr, ties = (tuple(column) for column in zip(*figures, strict=True))
    return Comparison(case.name, score, auroc, fpr, ties, 2 * TEST_ROWS, tuple(theirs.notes))


def _ties(conf: NDArray[Any]) -> int:
    counts = np.unique(conf, return_counts=True)[1]
    return int(counts[counts > 1].sum())


# --- literal references, float64 throughout


def _wide(array: NDArray[Any]) -> Floats:
    return array.astype(np.float64)


def _logits(problem: Problem, features: Floats) -> Floats:
    return np.asarray(features @ _wide(problem.head.weight).T + _wide(problem.head.bias))


def _msp(problem: Problem) -> Floats:
    return np.asarray(softmax(_logits(problem, _wide(problem.test.features)), axis=1).max(axis=1))


def _ebo(problem: Problem) -> Floats:
    return np.asarray(logsumexp(_logits(problem, _wide(problem.test.features)), axis=1))


def _mls(problem: Problem) -> Floats:
    return np.asarray(_logits(problem, _wide(problem.test.features)).max(axis=1))


def _gen(problem: Problem) -> Floats:
    p = np.sort(softmax(_logits(problem, _wide(problem.test.features)), axis=1), axis=1)[:, -100:]
    rest = 1.0 - p
    return np.asarray(-np.sum(p**0.1 * rest**0.1, axis=1))


def _react(problem: Problem) -> Floats:
    threshold = np.percentile(_wide(problem.val.features), 90)
    clipped = np.minimum(_wide(problem.test.features), threshold)
    return np.asarray(logsumexp(_logits(problem, clipped), axis=1))


def _ash(problem: Problem) -> Floats:
    dim = problem.test.dim
    shaped = np.zeros((len(problem.test), dim))
    kept = dim - int(np.round(dim * 0.9))
    for row, feature in enumerate(_wide(problem.test.features)):
        largest = np.argsort(-feature, kind="stable")[:kept]
        shaped[row, largest] = feature.sum() / kept
    return np.asarray(logsumexp(_logits(problem, shaped), axis=1))


def _knn(problem: Problem, K: int) -> Floats:
    bank, test = (_wide(each.features) for each in (problem.train, problem.test))
    bank = bank / np.linalg.norm(bank, axis=1, keepdims=True) + 1e-10
    test = test / np.linalg.norm(test, axis=1, keepdims=True) + 1e-10
    return np.array([-np.sort(np.sum((bank - each) ** 2, axis=1))[K - 1] for each in test])


def _mds(problem: Problem) -> Floats:
    """The inverse is taken within the centred rows' row space, from their singular values."""
    train, test = _wide(problem.train.features), _wide(problem.test.features)
    classes = range(problem.head.num_classes)
    means = np.stack([train[problem.train.labels == c].mean(axis=0) for c in classes])
    _, singular, basis = linalg.svd(train - means[problem.train.labels], full_matrices=False)
    kept = singular > len(singular) * np.finfo(np.float64).eps * singular[0]
    whiten = basis[kept].T / singular[kept] * np.sqrt(len(train))
    return np.array([-min(np.sum(((each - mean) @ whiten) ** 2) for mean in means) for each in test])


def _vim(problem: Problem, dim: int) -> Floats:
    train, test = _wide(problem.train.features), _wide(problem.test.features)
    origin = -linalg.pinv(_wide(problem.head.weight)) @ _wide(problem.head.bias)
    _, _, basis = linalg.svd(train - origin, full_matrices=False)

    def residual(features: Floats) -> Floats:
        shifted = features - origin
        return np.asarray(np.linalg.norm(shifted - shifted @ basis[:dim].T @ basis[:dim], axis=1))

    alpha = _logits(problem, train).max(axis=1).mean() / residual(train).mean()
    return np.asarray(logsumexp(_logits(problem, test), axis=1) - alpha * residual(test))


REFERENCES: Mapping[str, Callable[..., Floats]] = {
    "msp": _msp,
    "ebo": _ebo,
    "mls": _mls,
    "gen": _gen,
    "mds": _mds,
    "react": _react,
    "ash": _ash,
    "knn": _knn,
    "vim": _vim,
}
