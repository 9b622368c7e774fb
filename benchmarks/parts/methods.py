"""One score by one implementation, behind two calls: ``fit`` and ``score``.

OpenOOD's and pytorch-ood's classes are used as they are, with the parameters of this package's preset
``openood``: K = 50, ViM's dimension, GEN's M = 100 and γ = 0.1, the 90th percentile for ReAct and ASH-B.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from openood_multimodal.arrays import Embeddings, LinearHead

SCORES = ("msp", "ebo", "mls", "mds", "react", "ash", "gen", "knn", "vim")
OPENOOD_BATCH = 200  # of OpenOOD's own data configs; its MDS multiplies batch by batch


class Problem(NamedTuple):
    """What is fitted to and scored: ``test`` holds ID rows and then OOD rows (label -1)."""

    train: Embeddings
    val: Embeddings
    test: Embeddings
    head: LinearHead
    neighbours: int
    vim_dim: int

    def parameters(self, score: str) -> dict[str, Any]:
        """Return the parameters of a score that follow from the problem's size."""
        return {"knn": {"K": self.neighbours}, "vim": {"dim": self.vim_dim}}.get(score, {})

    def small(self) -> Problem:
        """Return a few rows and columns of it, to load libraries and start threads before anything is timed."""
        rows = max(320, 2 * self.head.num_classes)
        dim = min(self.head.dim, 320)

        def cut(each: Embeddings) -> Embeddings:
            return Embeddings(np.ascontiguousarray(each.features[:rows, :dim]), each.labels[:rows])

        head = LinearHead(np.ascontiguousarray(self.head.weight[:, :dim]), self.head.bias)
        return Problem(
            cut(self.train),
            cut(self.val),
            cut(self.test),
            head,
            min(self.neighbours, 20),
            min(self.vim_dim, dim // 2),
        )


class Scored(NamedTuple):
    """Confidences ``[N]``, higher = more ID, and predictions ``[N]`` where the implementation gives them."""

    conf: NDArray[Any]
    pred: NDArray[np.int64] | None = None


class Method(Protocol):
    """An implementation of a score."""

    def fit(self, problem: Problem) -> None:
        """Learn from the training or validation set."""

    def score(self, problem: Problem) -> Scored:
        """Score the test set."""


class Native:
    """This package's, by itself."""

    def __init__(self, score: str, problem: Problem) -> None:
        from openood_multimodal.registry import POSTPROCESSORS

        self.inner = POSTPROCESSORS.get(score)(**problem.parameters(score))

    def fit(self, problem: Problem) -> None:
        self.inner.fit(problem.train, problem.val, problem.head)

    def score(self, problem: Problem) -> Scored:
        pred, conf = self.inner.score(problem.test)
        return Scored(conf, pred)


class OpenOOD:
    """OpenOOD's class, unchanged, through this package's engine ``openood``."""

    def __init__(self, score: str, problem: Problem, batch: int = OPENOOD_BATCH) -> None:
        from openood_multimodal.plugin.adapters import OpenOODPostprocessor

        self.inner = OpenOODPostprocessor(score, problem.parameters(score), batch_size=batch)

    def fit(self, problem: Problem) -> None:
        self.inner.fit(problem.train, problem.val, problem.head)

    def score(self, problem: Problem) -> Scored:
        pred, conf = self.inner.score(problem.test)
        return Scored(conf, pred)


class PytorchOOD:
    """pytorch-ood's detector on stored features; its outlier scores with the sign turned."""

    def __init__(self, score: str, problem: Problem) -> None:
        import torch
        from pytorch_ood import detector  # type: ignore[import-not-found]

        self.torch = torch
        self.weight, self.bias = (torch.from_numpy(each) for each in (problem.head.weight, problem.head.bias))
        make: dict[str, Callable[[], Any]] = {
            "msp": lambda: detector.MaxSoftmax(None),
            "ebo": lambda: detector.EnergyBased(None),
            "mls": lambda: detector.MaxLogit(None),
            "gen": lambda: detector.GEN(None, gamma=0.1, M=100),
            "mds": lambda: detector.Mahalanobis(None),
            "knn": lambda: detector.KNN(None, k=problem.neighbours),
            "vim": lambda: detector.ViM(None, d=problem.vim_dim, w=self.weight, b=self.bias),
            "react": lambda: detector.ReAct(None, self._head, percentile=0.9),
            "ash": lambda: detector.ASH(None, self._head, variant="ash-b", percentile=0.9),
        }
        self.name = score
        self.inner = make[score]()

    def _head(self, features: Any) -> Any:
        return features.flatten(1) @ self.weight.T + self.bias

    def fit(self, problem: Problem) -> None:
        each = problem.val if self.name == "react" else problem.train
        features, labels = self.torch.from_numpy(each.features), self.torch.from_numpy(each.labels)
        if self.name in ("mds", "knn", "vim"):
            self.inner.fit_features(features, labels)
        elif self.name == "react":
            self.inner.fit_feature_maps(features, labels)

    def score(self, problem: Problem) -> Scored:
        features = self.torch.from_numpy(problem.test.features)
        with self.torch.no_grad():
            if self.name in ("mds", "knn", "vim"):
                outlier = self.inner.predict_features(features)
            elif self.name == "react":
                outlier = self.inner.predict_feature_maps(features)
            elif self.name == "ash":
                outlier = self.inner.predict_feature_maps(features[:, :, None, None])
            else:
                outlier = self.inner.predict_logits(self._head(features))
        return Scored(-outlier.numpy())


class Faiss:
    """faiss's flat index on rows of unit norm: KNN and nothing else."""

    def __init__(self, score: str, problem: Problem) -> None:
        self.neighbours = problem.neighbours

    def fit(self, problem: Problem) -> None:
        import faiss

        self.index = faiss.IndexFlatL2(problem.head.dim)
        self.index.add(self._unit(problem.train.features))

    def score(self, problem: Problem) -> Scored:
        distances, _ = self.index.search(self._unit(problem.test.features), self.neighbours)
        return Scored(-distances[:, -1])

    @staticmethod
    def _unit(features: NDArray[Any]) -> NDArray[np.float32]:
        return np.asarray(features / np.linalg.norm(features, axis=1, keepdims=True), dtype=np.float32)


class Reference:
    """Literal float64."""

    def __init__(self, score: str, problem: Problem) -> None:
        from benchmarks.reference_scores import REFERENCES

        self.function = REFERENCES[score]

    def fit(self, problem: Problem) -> None:
        """Nothing: the function does both."""

    def score(self, problem: Problem) -> Scored:
        return Scored(self.function(problem))


KINDS: dict[str, Callable[[str, Problem], Method]] = {
    "native": Native,
    "openood": OpenOOD,
    "pytorch_ood": PytorchOOD,
    "faiss": Faiss,
    "reference": Reference,
}
