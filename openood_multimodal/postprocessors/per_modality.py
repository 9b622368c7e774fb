"""One score on every modality by itself."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arrays import Embeddings, LinearHead, Scores
from ..errors import UserError
from ..registry import POSTPROCESSORS
from .base import Postprocessor
from .combine import Combination, check_weights, own_head
from .params import ScoreInfo
from .plan import fit_all, score_all
from .rows import Rows
from .shared import Shared

FITTED = "validation"
"""``weights`` to be taken from each modality's accuracy on ID validation samples."""


@POSTPROCESSORS.register("per_modality")
class PerModality(Combination):
    """Any score on each modality's own embedding and head, combined over the modalities.

    ``weights: validation`` weighs a modality by how far its own head's accuracy on ID validation samples is
    above chance: w_k = max(ACC_k - 1/C, 0).  Scores whose size depends on the width of an embedding (distances)
    should be brought to a common scale: ``normalize: zscore``.
    """

    name = "per_modality"
    num_scores = (1, 1)
    example = "per_modality(msp)"
    info = ScoreInfo("One score on every modality by itself", "openood-multimodal", "software", 2026, "")
    reads_modality_logits = True

    @dataclass(frozen=True)
    class Params(Combination.Params):
        """Parameters: ``combine`` mean, min or max; ``normalize`` none, zscore or rank; ``weights``: a number for
        each modality (a mapping, or a list in the modalities' order), or ``validation``.
        """

        weights: Mapping[str, float] | Sequence[float] | str | None = None

        def __post_init__(self) -> None:
            super().__post_init__()
            if isinstance(self.weights, str) and self.weights != FITTED:
                raise UserError(f"weights is '{self.weights}'; give numbers, or {FITTED}.")
            if self.weights is not None:
                given = list(self.weights.values()) if isinstance(self.weights, Mapping) else self.weights
                check_weights([1.0] if isinstance(given, str) else given, self.combine)

    params: Params
    _parts: dict[str, Postprocessor]

    def __init__(self, *scores: Any, params: Params | None = None, **overrides: Any) -> None:
        super().__init__(*scores, params=params, **overrides)
        self.reads_features = self.scores[0].reads_features or self.scores[0].needs_head

    @property
    def needs_reference(self) -> bool:
        """Whether ID validation samples are needed to combine confidences."""
        return super().needs_reference or self.params.weights == FITTED

    @property
    def needs_slices(self) -> bool:
        """Whether the score reads the modalities' columns."""
        return self.reads_features

    def check_inputs(self, embeddings: Embeddings, head: LinearHead | None, label: str = "") -> None:
        """As `Postprocessor.check_inputs`, for the score on each modality."""
        super().check_inputs(embeddings, head, label)
        score = self.scores[0]
        for name in embeddings.modalities:
            own = own_head(head, name)
            if score.needs_head and own is None:
                raise UserError(
                    f"{self.name} needs the head of each modality, and that of '{name}' isn't known: give "
                    f"weight.{name} [C, D_k] and bias.{name} [C] in the head's .npz, or "
                    "LinearHead(modality_heads=)."
                )
            score.check_inputs(embeddings.modality(name), own, f"{label}{name} ")
        if self.fitted and self._parts and embeddings.modalities != tuple(self._parts):
            raise UserError(
                f"{self.name} was fitted on the modalities {', '.join(self._parts)}; the {label}set has "
                f"{', '.join(embeddings.modalities)}."
            )

    def learn(self, shared: Shared) -> None:
        """Fit the score to each modality, and take scale and weights from the validation set."""
        known = shared.train if shared.train is not None else shared.val
        names = () if known is None else known.modalities
        self._parts = {name: copy.deepcopy(self.scores[0]) for name in names}
        for name, part in self._parts.items():
            train, val = (each and each.modality(name) for each in (shared.train, shared.val))
            fit_all([part], train, val, own_head(shared.head, name), shared.options)
            self.take_notes(part, f" on {name}")
        self._weights = self.params.weights
        references = None
        if self.needs_reference:
            reference = self.reference_set(shared)
            references = [
                score_all([part], {name: reference.modality(name)}, shared.options)[name][0]
                for name, part in self._parts.items()
            ]
            if self._weights == FITTED:
                self._weights = self._above_chance(references, reference, shared.num_classes)
        self.learn_scale(references, len(names))

    def _above_chance(
        self, references: Sequence[Scores], reference: Embeddings, num_classes: int
    ) -> dict[str, float]:
        accuracy = [float(np.mean(each.pred == reference.labels)) for each in references]
        above = {
            name: max(each - 1.0 / num_classes, 0.0) for name, each in zip(self._parts, accuracy, strict=True)
        }
        if not any(above.values()):
            self.notes.append(f"{self.name}: no modality predicts better than chance; all weigh the same.")
            return dict.fromkeys(above, 1.0)
        said = ", ".join(f"{name} {each / sum(above.values()):.3f}" for name, each in above.items())
        self.notes.append(f"{self.name}: weights from ID validation accuracy: {said}.")
        return above

    def _weights_of(self, names: Sequence[str]) -> list[float] | None:
        given = self._weights
        if given is None or isinstance(given, str):
            return None
        if len(given) != len(names) or (isinstance(given, Mapping) and set(given) != set(names)):
            whose = ", ".join(given) if isinstance(given, Mapping) else len(given)
            raise UserError(
                f"{self.name}: weights are given for {whose}; the modalities are {', '.join(names)}."
            )
        return [given[name] for name in names] if isinstance(given, Mapping) else list(given)

    def score_rows(self, rows: Rows) -> Scores:
        """Return the combined confidences; predictions are the fused logits'."""
        if not self._parts:  # the score learns nothing, so `fit` saw no modalities
            for name in rows.modalities:
                self._parts[name] = copy.deepcopy(self.scores[0]).fit(head=own_head(rows.head, name))
            self.learn_scale(None, len(self._parts))
        confidences = [rows.modality(name).scores_of(part).conf for name, part in self._parts.items()]
        return Scores(rows.pred, self.combine(confidences, self._weights_of(tuple(self._parts))))
