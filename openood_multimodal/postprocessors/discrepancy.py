"""Disagreement of the modalities' own predictions."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from ..arrays import Embeddings, LinearHead, Scores
from ..errors import UserError
from ..registry import DISCREPANCIES, POSTPROCESSORS
from .base import Postprocessor
from .params import ScoreInfo
from .rows import Rows


@POSTPROCESSORS.register("discrepancy")
class Discrepancy(Postprocessor):
    """Minus the mean discrepancy between the predictions of two modalities, over all pairs of modalities.

    conf = -mean over i < j of Discr(p^i, p^j), with p^i the softmax of modality i's own head (Section 4.1: the
    L1 distance is small on ID samples and large on OOD samples).  ``l1`` here is the mean over classes, as
    A2D's code has it: the paper's sum divided by C, so the order is the same.  It says something only where the
    modality heads were trained (``multimodal_multihead``, ``a2d``, ...; not ``multimodal_baseline``).
    """

    name = "discrepancy"
    info = ScoreInfo(
        title="MultiOOD: Scaling Out-of-Distribution Detection for Multiple Modalities (Section 4.1)",
        authors="Hao Dong, Yue Zhao, Eleni Chatzi, Olga Fink",
        venue="NeurIPS",
        year=2024,
        url="https://arxiv.org/abs/2405.17419",
    )
    reads_features = False
    reads_modality_logits = True

    @dataclass(frozen=True)
    class Params(Postprocessor.Params):
        """Parameters: ``discrepancy``, a registered one: ``l1``, ``l2``, ``hellinger``, ``wasserstein``, ...."""

        discrepancy: str = "l1"

        def __post_init__(self) -> None:
            DISCREPANCIES.get(self.discrepancy)

    params: Params

    def check_inputs(self, embeddings: Embeddings, head: LinearHead | None, label: str = "") -> None:
        """As `Postprocessor.check_inputs`; there must be two modalities."""
        super().check_inputs(embeddings, head, label)
        own = embeddings.modality_logits
        if (len(embeddings.modalities) if own is None else own.shape[1]) < 2:
            raise UserError(f"{self.name} compares modalities, so it needs at least 2; there is 1.")

    def score_rows(self, rows: Rows) -> Scores:
        """Return minus the mean discrepancy of each row."""
        import torch  # here: scores that need no torch shouldn't wait for it

        discrepancy = DISCREPANCIES.get(self.params.discrepancy)
        p = torch.softmax(torch.from_numpy(np.array(rows.modality_logits)), dim=-1)
        pairs = list(combinations(range(p.shape[1]), 2))
        first, second = (p[:, list(each)].unsqueeze(-2) for each in zip(*pairs, strict=True))
        # every sample is a batch of its own, [rows, pairs, 1, C]: a score depends on no other sample
        found = discrepancy(first, second)
        if found.shape != (len(rows), len(pairs)):
            raise UserError(
                f"the discrepancy '{self.params.discrepancy}' averages over leading dimensions (shape "
                f"{list(found.shape)} for {list(first.shape)}); it must return one value for each of them."
            )
        return Scores(rows.pred, -found.mean(dim=1).numpy().astype(np.float64))
