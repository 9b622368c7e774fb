"""The decision file: what a decision needs to be applied to other embeddings later; JSON with its checksum."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ..errors import UserError
from ..files import atomic, read_json
from ..files.seal import check_sealed_json, sealed_json

DECISION_FILE = "decision.json"

MAX_ROWS = 300_000
"""Validation rows that a decision file holds at most."""

_OF_RULE = {
    "threshold": ("threshold",),
    "scod": ("threshold", "weight", "temperature", "ratios"),
    "cost": ("costs", "share", "temperature", "ratios"),
}
_REMEDY = "Make the decision file again, with openood-mm decide."


class SavedDecision(BaseModel):
    """A rule with what it was made from.

    Attributes:
        format: marks the file.
        schema_version: of the file's fields.
        postprocessor: the score, as it is asked for.
        preset: of its parameters.
        given: parameters given beside the preset's.
        parameters: those in force.
        engine: name and version of what computes the score.
        rule: one of `rules.RULES`.
        tpr: share of in-distribution samples to be accepted.
        weight: of the rule scod, or None.
        costs: ``reject``, ``error``, ``ood`` of the rule cost, or None.
        share: OOD share that the rule cost reckons with, or None.
        temperature: that calibrates probabilities (scod, cost), or None.
        ratios: P_out / P_in by the rank of a p-value, n + 1 of them (scod, cost), or None.
        threshold: least accepted confidence (threshold, scod), or None.
        dim: D.
        confidences: predicted class → sorted confidences of the validation rows; C lists.
        digests: ``train``, ``head``: SHA-256 of the arrays that the score was fitted to, or None.
        version: of the package.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    format: Literal["openood-multimodal decision"] = "openood-multimodal decision"
    schema_version: Literal[1] = 1
    postprocessor: str
    preset: str
    given: dict[str, Any]
    parameters: dict[str, Any]
    engine: dict[str, str]
    rule: Literal["conformal", "mondrian", "threshold", "scod", "cost"]
    tpr: float = Field(gt=0, lt=1)
    weight: float | None = None
    costs: dict[str, float] | None = None
    share: float | None = None
    temperature: float | None = None
    ratios: list[float] | None = None
    threshold: float | None = None
    dim: int
    confidences: list[list[float]]
    digests: dict[str, str | None]
    version: str

    @model_validator(mode="after")
    def _complete(self) -> Self:
        missing = [name for name in _OF_RULE.get(self.rule, ()) if getattr(self, name) is None]
        if missing:
            raise ValueError(f"the rule {self.rule} lacks {', '.join(missing)}")
        if self.ratios is not None and len(self.ratios) != sum(map(len, self.confidences)) + 1:
            raise ValueError("ratios must be one more than there are confidences")
        return self

    @cached_property
    def groups(self) -> list[NDArray[np.float64]]:
        """Predicted class → sorted confidences of the validation rows, as arrays."""
        return [np.array(each, dtype=np.float64) for each in self.confidences]

    @cached_property
    def calibration(self) -> NDArray[np.float64]:
        """The sorted confidences of all validation rows."""
        return np.sort(np.concatenate(self.groups))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the file, in place of one that is there.

        Raises:
            UserError: when there are more than `MAX_ROWS` validation rows.
        """
        if len(self.calibration) > MAX_ROWS:
            raise UserError(
                f"a decision file holds at most {MAX_ROWS} validation rows, there are {len(self.calibration)}; "
                "take a random part of the validation set."
            )
        atomic.write_json(path, sealed_json(self.model_dump()))

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> SavedDecision:
        """Read a decision file.

        Raises:
            UserError: when it is no decision file, of a later version, or has been changed since it was written.
        """
        content = read_json(Path(path), "a decision file", _REMEDY)
        if not isinstance(content, dict) or content.get("format") != cls.model_fields["format"].default:
            raise UserError(f"{path} is no decision file (decision.json of openood-mm decide).")
        if "sha256" not in content:
            raise UserError(f"{path} has no checksum, which every decision file has. {_REMEDY}")
        rest = check_sealed_json(content, str(path), _REMEDY)
        try:
            return cls.model_validate(rest)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise UserError(f"{path}: field '{where}': {first['msg']}. {_REMEDY}") from error
