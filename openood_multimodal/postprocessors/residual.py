"""Norm of what the principal subspace leaves of a feature: ViM's residual alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy
from numpy.typing import NDArray

from ..arrays import LinearHead, Scores
from ..errors import UserError
from ..linalg.rows import Floats, of_float64_parts
from ..linalg.spectra import Subspace
from ..registry import POSTPROCESSORS
from .base import Postprocessor
from .params import ScoreInfo, require_whole
from .rows import Rows

if TYPE_CHECKING:
    from .shared import Shared

CANCELS = 1e-4
"""A squared residual below this share of what it is the difference of is computed from the vector."""


@POSTPROCESSORS.register("residual")
class Residual(Postprocessor):
    """Minus the norm of what the principal subspace leaves of x - u, with ViM's origin u = -W⁺b.

    The subspace is that of the training set's second moment around u, as in the paper.  OpenOOD's class estimates
    it from the validation set; pass that as ``train`` (or ``fit_on: val``) for its figures.
    """

    name = "residual"
    info = ScoreInfo(
        title="ViM: Out-Of-Distribution with Virtual-logit Matching",
        authors="Haoqi Wang, Zhizhong Li, Litong Feng, Wayne Zhang",
        venue="CVPR",
        year=2022,
        url="https://arxiv.org/abs/2203.10807",
    )
    needs = frozenset({"train"})
    needs_head = True
    fit_reads_params = True

    @dataclass(frozen=True)
    class Params(Postprocessor.Params):
        """Parameters: ``dim``, dimensions of the principal subspace, below D (512: OpenOOD's)."""

        dim: int = 512

        def __post_init__(self) -> None:
            require_whole("dim", self.dim, 1)

    params: Params
    origin: Floats
    mean: Floats
    subspace: Subspace

    @property
    def limits(self) -> dict[str, int]:
        """The subspace leaves at least one dimension."""
        return {"dim": len(self.origin) - 1} if self.fitted else {}

    def learn(self, shared: Shared) -> None:
        """Take origin and principal subspace from the training embeddings and the head.

        Raises:
            UserError: where ``dim`` isn't below D.
        """
        train, head, own = shared.train_set, shared.head, type(self).name
        assert head is not None  # needs_head
        dim = self.params.dim
        if dim >= train.dim:
            raise UserError(
                f"{own}: dim={dim} must be below the features' {train.dim} columns; set a smaller {own}.dim."
            )
        self.origin = origin_of(head)
        if head_is_singular(head):
            self.notes.append(
                f"{own}: the head is singular within float32 rounding, so its origin u is far away "
                f"(|u| = {np.linalg.norm(self.origin):.3g}) and rests on the weights' last digits."
            )
        self.subspace = shared.subspace(self.origin, dim)
        self.mean = shared.mean
        if self.subspace.rank < dim:
            self.notes.append(
                f"{own}: only {self.subspace.rank} of the dim={dim} directions stand out of rounding, so what "
                f"these leave of the features is rounding in part; set a smaller {own}.dim."
            )

    def residual_norms(self, features: NDArray[Any]) -> Floats:
        """Return ``[B]``, the norm of ``features - origin`` outside the principal subspace.

        With x - u = (x - m) + (m - u), m the training mean, the huge part of u of a nearly singular head
        has gone into the subspace already: what is left of m - u is small, and known exactly.
        """
        norms = np.empty(len(features))

        def part(where: slice, values: Floats) -> None:
            norms[where] = self._residual_norms(values)

        of_float64_parts(features, part)
        return norms

    def _residual_norms(self, features: Floats) -> Floats:
        basis, outside = self.subspace.basis, self.subspace.outside
        about = features - self.mean
        inside = about @ basis
        whole = np.einsum("ij,ij->i", about, about)
        fixed = float(outside @ outside)
        squared = whole - np.einsum("ij,ij->i", inside, inside) + 2.0 * (about @ outside) + fixed
        lost = squared < CANCELS * (whole + fixed)
        if lost.any():
            residual = about[lost] - inside[lost] @ basis.T + outside
            squared[lost] = np.einsum("ij,ij->i", residual, residual)
        return np.sqrt(squared)

    def score_rows(self, rows: Rows) -> Scores:
        """Return minus the residual norms."""
        return Scores(rows.pred, -self.residual_norms(rows.at_hand))


def head_is_singular(head: LinearHead) -> bool:
    """Return whether the head's smallest singular value is below float32 rounding of the largest."""
    singular = scipy.linalg.svdvals(head.weight.astype(np.float64))
    return bool(singular[-1] < np.finfo(np.float32).eps * singular[0])


def origin_of(head: LinearHead) -> Floats:
    """Return ``[D]`` u = -W⁺b: the feature of smallest norm whose logits are nearest to 0.

    Singular values up to max(C, D) · 2.2e-16 times the largest one count as 0.
    """
    weight = head.weight.astype(np.float64)
    return np.asarray(-(scipy.linalg.pinv(weight) @ head.bias.astype(np.float64)))
