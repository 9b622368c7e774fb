"""How a training computes: precision, gradient accumulation, compilation.  The section ``training`` of a config."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..config import bind
from ..config.ranges import Count
from ..errors import UserError
from ..networks.fusion import MultimodalOutput
from ..ranks import world
from .together import shared_forward


@dataclass(frozen=True)
class TrainingOptions:
    """Keys of the ``training`` section; all may be left out.

    Attributes:
        precision: of the network's forward pass: ``float32``, ``bfloat16``, or ``float16`` (CUDA only, with loss
            scaling).  Losses, embeddings and the optimiser stay in float32.
        accumulate: batches whose gradients make one step of the optimiser.  Each batch's losses, its batch norm and its
            outliers are its own; batches left over at an epoch's end are skipped, as a short last batch is.
        sync_batch_norm: whether batch norm takes its statistics over the samples of all ranks (GPUs only).  The authors
            trained with DataParallel, whose statistics are each GPU's own, as without this; the running ones are those
            of rank 0.
        compile: run the network through `torch.compile`; needs a C++ compiler, and pays on a GPU.
    """

    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    accumulate: Count = 1
    sync_batch_norm: bool = False
    compile: bool = False


def training_options(config: Mapping[str, Any]) -> TrainingOptions:
    """Return the ``training`` section's options, or the defaults where there is none."""
    return bind(config.get("training") or {}, TrainingOptions, where="training", ignore=())


class Computation:
    """One training's forward, backward and optimiser step under its options.

    Args:
        options: see `TrainingOptions`.
        device: the network's.
        optimizer: of its parameters.

    Raises:
        UserError: for float16 on a CPU.
    """

    def __init__(
        self, options: TrainingOptions, device: torch.device, optimizer: torch.optim.Optimizer
    ) -> None:
        if options.precision == "float16" and device.type == "cpu":
            raise UserError(
                "training.precision is float16, which a CPU doesn't train in; use bfloat16 or float32."
            )
        if options.sync_batch_norm and device.type == "cpu":
            raise UserError("training.sync_batch_norm is on, and torch synchronises batch norm on GPUs only.")
        self.options = options
        self.device = device
        self.optimizer = optimizer
        self.scaler = torch.amp.GradScaler(device.type, enabled=options.precision == "float16")
        self._waiting = 0
        self._call: Callable[..., MultimodalOutput] | None = None

    def forward(self, net: nn.Module, data: Any) -> MultimodalOutput:
        """Return the network's output on a batch, of all ranks' samples, in float32 whatever it was computed in."""
        if self._call is None:
            self._call = self._prepared(net)
        with self._autocast():
            output = self._call(data)
        return output if self.options.precision == "float32" else _as_float32(output)

    def _prepared(self, net: nn.Module) -> Callable[..., MultimodalOutput]:
        call: Callable[..., MultimodalOutput] = net.forward_modalities  # type: ignore[assignment]
        if world() > 1:
            if self.options.sync_batch_norm:
                nn.SyncBatchNorm.convert_sync_batchnorm(
                    net
                )  # in place, and the parameters stay the same ones
            call = shared_forward(net, self.device, self.options.compile)
        return torch.compile(call) if self.options.compile else call

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.options.precision == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=getattr(torch, self.options.precision))

    def step(self, loss: Tensor) -> None:
        """Add the gradients of ``loss``, and step once those of ``accumulate`` batches are there."""
        if not self._waiting:
            self.optimizer.zero_grad(set_to_none=True)
        share = loss / self.options.accumulate if self.options.accumulate > 1 else loss
        self.scaler.scale(share).backward()
        self._waiting += 1
        if self._waiting == self.options.accumulate:
            self.scaler.step(self.optimizer)
            self.scaler.update()
            self._waiting = 0

    @property
    def between_steps(self) -> bool:
        """Whether no gradient waits for more batches: only then does a saved state hold everything."""
        return self._waiting == 0

    def state_dict(self) -> dict[str, Any]:
        """Return the loss scale; empty without one."""
        return self.scaler.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore `state_dict`."""
        if state:
            self.scaler.load_state_dict(dict(state))


def _as_float32(output: MultimodalOutput) -> MultimodalOutput:
    return MultimodalOutput(
        output.logits.float(),
        output.features.float(),
        {name: value.float() for name, value in output.embeddings.items()},
        {name: value.float() for name, value in output.modality_logits.items()},
    )
