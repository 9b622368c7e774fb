"""Checks of postprocessors."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from ..arrays import Embeddings, LinearHead
from ..datasets.loaders import EmbeddingLoader
from ..networks import EmbeddingHead
from ._rules import refuses, rule, same

WIDTH, CLASSES = 48, 5


def _sets() -> tuple[Embeddings, Embeddings, Embeddings, LinearHead]:
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(CLASSES, WIDTH)).astype(np.float32)
    head = LinearHead(weight, rng.normal(size=CLASSES).astype(np.float32))

    def make(n: int) -> Embeddings:
        labels = np.arange(n) % CLASSES
        features = np.abs(rng.normal(size=(n, WIDTH)) + weight[labels]).astype(np.float32)
        features.setflags(write=False)
        slices = {"first": (0, WIDTH // 2), "second": (WIDTH // 2, WIDTH)}
        return Embeddings(features, labels.astype(np.int64), head.logits(features), slices=slices)

    return make(200), make(80), make(60), head


def check_postprocessor(postprocessor: Any) -> None:
    """Hold a postprocessor to the contract, on embeddings of 48 columns and 5 classes.

    Args:
        postprocessor: an instance that has not been fitted, with parameters that suit 200 training rows of 48.
    """
    train, val, test, head = _sets()
    refuses(lambda: postprocessor.score(test), "scoring before fit must be refused")
    rule(postprocessor.fit(train, val, head) is postprocessor, "fit returns the postprocessor itself")
    scores = postprocessor.score(test)
    rule(scores.pred.shape == (len(test),) and scores.pred.dtype == np.int64, "pred is int64 [N]")
    rule(scores.conf.shape == (len(test),) and scores.conf.dtype.kind == "f", "conf is float [N]")
    rule(bool(np.isfinite(scores.conf).all()), "a confidence is not finite")
    rule(bool((scores.pred >= 0).all() and (scores.pred < CLASSES).all()), "a prediction is no class")
    same(tuple(postprocessor.score(test)), tuple(scores), "scoring again gives other scores")

    part = dataclasses.replace(test, features=test.features[10:31], labels=test.labels[10:31],
                               logits=None if test.logits is None else test.logits[10:31])  # fmt: skip
    rule(
        np.allclose(postprocessor.score(part).conf, scores.conf[10:31], rtol=1e-4, atol=1e-5),
        "a sample's score must not depend on the others that are scored with it",
    )
    pred, conf, labels = postprocessor.inference(EmbeddingHead(head.weight, head.bias), EmbeddingLoader(test))
    same(pred, scores.pred, "inference(net, loader) predicts other classes than score")
    rule(np.allclose(conf, scores.conf), "inference(net, loader) gives other scores than score")
    same(labels, test.labels, "inference(net, loader) returns the labels")
    rule(isinstance(postprocessor.name, str) and postprocessor.name, "a postprocessor has a name")
