"""Virtual-logit matching."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy

from ..arrays import LinearHead, Scores
from ..errors import UserError
from ..linalg.rows import Floats, largest
from ..linalg.spectra import EPS, Subspace
from ..registry import POSTPROCESSORS
from .base import Postprocessor
from .params import ScoreInfo, require_whole
from .rows import Rows
from .softmax import logsumexp

if TYPE_CHECKING:
    from .shared import Shared

CANCELS = 1e-4
"""A squared residual below this share of what it is the difference of is computed from the vector."""


@POSTPROCESSORS.register("vim")
class ViM(Postprocessor):
    """Energy minus α times the norm of what the principal subspace leaves of a feature.

    The origin is u = -W⁺b, the principal subspace is that of the second moment of x - u, and α makes the
    mean residual norm of the training set equal to its mean largest logit.  Logits are the head's.
    """

    name = "vim"
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
    sweep = {"dim_list": (256, 1000)}  # noqa: RUF012

    @dataclass(frozen=True)
    class Params(Postprocessor.Params):
        """Parameters: ``dim``, dimensions of the principal subspace, below D."""

        dim: int = 256

        def __post_init__(self) -> None:
            require_whole("dim", self.dim, 1)

    params: Params
    origin: Floats
    mean: Floats
    subspace: Subspace
    alpha: float

    @property
    def limits(self) -> dict[str, int]:
        """The subspace leaves at least one dimension."""
        return {"dim": len(self.origin) - 1} if self.fitted else {}

    def learn(self, shared: Shared) -> None:
        """Take origin, principal subspace and α from the training embeddings and the head.

        Raises:
            UserError: where ``dim`` isn't below D, or leaves nothing of the features.
        """
        train, head = shared.train_set, shared.head
        assert head is not None  # needs_head
        dim = self.params.dim
        if dim >= train.dim:
            raise UserError(
                f"vim: dim={dim} must be below the features' {train.dim} columns; set a smaller vim.dim."
            )
        self.origin = origin_of(head)
        if head_is_singular(head):
            self.notes.append(
                "vim: the head is singular within float32 rounding, so its origin u is far away "
                f"(|u| = {np.linalg.norm(self.origin):.3g}) and rests on the weights' last digits."
            )
        self.subspace = shared.subspace(self.origin, dim)
        self.mean = shared.mean
        # the mean of norms is in no moment: it takes the rows a second time
        residual = sum(float(self.residual_norms(block).sum()) for block in shared.feature_blocks(train))
        residual /= len(train)
        if residual <= train.dim * EPS * np.sqrt(self.subspace.scale):
            raise UserError(
                f"vim: dim={dim} leaves no residual: the {len(train)} training rows span only "
                f"{self.subspace.rank} dimensions; set a smaller vim.dim."
            )
        if self.subspace.rank < dim:
            self.notes.append(
                f"vim: only {self.subspace.rank} of the dim={dim} directions stand out of rounding, so what these "
                "leave of the features is rounding in part; set a smaller vim.dim."
            )
        self.alpha = shared.largest_logit / residual

    def residual_norms(self, features: Floats) -> Floats:
        """Return ``[B]``, the norm of ``features - origin`` outside the principal subspace.

        With x - u = (x - m) + (m - u), m the training mean, the huge part of u of a nearly singular head
        has gone into the subspace already: what is left of m - u is small, and known exactly.
        """
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
        """Return energy minus the virtual logit."""
        logits = rows.own_logits
        return Scores(largest(logits), logsumexp(logits) - self.alpha * self.residual_norms(rows.features))


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
