"""Our trainers on several processes: the gradients' mean, as DistributedDataParallel takes it.

Our trainers call ``forward_modalities``, past DistributedDataParallel's own ``forward``, so that it would not
notice; gradients are averaged before each step of the optimiser instead.  An outlier bank stays each
process's own.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import nn


def is_first_process() -> bool:
    """Whether this process writes files: the first of its group, or the only one."""
    return not (dist.is_available() and dist.is_initialized()) or dist.get_rank() == 0


def keep_in_step(net: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Start all processes from the first one's weights, and average gradients from now on.

    Does nothing outside a process group of several.
    """
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return
    for tensor in (*net.parameters(), *net.buffers()):
        dist.broadcast(tensor.data, src=0)
    parameters = [p for group in optimizer.param_groups for p in group["params"] if p.requires_grad]

    def average(*_: Any) -> None:
        # one that no process has a gradient of stays without, as with a single process
        present = torch.tensor([p.grad is not None for p in parameters], dtype=torch.int64)
        present = present.to(parameters[0].device)
        dist.all_reduce(present, op=dist.ReduceOp.MAX)
        for parameter, anywhere in zip(parameters, present.tolist(), strict=True):
            if anywhere:
                gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
                dist.all_reduce(gradient)
                parameter.grad = gradient.div_(dist.get_world_size())

    optimizer.register_step_pre_hook(average)
