"""The two protocols: what the authors' published code computes, and what the paper's equations say.

A protocol is a table of functions.  Adding one is registering a table:
``PROTOCOLS.register("mine")(dataclasses.replace(CODE, name="mine", entropy=my_entropy))``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import softmax

from ..registry import DISCREPANCIES, PROTOCOLS
from . import discrepancies, entropies

Discrepancy = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Protocol:
    """One way of computing the multimodal losses.

    Attributes:
        name: as in configs and records.
        without_true_class: ``(logits [M, B, C], labels [B]) → [M, B, C−1]``, predictions on other classes.
        discrepancies: name → function, for the names that this protocol defines itself; all other names come
            from the registry and mean the same under every protocol.
        entropy: logits ``[..., C]`` → ``[...]``.
        summary: one line for listings.
    """

    name: str
    without_true_class: Callable[[Tensor, Tensor], Tensor]
    discrepancies: Mapping[str, Discrepancy]
    entropy: Callable[[Tensor], Tensor]
    summary: str = ""


def drop_true_class(values: Tensor, labels: Tensor) -> Tensor:
    """Return ``values [M, B, C]`` without the entry of each sample's label: ``[M, B, C−1]``, order kept."""
    others = torch.arange(values.shape[-1] - 1, device=values.device).expand(values.shape[-2], -1)
    others = others + (others >= labels.unsqueeze(-1))
    return values.gather(-1, others.expand(len(values), -1, -1))


def renormalised_without_true_class(logits: Tensor, labels: Tensor) -> Tensor:
    """Drop the true class's logit, then take the softmax over the C−1 that are left (the authors' code)."""
    return softmax(drop_true_class(logits, labels), dim=-1)


def probabilities_without_true_class(logits: Tensor, labels: Tensor) -> Tensor:
    """Take the softmax over all C classes, then drop the true class's probability (Eq. 2); sums are ≤ 1."""
    return drop_true_class(softmax(logits, dim=-1), labels)


CODE = Protocol(
    name="multiood-code",
    without_true_class=renormalised_without_true_class,
    discrepancies={
        "hellinger": discrepancies.hellinger_code,
        "l1": discrepancies.l1_code,
        "l2": discrepancies.l2_code,
        "wasserstein": discrepancies.wasserstein,
    },
    entropy=entropies.normalised_entropy_code,
    summary="what MultiOOD's published code computes",
)

PAPER = Protocol(
    name="multiood-paper",
    without_true_class=probabilities_without_true_class,
    discrepancies={
        "hellinger": discrepancies.hellinger_paper,
        "l1": discrepancies.l1_paper,
        "l2": discrepancies.l2_paper,
        "wasserstein": discrepancies.wasserstein,
    },
    entropy=entropies.shannon_entropy_paper,
    summary="what the equations of MultiOOD's paper say",
)


def get_protocol(name: str) -> Protocol:
    """Return the protocol called ``name``.

    Raises:
        UserError: when there is none; the message names the nearest one.
    """
    protocol: Protocol = PROTOCOLS.get(name)
    return protocol


def get_discrepancy(name: str, protocol: str) -> Discrepancy:
    """Return the discrepancy called ``name`` under ``protocol``.

    Raises:
        UserError: when either is unknown; the message names the nearest one.
    """
    table = get_protocol(protocol).discrepancies
    function: Discrepancy = table[name] if name in table else DISCREPANCIES.get(name)
    return function
