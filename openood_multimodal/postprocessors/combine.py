"""What scores that combine other scores share: their parts, a common scale, and the combination itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from ..arrays import Embeddings, LinearHead, Scores
from ..errors import UserError
from ..linalg.rows import Floats
from ..naming import did_you_mean
from .base import Postprocessor
from .params import require_number
from .shared import Shared

COMBINE = ("mean", "min", "max")
NORMALIZE = ("none", "zscore", "rank")

Normalizer = Callable[[NDArray[Any]], Floats]


def normalizer(kind: str, reference: NDArray[Any]) -> Normalizer:
    """Return a map of confidences ``[B]`` to a common scale, float64 ``[B]``.

    Args:
        kind: ``"none"``; ``"zscore"``: minus the mean, divided by the standard deviation of ``reference``;
            ``"rank"``: the share of ``reference`` below, ties counted half, in [0, 1].
        reference: float ``[N]``, confidences of in-distribution samples.
    """
    if kind == "rank":
        ordered = np.sort(np.asarray(reference, dtype=np.float64))

        def rank(conf: NDArray[Any]) -> Floats:
            low, high = (np.searchsorted(ordered, conf, side=side) for side in ("left", "right"))
            return np.asarray((low + high) / (2.0 * len(ordered)))

        return rank
    mean, deviation = 0.0, 1.0
    if kind == "zscore":
        mean, deviation = (
            float(np.mean(reference, dtype=np.float64)),
            float(np.std(reference, dtype=np.float64)),
        )
    if not np.isfinite(mean) or not np.isfinite(deviation):
        raise UserError(
            "confidences of the reference set are too large for their mean and standard deviation."
        )
    return lambda conf: (np.asarray(conf, dtype=np.float64) - mean) / (deviation or 1.0)


class Combination(Postprocessor):
    """A score made of other scores.

    Class attributes:
        num_scores: how many scores it combines: at least, and at most (None: any number).
        example: how it is written.

    Instance attributes:
        scores: the scores that it combines, not fitted; `fit` fits copies.

    Args:
        scores: the scores.
        params: all parameters, or None for the defaults.
        overrides: single parameters.

    Raises:
        UserError: for another number of scores, an unknown parameter, or a value outside its range.
    """

    num_scores: ClassVar[tuple[int, int | None]]
    example: ClassVar[str]

    @dataclass(frozen=True)
    class Params(Postprocessor.Params):
        """Parameters: ``combine``, how; ``normalize``, the common scale, estimated on ID validation."""

        combine: Literal["mean", "min", "max"] = "mean"
        normalize: Literal["none", "zscore", "rank"] = "none"

        def __post_init__(self) -> None:
            for key, known in (("combine", COMBINE), ("normalize", NORMALIZE)):
                value = getattr(self, key)
                if value not in known:
                    raise UserError(f"{key} is '{value}'.{did_you_mean(str(value), known)}")

    params: Params

    def __init__(self, *scores: Postprocessor, params: Params | None = None, **overrides: Any) -> None:
        super().__init__(params, **overrides)
        least, most = self.num_scores
        if not least <= len(scores) <= (most or len(scores)):
            count = f"{least}" if least == most else f"at least {least}"
            raise UserError(
                f"{self.name} combines {count} score(s), got {len(scores)}; write {self.example}, or list them "
                "under scores."
            )
        strange = next((each for each in scores if not isinstance(each, Postprocessor)), None)
        if strange is not None:
            raise UserError(f"{self.name} combines scores of this package; {strange!r} is none.")
        self.scores = scores
        changed = [f"{key}={_plain(value)}" for key, value in super().parameters.items()
                   if value != getattr(type(self.params)(), key)]  # fmt: skip
        self.name = f"{self.name}({','.join([each.name for each in scores] + changed)})"
        self.fit_reads_params = any(each.fit_reads_params for each in scores)
        self.needs = frozenset[str]().union(*(each.needs for each in scores))
        if self.needs_reference:
            self.needs |= {"val"}
        self._normalizers: list[Normalizer] = []

    @classmethod
    def from_preset(cls, preset: str, *scores: Postprocessor, **overrides: Any) -> Self:
        """Return the combination of ``scores``, each made with its own preset; see `Postprocessor.from_preset`."""
        if preset not in cls.presets:
            raise UserError(f"there is no preset called '{preset}'.{did_you_mean(preset, cls.presets)}")
        return cls(*scores, **{**cls.presets[preset], **overrides})

    @property
    def needs_reference(self) -> bool:
        """Whether ID validation samples are needed to combine confidences."""
        return self.params.normalize != "none"

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters in force, and under ``scores`` those of the scores combined."""
        return {**super().parameters, "scores": {each.name: each.parameters for each in self.scores}}

    def reference_set(self, shared: Shared) -> Embeddings:
        """Return the ID validation set, or the training set, with a note."""
        return shared.validation_set(self, "the common scale")

    def combine(self, confidences: Sequence[NDArray[Any]], weights: Sequence[float] | None = None) -> Floats:
        """Return float64 ``[B]``, combined from confidences ``[B]`` of each part, brought to the common scale."""
        scaled = np.stack([scale(conf) for scale, conf in zip(self._normalizers, confidences, strict=True)])
        if weights is not None:
            return np.asarray(np.asarray(weights, dtype=np.float64) @ scaled / sum(weights))
        reduce: Callable[..., Floats] = getattr(np, self.params.combine)
        return np.asarray(reduce(scaled, axis=0))

    def learn_scale(self, references: Sequence[Scores] | None, parts: int) -> None:
        """Take the common scale from each part's confidences on the reference set."""
        kind = self.params.normalize
        self._normalizers = (
            [normalizer(kind, np.empty(0)) for _ in range(parts)]
            if references is None
            else [normalizer(kind, each.conf) for each in references]
        )

    def take_notes(self, part: Postprocessor, where: str = "") -> None:
        """Pass on what the fit of a part has noted."""
        self.notes += [f"{self.name}{where}: {note}" for note in part.notes]


def check_weights(weights: Sequence[float], combine: str) -> None:
    """Raise `UserError` unless weights are at least 0, not all 0, and go with ``combine``."""
    for value in weights:
        require_number("a weight", value, 0.0)
    if not sum(weights) > 0:
        raise UserError("weights are all 0; at least one must be positive.")
    if combine != "mean":
        raise UserError(f"weights make a weighted mean, so they don't go with combine={combine}.")


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return "[" + ",".join(map(str, value.values())) + "]"
    return "[" + ",".join(map(str, value)) + "]" if isinstance(value, list | tuple) else str(value)


def own_head(head: LinearHead | None, modality: str) -> LinearHead | None:
    """Return a modality's own head, or None where it isn't known."""
    return head.modality_heads.get(modality) if head is not None else None
