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
    slices = {"first": (0, WIDTH // 2), "second": (WIDTH // 2, WIDTH)}
    own = {name: LinearHead(weight[:, a:b], rng.normal(size=CLASSES).astype(np.float32)) for name, (a, b) in
           slices.items()}  # fmt: skip
    head = LinearHead(weight, rng.normal(size=CLASSES).astype(np.float32), own)

    def make(n: int) -> Embeddings:
        labels = np.arange(n) % CLASSES
        features = np.abs(rng.normal(size=(n, WIDTH)) + weight[labels]).astype(np.float32)
        features.setflags(write=False)
        logits = np.stack([own[name].logits(features[:, a:b]) for name, (a, b) in slices.items()], axis=1)
        return Embeddings(features, labels.astype(np.int64), head.logits(features), logits, slices)

    return make(200), make(80), make(60), head


def check_postprocessor(postprocessor: Any) -> None:
    """Hold a postprocessor to the contract, on embeddings of two modalities of 24 columns each, with 5 classes.

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
                               logits=None if test.logits is None else test.logits[10:31],
                               modality_logits=None if test.modality_logits is None
                               else test.modality_logits[10:31])  # fmt: skip
    rule(
        np.allclose(postprocessor.score(part).conf, scores.conf[10:31], rtol=1e-4, atol=1e-5),
        "a sample's score must not depend on the others that are scored with it",
    )
    net = EmbeddingHead(head.weight, head.bias, head.modality_heads)
    pred, conf, labels = postprocessor.inference(net, EmbeddingLoader(test))
    same(pred, scores.pred, "inference(net, loader) predicts other classes than score")
    rule(np.allclose(conf, scores.conf), "inference(net, loader) gives other scores than score")
    same(labels, test.labels, "inference(net, loader) returns the labels")
    batched = postprocessor.inference(net, list(EmbeddingLoader(test, 16)), progress=False)[1]
    rule(
        np.allclose(batched, scores.conf, rtol=1e-3, atol=1e-4),
        "inference(net, batches), as OpenOOD calls it, gives other scores than score",
    )
    rule(isinstance(postprocessor.name, str) and postprocessor.name, "a postprocessor has a name")
