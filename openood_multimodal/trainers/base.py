"""The epoch loop that all trainers share.

A trainer's own idea is `MultimodalTrainer.compute_losses`: what one batch's outputs and labels cost.  The rest
is here: the optimiser, moving data, skipping a short last batch, progress, and a state that resumes exactly.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from tqdm import tqdm

from ..config import bind
from ..errors import UserError
from ..networks.fusion import MultimodalOutput
from ..registry import TRAINERS
from .optim import build_optimizer
from .rng import random_state, set_random_state


class MultimodalTrainer(ABC):
    """Base class of trainers, constructed and called as OpenOOD does.

    Args:
        net: a network with ``forward_modalities``, see `openood_multimodal.networks.MultimodalNetwork`.
        train_loader: yields ``{"data": ModalityBatch, "label": LongTensor [B], ...}``.
        config: mapping with the sections ``trainer`` (bound to `Params`) and ``optimizer``, and ``seed``.

    Raises:
        UserError: when a key of the ``trainer`` section is not one of `Params`, or the training set is smaller
            than one batch.
    """

    @dataclass(frozen=True)
    class Params:
        """Declared parameters: the keys that the ``trainer`` section may have beside ``name``."""

    method: ClassVar[Mapping[str, str]] = {}
    """Where the method comes from: ``title``, ``venue``, ``year``, ``url``."""

    min_modalities: ClassVar[int] = 1
    params: Any

    def __init__(self, net: nn.Module, train_loader: Any, config: Mapping[str, Any]) -> None:
        self.net = net
        self.train_loader = train_loader
        self.config = config
        name = config["trainer"].get("name") or TRAINERS.name_of(type(self))
        self.params = bind(config["trainer"], self.Params, where="trainer", ignore=("name",))
        self.seed = int(config.get("seed") or 0)
        self.device = next(net.parameters()).device
        self.optimizer = build_optimizer(net, config["optimizer"])
        self.epoch_progress: tqdm | None = None
        """A bar of the caller's that counts steps; without one, every epoch shows its own."""
        modalities = getattr(getattr(net, "module", net), "modalities", ())
        if len(modalities) < self.min_modalities:
            raise UserError(
                f"the trainer '{name}' compares modalities, so it needs at least {self.min_modalities}, and the "
                f"network has {len(modalities)} ({', '.join(modalities)}). "
                "Add one to dataset.modalities, or train with multimodal_multihead."
            )
        self.batch_size = _full_batch(train_loader)

    @abstractmethod
    def compute_losses(self, output: MultimodalOutput, labels: Tensor, epoch_idx: int) -> dict[str, Tensor]:
        """Return the weighted terms of the loss, each a scalar; their sum is minimised.

        Args:
            output: the network's output on a training batch.
            labels: int64 ``[B]``.
            epoch_idx: counted from 1.
        """

    def train_epoch(self, epoch_idx: int) -> tuple[nn.Module, dict[str, float]]:
        """Train for one epoch.

        Args:
            epoch_idx: counted from 1, as OpenOOD counts.

        Returns:
            The network, and ``{"epoch_idx", "loss", "loss_<term>", ...}``: means over the epoch's steps.

        Raises:
            UserError: when the loss stops being finite.
        """
        self.net.train()
        for each in (self.train_loader.dataset, getattr(self.train_loader, "sampler", None)):
            set_epoch = getattr(each, "set_epoch", None)
            if set_epoch is not None:
                set_epoch(epoch_idx)
        sums: dict[str, Tensor] = {}
        steps = 0
        for batch in self._steps(epoch_idx):
            labels = batch["label"].to(self.device, non_blocking=True)
            data = batch["data"].to(self.device, non_blocking=True)
            terms = self.compute_losses(self._forward(data), labels, epoch_idx)
            loss = torch.stack(list(terms.values())).sum() if len(terms) > 1 else next(iter(terms.values()))
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
            for name, value in (("loss", loss), *((f"loss_{n}", v) for n, v in terms.items())):
                detached = value.detach()
                sums[name] = sums[name] + detached if name in sums else detached
            steps += 1
        if not steps:
            raise UserError("the training set yielded no full batch; lower dataset.train.batch_size.")
        metrics = {name: float(value) / steps for name, value in sums.items()}
        if not torch.isfinite(sums["loss"]):
            raise UserError(
                f"the loss is {float(sums['loss'])} in epoch {epoch_idx}: training diverged. Lower optimizer.lr "
                f"(now {self.optimizer.param_groups[0]['lr']:g}), or look for extreme values in the data."
            )
        return self.net, {"epoch_idx": epoch_idx, **metrics}

    def _forward(self, data: Any) -> MultimodalOutput:
        net = self.net.module if hasattr(self.net, "module") else self.net
        return net.forward_modalities(data)  # type: ignore[operator, union-attr]

    def _steps(self, epoch_idx: int) -> Iterator[Mapping[str, Any]]:
        """Yield the epoch's full batches; the short last one is skipped, as in the authors' code.

        OpenOOD's loader never drops it, so the trainer does.
        """
        own = self.epoch_progress is None
        bar = tqdm(total=len(self.train_loader), desc=f"Epoch {epoch_idx:03d}", leave=False) if own else None
        for batch in self.train_loader:
            if len(batch["label"]) == self.batch_size:
                yield batch
            for each in (bar, self.epoch_progress):
                if each is not None:
                    each.update()
        if bar is not None:
            bar.close()

    def state_dict(self) -> dict[str, Any]:
        """Return all that, with the network's own state, makes training resume bit for bit.

        It holds tensors, numbers and strings only, so that it loads with ``weights_only=True``.
        """
        return {"optimizer": self.optimizer.state_dict(), "random": random_state(), **self.extra_state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.optimizer.load_state_dict(state["optimizer"])
        self.load_extra_state(state)
        set_random_state(state["random"])

    def extra_state(self) -> dict[str, Any]:
        """Return what a subclass keeps between steps, such as an embedding bank."""
        return {}

    def load_extra_state(self, state: Mapping[str, Any]) -> None:  # noqa: B027 - most trainers keep nothing
        """Restore what `extra_state` returned."""


def _full_batch(loader: Any) -> int:
    """Return the loader's batch size, at most the data set's own length where nothing is left over."""
    size = loader.batch_size or getattr(getattr(loader, "batch_sampler", None), "batch_size", None)
    if not size:
        raise UserError(
            "the training loader has no batch_size; give it one, or a batch sampler that has one."
        )
    total = len(loader.dataset)
    if total < size:
        raise UserError(
            f"the training set has {total} samples, fewer than one batch of {size}; set "
            f"--dataset.train.batch_size {max(total, 1)} or less."
        )
    return int(size)
