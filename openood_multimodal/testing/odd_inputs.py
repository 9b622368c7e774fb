"""Checks of what a postprocessor does with odd embeddings."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arrays import Embeddings, LinearHead, Scores
from ..errors import UserError
from ._rules import rule

WIDTH, CLASSES = 24, 4
FLOAT16_TOLERANCE = 1e-3  # what float32 training makes of rounding in its input

Change = Callable[[NDArray[Any], NDArray[np.int64]], NDArray[Any]]


def _constant_columns(features: NDArray[Any], labels: NDArray[np.int64]) -> NDArray[Any]:
    features[:, :5], features[:, 5:8] = 0.0, 3.0
    return features


def _row_of_zeros(features: NDArray[Any], labels: NDArray[np.int64]) -> NDArray[Any]:
    features[0] = 0.0
    return features


ODD: Mapping[str, tuple[int, Change]] = {
    "one class": (1, lambda features, labels: features),
    "two classes": (2, lambda features, labels: features),
    "constant columns": (CLASSES, _constant_columns),
    "duplicated rows": (CLASSES, lambda features, labels: features[labels]),
    "a row of zeros": (CLASSES, _row_of_zeros),
    "float16": (CLASSES, lambda features, labels: features.astype(np.float16)),
}
"""Kind → number of classes, and what is done to the features ``[N, D]`` of each set."""


class _Problem:
    """Training, validation and test rows of two modalities, without stored logits, and a head."""

    def __init__(self, classes: int, change: Change) -> None:
        rng = np.random.default_rng(0)
        centres = 1.5 * rng.standard_normal((classes, WIDTH))
        slices = {"first": (0, WIDTH // 3), "second": (WIDTH // 3, WIDTH)}
        weight = (centres + 0.2 * rng.standard_normal(centres.shape)) / np.sqrt(WIDTH)
        own = {
            name: LinearHead(weight[:, a:b], rng.standard_normal(classes)) for name, (a, b) in slices.items()
        }
        self.head = LinearHead(weight, 0.3 * rng.standard_normal(classes), own)

        def draw(rows: int) -> Embeddings:
            labels = np.arange(rows) % classes
            features = np.maximum(centres[labels] + 0.7 * rng.standard_normal((rows, WIDTH)), 0.0)
            return Embeddings(change(features, labels), labels, slices=slices)

        self.sets = {"train": draw(96), "val": draw(40), "test": draw(40)}

    def with_features(self, change: Callable[[str, NDArray[Any]], NDArray[Any]]) -> dict[str, Embeddings]:
        """Return the sets with other features: ``change(name, features)``."""
        return {name: replace(each, features=change(name, each.features)) for name, each in self.sets.items()}

    def score(self, postprocessor: Any, sets: Mapping[str, Embeddings]) -> Scores:
        """Fit a copy of the postprocessor, and score the test rows."""
        fitted = copy.deepcopy(postprocessor).fit(sets["train"], sets["val"], self.head)
        scores: Scores = fitted.score(sets["test"])
        return scores


def check_odd_inputs(postprocessor: Any) -> dict[str, str]:
    """Hold a postprocessor to finite confidences, or one `UserError`, on odd embeddings of two modalities.

    These have one class, two classes, constant columns, equal rows in each class, a row of zeros, or features in
    float16, whose confidences must be those of the same values in float64.  NaN in a set that is read must be refused.

    Args:
        postprocessor: an instance that has not been fitted, with parameters that suit 96 training rows of 24.

    Returns:
        Kind → message, of the odd inputs that it refuses; NaN isn't among them.
    """
    refused = {}
    for kind, (classes, change) in ODD.items():
        problem = _Problem(classes, change)
        try:
            conf = problem.score(postprocessor, problem.sets).conf
        except UserError as error:
            rule(str(error), f"{kind}: the UserError has no message")
            refused[kind] = str(error)
            continue
        rule(bool(np.isfinite(conf).all()), f"{kind}: a confidence is not finite")
        if kind == "float16":
            wide = problem.with_features(lambda name, features: features.astype(np.float64))
            rule(
                np.allclose(conf, problem.score(postprocessor, wide).conf, rtol=FLOAT16_TOLERANCE, atol=1e-6),
                "float16: the same features in float64 give other confidences",
            )
    _check_nan(postprocessor)
    return refused


def _check_nan(postprocessor: Any) -> None:
    problem = _Problem(CLASSES, lambda features, labels: features)
    for where in ("test", *sorted(postprocessor.needs)):

        def spoiled(name: str, features: NDArray[Any], where: str = where) -> NDArray[Any]:
            features = np.array(features)
            if name == where:
                features[3, 2] = np.nan
            return features

        try:
            problem.score(postprocessor, problem.with_features(spoiled))
        except UserError as error:
            rule("nan" in str(error).lower(), f"NaN in the {where} set: the error doesn't name it: {error}")
        else:
            rule(False, f"NaN in the {where} set must be refused")
