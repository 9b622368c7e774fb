"""One more class in training: its weights in every head belong to the trainer, and the network never has it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from ..networks.fusion import MultimodalOutput


def extra_class(widths: Mapping[str, int]) -> nn.ModuleDict:
    """Return the additional class of each head.

    Args:
        widths: modality → width of its embedding.
    """
    of_modalities = {f"of {name}": nn.Linear(width, 1) for name, width in widths.items()}
    return nn.ModuleDict({"fused": nn.Linear(sum(widths.values()), 1), **of_modalities})


def with_extra_class(heads: nn.ModuleDict, output: MultimodalOutput) -> MultimodalOutput:
    """Return an output whose logits, ``[B, C + 1]``, end with those of the additional class."""
    return output._replace(
        logits=torch.cat((output.logits, heads["fused"](output.features)), dim=1),
        modality_logits={
            name: torch.cat((logits, heads[f"of {name}"](output.embeddings[name])), dim=1)
            for name, logits in output.modality_logits.items()
        },
    )
