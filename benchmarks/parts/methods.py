"""One score by one implementation, behind two calls: ``fit`` and ``score``.

OpenOOD's and pytorch-ood's classes (the latter in `pytorch_ood_detectors`) are used as they are, with the parameters of
this package's preset ``openood``: K = 50, ViM's dimension, GEN's M = 100 and γ = 0.1, the 90th percentile for ReAct
and ASH-B.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from openood_multimodal.arrays import Embeddings, LinearHead

from .embeddings import slices_of, with_modality_heads
from .pytorch_ood_detectors import DETECTORS

SCORES = ("msp", "ebo", "mls", "mds", "react", "ash", "gen", "knn", "vim")
OPENOOD_BATCH = 200  # of OpenOOD's own data configs; its MDS multiplies batch by batch
PYTORCH_OOD_BATCH = 200  # rows that DICE and the detectors by gradient get at once: they make [B, C, D]


def sized(score: str, neighbours: int, dim: int) -> dict[str, Any]:
    """Return the parameters of a score that follow from a problem's size."""
    found: dict[str, dict[str, Any]] = {
        "knn": {"K": neighbours},
        "residual": {"dim": dim},
        "vim": {"dim": dim},
    }
    return found.get(score, {})


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
        return sized(score, self.neighbours, self.vim_dim)

    def small(self) -> Problem:
        """Return a few rows and columns of it, to load libraries and start threads before anything is timed."""
        rows = max(320, 2 * self.head.num_classes)
        dim = min(self.head.dim, 320)

        def cut(each: Embeddings) -> Embeddings:
            features = np.ascontiguousarray(each.features[:rows, :dim])
            return Embeddings(features, each.labels[:rows], slices=slices_of(dim))

        head = with_modality_heads(np.ascontiguousarray(self.head.weight[:, :dim]), self.head.bias)
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

        self.torch, self.name, self.kind = torch, score, DETECTORS[score]
        weight, bias = (torch.from_numpy(each.copy()) for each in (problem.head.weight, problem.head.bias))
        self.head = torch.nn.Linear(weight.shape[1], weight.shape[0], dtype=weight.dtype)
        self.head.load_state_dict({"weight": weight, "bias": bias})
        self.inner = self.kind.make(detector, problem, self.head)

    def fit(self, problem: Problem) -> None:
        if not self.kind.fit:
            return
        each = problem.train if self.kind.fit == "train" else problem.val
        features, labels = self.torch.tensor(each.features), self.torch.tensor(each.labels)
        if self.kind.reads == "logits":
            with self.torch.no_grad():
                features = self.head(features)
            self.inner.fit_logits(features, labels)
        elif self.kind.reads == "features":
            self.inner.fit_features(features, labels)
        elif self.kind.reads == "maps":
            self.inner.fit_feature_maps(features, labels)
        else:
            self.inner.fit([(features.requires_grad_(), labels)])

    def score(self, problem: Problem) -> Scored:
        features = self.torch.tensor(problem.test.features)
        batch = PYTORCH_OOD_BATCH if self.name in ("dice", "gradnorm") else len(features)
        found = self.torch.cat([self._outlier(part) for part in features.split(batch)])
        return Scored(-found.detach().numpy())

    def _outlier(self, features: Any) -> Any:
        if self.kind.reads == "input":
            return self.inner.predict(features.clone().requires_grad_())
        with self.torch.no_grad():
            if self.kind.reads == "logits":
                return self.inner.predict_logits(self.head(features))
            if self.kind.reads == "features":
                return self.inner.predict_features(features)
            shaped = self.name in ("react", "vra")  # these shape vectors just as maps
            return self.inner.predict_feature_maps(features if shaped else features[:, :, None, None])


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
