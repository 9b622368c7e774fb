"""Agree-to-Disagree on ID samples, and discrepancy and entropy of synthesised outliers.

Dong et al., "MultiOOD: Scaling Out-of-Distribution Detection for Multiple Modalities", NeurIPS 2024: Eq. 2,
3, 7 and 8 for two modalities, Appendix D.2 (Eq. 10, 12) for M.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import softmax

from ..errors import UserError
from .checks import check_labels, stack_logits
from .protocols import get_discrepancy, get_protocol

DEFAULT_DISCREPANCY = "hellinger"
DEFAULT_PROTOCOL = "multiood-code"


def a2d_loss(
    modality_logits: Sequence[Tensor],
    labels: Tensor,
    discrepancy: str = DEFAULT_DISCREPANCY,
    protocol: str = DEFAULT_PROTOCOL,
) -> Tensor:
    """Return the Agree-to-Disagree loss of ID samples, to be minimised, unweighted (Eq. 2, 10).

    Minus the mean over modality pairs of the discrepancy between their predictions on the classes other than
    the true one.

    Args:
        modality_logits: M >= 2 floating-point tensors ``[B, C]``, one a modality, B >= 1, C >= 2.
        labels: integer ``[B]`` in ``[0, C)``.  The range is checked on a CPU only.
        discrepancy: ``hellinger``, ``l1``, ``l2``, ``wasserstein``, or a name in the registry.
        protocol: ``multiood-code`` or ``multiood-paper``.

    Returns:
        Scalar <= 0.  Under ``multiood-code`` it is 0 for C = 2, where one class is left.

    Raises:
        UserError: on an unknown name, fewer than two modalities, or shapes and labels that don't fit.

    >>> import torch
    >>> video, flow = torch.tensor([[5.0, 3.0, 0.0]]), torch.tensor([[5.0, 0.0, 3.0]])
    >>> round(a2d_loss([video, flow], torch.tensor([0])).item(), 4), a2d_loss([video, video], torch.tensor([0])).item()
    (-0.7582, -0.0)
    """
    logits = stack_logits(modality_logits, at_least=2)
    check_labels(labels, batch=logits.shape[1], classes=logits.shape[2])
    return _disagreement(get_protocol(protocol).without_true_class(logits, labels), discrepancy, protocol)


def outlier_discrepancy_loss(
    modality_logits: Sequence[Tensor],
    discrepancy: str = DEFAULT_DISCREPANCY,
    protocol: str = DEFAULT_PROTOCOL,
) -> Tensor:
    """Return the discrepancy loss of synthesised outliers, to be minimised, unweighted (Eq. 7, 12).

    As ``a2d_loss``, but on the predictions over all classes: an outlier has no true class to agree on.
    Arguments, result and errors as there; ``modality_logits`` are the M heads' logits of the outliers.
    """
    logits = stack_logits(modality_logits, at_least=2)
    return _disagreement(softmax(logits, dim=-1), discrepancy, protocol)


def outlier_entropy_loss(modality_logits: Sequence[Tensor], protocol: str = DEFAULT_PROTOCOL) -> Tensor:
    """Return minus the mean entropy of the outliers' predictions, to be minimised, unweighted (Eq. 8).

    Args:
        modality_logits: M >= 1 floating-point tensors ``[B, C]``, B >= 1, C >= 2.
        protocol: ``multiood-code`` (in [−1, 0]: normalised by ln C) or ``multiood-paper`` (in [−ln C, 0]).

    Returns:
        Scalar: minus the entropy averaged over modalities and samples.

    Raises:
        UserError: on an unknown protocol or shapes that don't fit.
    """
    return -get_protocol(protocol).entropy(stack_logits(modality_logits, at_least=1)).mean()


def sample_discrepancies(
    modality_logits: Sequence[Tensor],
    labels: Tensor,
    discrepancy: str = DEFAULT_DISCREPANCY,
    protocol: str = DEFAULT_PROTOCOL,
) -> Tensor:
    """Return each sample's discrepancy on the classes other than its own, mean over modality pairs: ``[B]``, >= 0.

    Each sample is a batch of its own.  So minus their mean is ``a2d_loss``, except for one that compares samples with
    each other (``wasserstein``).  Arguments and errors as there; a discrepancy that returns one scalar for all
    pairs is refused.
    """
    logits = stack_logits(modality_logits, at_least=2)
    check_labels(labels, batch=logits.shape[1], classes=logits.shape[2])
    others = get_protocol(protocol).without_true_class(logits, labels)
    values = _between_pairs(others.unsqueeze(-2), discrepancy, protocol)
    if values.ndim != 2:
        raise UserError(
            f"the discrepancy '{discrepancy}' has no value for a single sample; take another one."
        )
    return values.mean(0)


def _disagreement(probabilities: Tensor, discrepancy: str, protocol: str) -> Tensor:
    """Minus the mean over modality pairs of the discrepancy of ``probabilities [M, B, K]``."""
    return -_between_pairs(probabilities, discrepancy, protocol).mean()


def _between_pairs(probabilities: Tensor, discrepancy: str, protocol: str) -> Tensor:
    """The discrepancy of ``probabilities [M, ..., B, K]`` for each pair of modalities: ``[P, ...]``, or one scalar."""
    function = get_discrepancy(discrepancy, protocol)
    modalities = len(probabilities)
    first, second = torch.triu_indices(modalities, modalities, offset=1, device=probabilities.device)  # i < j
    values = function(probabilities.index_select(0, first), probabilities.index_select(0, second))
    expected = (len(first), *probabilities.shape[1:-2])
    if not isinstance(values, Tensor) or values.shape not in ((), expected):
        shape = list(values.shape) if isinstance(values, Tensor) else type(values).__name__
        given = ", ".join(map(str, expected))
        raise UserError(
            f"the discrepancy '{discrepancy}' returned {shape} for two tensors [{given}, B, K]; it must "
            f"average over the batch and return a tensor [{given}] or one scalar."
        )
    return values
