"""Several scores together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ..arrays import Embeddings, LinearHead, Scores
from ..errors import UserError
from ..registry import POSTPROCESSORS
from .combine import Combination, check_weights
from .params import ScoreInfo
from .plan import fit_part, score_all
from .rows import Rows
from .shared import Shared


@POSTPROCESSORS.register("ensemble")
class Ensemble(Combination):
    """Several scores, each brought to a common scale by its confidences on ID validation samples, then combined.

    ``zscore`` keeps distances between samples; ``rank`` compares scores of any distribution, but gives all
    samples below the lowest validation confidence one value.
    """

    name = "ensemble"
    num_scores = (2, None)
    example = "ensemble(msp,knn)"
    info = ScoreInfo(
        "Several scores, combined by z-score or rank", "openood-multimodal", "software", 2026, ""
    )

    @dataclass(frozen=True)
    class Params(Combination.Params):
        """Parameters: ``combine`` mean, min or max; ``normalize`` zscore, rank or none; ``weights``, in the order
        of the scores.
        """

        normalize: Literal["none", "zscore", "rank"] = "zscore"
        weights: Sequence[float] | None = None

        def __post_init__(self) -> None:
            super().__post_init__()
            if self.weights is not None:
                check_weights(self.weights, self.combine)

    params: Params

    def __init__(self, *scores: Any, params: Params | None = None, **overrides: Any) -> None:
        super().__init__(*scores, params=params, **overrides)
        if self.params.weights is not None and len(self.params.weights) != len(scores):
            raise UserError(f"{self.name}: {len(self.params.weights)} weights for {len(scores)} scores.")
        for key in ("reads_features", "reads_modality_logits", "needs_head"):
            setattr(self, key, any(getattr(each, key) for each in scores))

    @property
    def needs_slices(self) -> bool:
        """Whether one of the scores has to know which columns belong to which modality."""
        return any(each.needs_slices for each in self.scores)

    def check_inputs(self, embeddings: Embeddings, head: LinearHead | None, label: str = "") -> None:
        """As `Postprocessor.check_inputs`, for each score."""
        for each in self.scores:
            each.check_inputs(embeddings, head, label)

    def learn(self, shared: Shared) -> None:
        """Fit the scores, and take the common scale from the validation set."""
        self._parts = [fit_part(each, shared) for each in self.scores]
        for part in self._parts:
            self.take_notes(part)
        references = None
        if self.needs_reference:
            reference = self.reference_set(shared)
            references = score_all(self._parts, {"reference": reference}, shared.options)["reference"]
        self.learn_scale(references, len(self._parts))

    def score_rows(self, rows: Rows) -> Scores:
        """Return the combined confidences; predictions are the fused logits'."""
        confidences = [rows.scores_of(part).conf for part in self._parts]
        return Scores(rows.pred, self.combine(confidences, self.params.weights))
