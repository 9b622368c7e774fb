"""One forward pass over the samples of all ranks; see `openood_multimodal.ranks`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as distributed
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from .. import ranks
from ..networks.fusion import MultimodalOutput


class _Gather(torch.autograd.Function):
    """Rows of every rank; backward, the gradient of this rank's, times the number of ranks.

    DistributedDataParallel takes the mean over ranks of the gradients of parameters.  Heads and losses are computed of
    all samples by every rank, so for them the mean is right as it is; the gradients of encoders are to be added.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        counts = ranks.gather_counts(len(rows))
        padded = rows.new_zeros((max(counts), *rows.shape[1:]))
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in counts]
        distributed.all_gather(parts, padded)
        ctx.counts = counts
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0].split(ctx.counts)[ranks.rank()] * ranks.world()


def gather_rows(rows: Tensor) -> Tensor:
    """Return ``[ΣB, ...]``: the rows ``[B, ...]`` of every rank, in the order of ranks, differentiable."""
    return _Gather.apply(rows) if ranks.world() > 1 else rows


class _Encoding(nn.Module):
    def __init__(self, net: nn.Module, compiled: bool) -> None:
        super().__init__()
        self.net = net
        # the compiler would warn that it can't follow what is sent to other ranks
        self.gather = torch.compiler.disable(gather_rows) if compiled else gather_rows

    def forward(self, data: Mapping[str, Tensor]) -> MultimodalOutput:
        features = self.net.embed(data)  # type: ignore[operator]
        output: MultimodalOutput = self.net.classify(self.gather(features))  # type: ignore[operator]
        return output


def shared_forward(net: nn.Module, device: torch.device, compiled: bool = False) -> nn.Module:
    """Return what maps this rank's samples to the network's output on those of all ranks.

    Args:
        net: the network.
        device: its device.
        compiled: whether `torch.compile` gets it.
    """
    return DistributedDataParallel(
        _Encoding(net, compiled),
        device_ids=[device] if device.type == "cuda" else None,
        find_unused_parameters=True,  # modality heads, where a training uses none
    )
