"""The optimiser that a config's ``optimizer`` section describes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from ..config import bind
from ..config.ranges import Count, NotNegative


@dataclass(frozen=True)
class OptimizerParams:
    """Keys of the ``optimizer`` section.  The defaults are MultiOOD's: Adam, 1e-4, weight decay 1e-4."""

    name: Literal["adam", "adamw", "sgd"] = "adam"
    num_epochs: Count = 50
    lr: NotNegative = 1e-4
    weight_decay: NotNegative = 1e-4
    momentum: NotNegative = 0.9
    nesterov: bool = True


def optimizer_params(section: Mapping[str, Any]) -> OptimizerParams:
    """Return the ``optimizer`` section's parameters, defaults included."""
    return bind(section, OptimizerParams, where="optimizer", ignore=())


def build_optimizer(net: nn.Module, section: Mapping[str, Any]) -> torch.optim.Optimizer:
    """Return the optimiser of ``net``'s trainable parameters; ``momentum`` and ``nesterov`` are SGD's."""
    params = optimizer_params(section)
    trainable = [p for p in net.parameters() if p.requires_grad]
    if params.name == "sgd":
        return torch.optim.SGD(
            trainable,
            lr=params.lr,
            momentum=params.momentum,
            weight_decay=params.weight_decay,
            nesterov=params.nesterov and params.momentum > 0,
        )
    kind = torch.optim.Adam if params.name == "adam" else torch.optim.AdamW
    # one fused kernel instead of five passes; where it exists, the results are the same from run to run
    return kind(trainable, lr=params.lr, weight_decay=params.weight_decay, fused=True)
