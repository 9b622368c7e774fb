"""Generalised entropy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from ..arrays import Scores
from ..registry import POSTPROCESSORS
from .base import OPENOOD_DEFAULTS, Postprocessor, Preset
from .params import ScoreInfo, require_number, require_whole
from .rows import Rows
from .softmax import log_generalised_entropy


@POSTPROCESSORS.register("gen")
class GEN(Postprocessor):
    """Generalised entropy G = Σ p^γ (1 - p)^γ over the M largest probabilities, given as -log G.

    The order is that of -G; the logarithm doesn't underflow where every term of G does (large γ, sure
    predictions).
    """

    name = "gen"
    info = ScoreInfo(
        title="GEN: Pushing the Limits of Softmax-Based Out-of-Distribution Detection",
        authors="Xixi Liu, Yaroslava Lochman, Christopher Zach",
        venue="CVPR",
        year=2023,
        url="https://openaccess.thecvf.com/content/CVPR2023/html/Liu_GEN_Pushing_the_Limits_of_Softmax-Based_"
        "Out-of-Distribution_Detection_CVPR_2023_paper.html",
    )
    reads_features = False
    presets: ClassVar[Mapping[str, Preset]] = {"openood": OPENOOD_DEFAULTS, "multiood": {"M": None}}
    sweep = {  # noqa: RUF012
        "gamma_list": (0.01, 0.1, 0.5, 1, 2, 5, 10),
        "M_list": (10, 50, 100, 200, 500, 1000),
    }

    @dataclass(frozen=True)
    class Params(Postprocessor.Params):
        """Parameters: exponent ``gamma``, above 0; the ``M`` largest probabilities count, None: all."""

        gamma: float = 0.1
        M: int | None = 100

        def __post_init__(self) -> None:
            require_number("gamma", self.gamma, 0.0, above=True)
            if self.M is not None:
                require_whole("M", self.M, 1)

    params: Params

    def score_rows(self, rows: Rows) -> Scores:
        """Return minus the logarithm of each row's generalised entropy."""
        return Scores(rows.pred, -log_generalised_entropy(rows.logits, self.params.gamma, self.params.M))
