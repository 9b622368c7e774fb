"""Virtual-logit matching."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import linalg

from ..arrays import Embeddings, LinearHead, Scores
from ..errors import UserError
from ..registry import POSTPROCESSORS
from .base import Postprocessor
from .params import ScoreInfo, require_whole
from .rows import Floats, Rows, feature_blocks, largest
from .softmax import logsumexp
from .spectra import EPS, Subspace, leading_subspace
from .statistics import Centred, mean


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
    subspace: Subspace
    alpha: float

    def estimate(self, train: Embeddings | None, val: Embeddings | None, head: LinearHead | None) -> None:
        """Estimate origin, principal subspace and α from ``train`` and ``head``.

        Raises:
            UserError: without a head; where ``dim`` isn't below D, or leaves nothing of the features.
        """
        assert train is not None
        if head is None:
            raise UserError("vim needs the head: weight [C, D] and bias [C].")
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
        average = mean(train.features)
        self.subspace = leading_subspace(Centred(train.features, average[None]), average - self.origin, dim)
        residual_sum = logit_sum = 0.0
        for _, block in feature_blocks(train.features):
            residual_sum += float(self.residual_norms(block).sum())
            logit_sum += float(np.max(head.logits(block), axis=1).sum())
        residual = residual_sum / len(train)
        if residual <= train.dim * EPS * np.sqrt(self.subspace.scale):
            raise UserError(
                f"vim: dim={dim} leaves no residual: the {len(train)} training rows span only "
                f"{self.subspace.rank(train.dim)} dimensions; set a smaller vim.dim."
            )
        self.alpha = (logit_sum / len(train)) / residual

    def residual_norms(self, features: Floats) -> Floats:
        """Return ``[B]``, the norm of ``features - origin`` outside the principal subspace."""
        shifted = features - self.origin
        # the difference of vectors, not of squared norms: the latter cancels where the residual is small
        shifted -= (shifted @ self.subspace.basis) @ self.subspace.basis.T
        return np.sqrt(np.einsum("ij,ij->i", shifted, shifted))

    def score_rows(self, rows: Rows) -> Scores:
        """Return energy minus the virtual logit."""
        logits = rows.head_logits(rows.features)
        return Scores(largest(logits), logsumexp(logits) - self.alpha * self.residual_norms(rows.features))


def head_is_singular(head: LinearHead) -> bool:
    """Return whether the head's smallest singular value is below float32 rounding of the largest."""
    singular = linalg.svdvals(head.weight.astype(np.float64))
    return bool(singular[-1] < np.finfo(np.float32).eps * singular[0])


def origin_of(head: LinearHead) -> Floats:
    """Return ``[D]`` u = -W⁺b: the feature of smallest norm whose logits are nearest to 0.

    Singular values up to max(C, D) · 2.2e-16 times the largest one count as 0.
    """
    weight = head.weight.astype(np.float64)
    return np.asarray(-(linalg.pinv(weight) @ head.bias.astype(np.float64)))
