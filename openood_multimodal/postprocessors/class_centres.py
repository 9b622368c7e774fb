"""Class centres of a small encoder that is trained on the embeddings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..arrays import Scores, check_labels, empty_classes, without_empty_classes
from ..errors import UserError
from ..linalg.rows import Floats
from ..registry import POSTPROCESSORS
from .base import Postprocessor
from .params import ScoreInfo, require_number, require_whole
from .rows import Rows
from .trained import Standard, require_trained, training, weights_of

if TYPE_CHECKING:
    from .shared import Shared

PARTS, WIDTH = 4, 128
"""An encoded embedding is held against the centres in four parts of 128 columns each, TagOOD's."""


@POSTPROCESSORS.register("class_centres")
class ClassCentres(Postprocessor):
    """Largest mean cosine of a trained encoding's four parts with those of a class centre: max_c mean_p cos(f_p, c_cp).

    It is the embedding half of TagOOD.  The encoder, here two linear layers with a ReLU (TagOOD: a transformer over
    image tokens), learns to classify the training rows and to stay near moving class centres:
    CE + ``center_weight`` · Σ_p mean (f_p - c_yp)².  Afterwards the centres are the class means of f over all training
    rows, which the moving ones approach.  TagOOD's factor, the largest tag probability, needs tags and is left out.
    """

    name = "class_centres"
    info = ScoreInfo(
        title="TagOOD: A Novel Approach to Out-of-Distribution Detection via Vision-Language Representations and "
        "Class Center Learning",
        authors="Jinglun Li, Xinyu Zhou, Kaixun Jiang, Lingyi Hong, Pinxue Guo, Zhaoyu Chen, Weifeng Ge, "
        "Wenqiang Zhang",
        venue="ACM MM",
        year=2024,
        url="https://arxiv.org/abs/2408.15566",
    )
    needs = frozenset({"train"})
    fit_reads_params = True

    @dataclass(frozen=True)
    class Params(Postprocessor.Params):
        """Parameters: ``center_weight``, ``batch_size``, ``weight_decay`` (0.1, 256 and 0.0005: TagOOD's), ``epochs``,
        ``lr``, ``momentum`` of the centres and ``seed`` (10, 0.001, 0.99 and 0, ours).
        """

        epochs: int = 10
        lr: float = 0.001
        center_weight: float = 0.1
        batch_size: int = 256
        weight_decay: float = 0.0005
        momentum: float = 0.99
        seed: int = 0

        def __post_init__(self) -> None:
            require_whole("epochs", self.epochs, 1)
            require_number("lr", self.lr, 0.0, 1e30, above=True)
            require_number("center_weight", self.center_weight, 0.0)
            require_whole("batch_size", self.batch_size, 1)
            require_number("weight_decay", self.weight_decay, 0.0)
            require_number("momentum", self.momentum, 0.0, 1.0)
            require_whole("seed", self.seed, 0)

    params: Params
    centres: Floats
    """Float64 ``[C, 4, 128]``."""

    def learn(self, shared: Shared) -> None:
        """Train the encoder on the training rows, and take the centres.

        Raises:
            UserError: for a label outside the classes, or a class without a row; where training diverges.
        """
        import torch  # here: scores that need no torch shouldn't wait for it

        train = shared.train_set
        labels = np.asarray(train.labels)
        check_labels(labels, shared.num_classes, "class_centres: the training set")
        if lacking := empty_classes(labels, shared.num_classes):
            raise UserError(
                f"class_centres: {lacking} no training row, so no centre; {without_empty_classes(labels, 'rows')}."
            )
        mean = shared.mean
        squares = shared.summed(lambda rows: float(np.square(rows.features - mean).sum()), train)
        spread = np.sqrt(squares / train.features.size)
        self._standard = Standard(mean, spread or 1.0)
        self._layers = self._trained(torch, train.features, labels, shared)
        classes = shared.num_classes

        def sums_of(rows: Rows, own: NDArray[Any]) -> Floats:
            sums = np.zeros((classes, PARTS * WIDTH))
            np.add.at(sums, own, self._encoded(rows.features).reshape(len(rows), -1))
            return sums

        sums = shared.summed(sums_of, train, labels=labels)
        counts = np.bincount(labels, minlength=classes)
        self.centres = _directions((sums / counts[:, None]).reshape(-1, PARTS, WIDTH))

    def _trained(
        self, torch: Any, features: NDArray[Any], labels: NDArray[np.int64], shared: Shared
    ) -> list[tuple[Floats, Floats]]:
        """Return weight and bias of both layers."""
        width, settings = PARTS * WIDTH, self.params
        steps = settings.epochs * -(-len(labels) // settings.batch_size)
        random = np.random.default_rng(settings.seed)
        with training(self, shared, steps) as stepped:
            encoder = torch.nn.Sequential(
                torch.nn.Linear(features.shape[1], width), torch.nn.ReLU(), torch.nn.Linear(width, width)
            )
            head = torch.nn.Linear(width, shared.num_classes)
            weights = [*encoder.parameters(), *head.parameters()]
            optimiser = torch.optim.AdamW(
                weights, lr=settings.lr, weight_decay=settings.weight_decay, fused=True
            )
            schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps, 1e-5)
            centres = torch.randn(shared.num_classes, width)
            for _ in range(settings.epochs):
                order = random.permutation(len(labels))
                for start in range(0, len(order), settings.batch_size):
                    rows = np.sort(order[start : start + settings.batch_size])
                    x = torch.from_numpy(self._standard.float32(features[rows]))
                    y = torch.from_numpy(labels[rows].astype(np.int64))
                    found = encoder(x)
                    near = (found - centres[y]).square().reshape(len(y), PARTS, WIDTH).mean(-1).sum(-1).mean()
                    loss = torch.nn.functional.cross_entropy(head(found), y) + settings.center_weight * near
                    optimiser.zero_grad()
                    loss.backward()
                    optimiser.step()
                    schedule.step()
                    with torch.no_grad():
                        counts = y.bincount(minlength=len(centres))[:, None]
                        means = torch.zeros_like(centres).index_add_(0, y, found) / counts.clamp(min=1)
                        centres.lerp_(means, (counts > 0) * (1.0 - settings.momentum))
                    stepped()
        require_trained(self.name, weights)
        return weights_of(encoder)

    def _encoded(self, features: Floats) -> Floats:
        """Return ``[B, 4, 128]``."""
        return self._standard.applied(self._layers, features).reshape(len(features), PARTS, WIDTH)

    def score_rows(self, rows: Rows) -> Scores:
        """Return each row's largest mean cosine."""
        parts = _directions(self._encoded(rows.features))
        cosines = np.einsum("bpw,cpw->bc", parts, self.centres, optimize=True) / PARTS
        return Scores(rows.pred, cosines.max(axis=1))


def _directions(parts: Floats) -> Floats:
    norms = np.linalg.norm(parts, axis=-1, keepdims=True)
    return np.asarray(parts / np.where(norms > 0.0, norms, 1.0))
