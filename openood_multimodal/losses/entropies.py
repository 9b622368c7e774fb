"""Entropies of predictions: functions of logits ``[..., C]`` → ``[...]``, natural logarithm."""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn.functional import log_softmax, softmax


def normalised_entropy_code(logits: Tensor) -> Tensor:
    """−Σ p ln(p + 1e-9) / ln C, as the authors' code has it; in [0, 1] up to the 1e-9.

    >>> import torch
    >>> [round(each, 4) for each in normalised_entropy_code(torch.tensor([[0.0, 0.0], [4.0, 0.0]])).tolist()]
    [1.0, 0.13]
    """
    p = softmax(logits, dim=-1)
    return -(p * (p + 1e-9).log()).sum(-1) / math.log(logits.shape[-1])


def shannon_entropy_paper(logits: Tensor) -> Tensor:
    """−Σ p ln p (the paper, below Eq. 8), in [0, ln C]; from log-probabilities, so that p = 0 gives 0."""
    log_p = log_softmax(logits, dim=-1)
    return -(log_p.exp() * log_p).sum(-1)
