"""Checks of evaluators."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..datasets.loaders import EmbeddingLoader
from ..networks import EmbeddingHead
from ._rules import rule
from .postprocessors import _sets


class _Largest:
    """A score for the check: the largest logit, in OpenOOD's shape."""

    name = "largest"

    def inference(self, net: Any, loader: Any, progress: bool = True) -> tuple[Any, Any, Any]:
        embeddings = loader.embeddings
        return embeddings.logits.argmax(1), embeddings.logits.max(1), embeddings.labels


def check_evaluator(evaluator: Any, name: str = "near_ood") -> None:
    """Hold an evaluator to OpenOOD's interface.

    Args:
        evaluator: the class, constructed with a config.
        name: under which the config asks for it; decides whether it is given near or far sets.
    """
    train, val, test, head = _sets()
    net = EmbeddingHead(head.weight, head.bias)
    with tempfile.TemporaryDirectory() as folder:
        config = {
            "output_dir": folder,
            "dataset": {"name": "check"},
            "evaluator": {"name": name},
            "postprocessor": {"name": "largest"},
            "recorder": {"save_csv": True, "save_scores": True},
        }
        made = evaluator(config)
        groups = tuple(getattr(made, "groups", ("farood" if name == "far_ood" else "nearood",)))
        metrics = made.eval_acc(net, EmbeddingLoader(val), None, 3)
        assert val.logits is not None
        accuracy = float(np.mean(val.logits.argmax(1) == val.labels))
        rule(abs(float(metrics["acc"]) - accuracy) < 1e-6, "eval_acc's acc is the accuracy")
        rule(metrics["epoch_idx"] == 3, "eval_acc passes epoch_idx on")
        loaders = {
            "test": EmbeddingLoader(test),
            "train": EmbeddingLoader(train),
            "val": EmbeddingLoader(val),
        }
        result = made.eval_ood(
            net, loaders, {each: {"other": EmbeddingLoader(train)} for each in groups}, _Largest()
        )
        rule(
            isinstance(result, Mapping)
            and {name: [*sets] for name, sets in result.items()} == {each: ["other"] for each in groups},
            "eval_ood returns a mapping group → OOD set → metrics",
        )
        for group in groups:
            for metric, value in result[group]["other"].items():
                number = float(getattr(value, "value", value))
                rule(0 <= number <= 1, f"metrics are fractions in [0, 1]; {metric} is {number}")
        made.report({"acc": accuracy})
