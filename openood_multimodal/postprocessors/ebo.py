"""Energy."""

from __future__ import annotations

from dataclasses import dataclass

from ..arrays import Scores
from ..registry import POSTPROCESSORS
from .base import Postprocessor
from .params import ScoreInfo, require_number
from .rows import Rows
from .softmax import energy


@POSTPROCESSORS.register("ebo")
class EBO(Postprocessor):
    """Negative free energy, T·log Σ exp(z / T)."""

    name = "ebo"
    info = ScoreInfo(
        title="Energy-based Out-of-distribution Detection",
        authors="Weitang Liu, Xiaoyun Wang, John D. Owens, Yixuan Li",
        venue="NeurIPS",
        year=2020,
        url="https://arxiv.org/abs/2010.03759",
    )
    reads_features = False
    sweep = {"temperature_list": (1,)}  # noqa: RUF012

    @dataclass(frozen=True)
    class Params(Postprocessor.Params):
        """Parameters: ``temperature`` T, above 0."""

        temperature: float = 1.0

        def __post_init__(self) -> None:
            require_number("temperature", self.temperature, 0.0, above=True)

    params: Params

    def score_rows(self, rows: Rows) -> Scores:
        """Return each row's negative free energy."""
        return Scores(rows.pred, energy(rows.logits, self.params.temperature))
