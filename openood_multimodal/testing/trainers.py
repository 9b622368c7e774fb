"""Checks of trainers."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from ..datasets.auxiliary import AuxiliaryOutliers
from ..datasets.batch import ModalityBatch
from ..networks import MLPFusionNet
from ..trainers.rng import seed_everything
from ._rules import refuses, rule, same

MODALITIES = {"first": 3, "second": 4}


class _Tiny(Dataset[Any]):
    """A few separable samples of two modalities."""

    num_classes = 3
    modalities = tuple(MODALITIES)

    def __init__(self, length: int = 42) -> None:
        generator = torch.Generator().manual_seed(0)
        self.labels = torch.arange(length) % self.num_classes
        self.data = {
            name: torch.randn(length, dim, generator=generator) + self.labels[:, None]
            for name, dim in MODALITIES.items()
        }

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, Any]:
        data = ModalityBatch((name, values[index]) for name, values in self.data.items())
        return {"data": data, "label": self.labels[index], "index": index, "clip": f"clip{index}"}


def check_trainer(trainer: Any, parameters: Mapping[str, Any] | None = None) -> None:
    """Hold a trainer to the contract: it trains, it reports, and it resumes bit for bit.

    Args:
        trainer: the class, constructed as OpenOOD does: ``(net, train_loader, config)``.
        parameters: keys of the ``trainer`` section, where the defaults don't suit a set of 42 samples; a bank
            is kept small and starts at once where the trainer has one.
    """
    section = {**_small(trainer), **(parameters or {})}
    net, made = _make(trainer, section)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    returned, metrics = made.train_epoch(1)
    rule(returned is net, "train_epoch returns the network that it was given")
    rule(metrics["epoch_idx"] == 1, "train_epoch's metrics hold epoch_idx")
    rule(math.isfinite(metrics["loss"]), f"the loss is {metrics['loss']}")
    rule(
        any(not torch.equal(before[key], value) for key, value in net.state_dict().items()),
        "an epoch changes no parameter",
    )
    _check_resume(trainer, section)
    refuses(
        lambda: _make(trainer, {**section, "no_such_parameter": 1}), "an unknown parameter must be refused"
    )


def _check_resume(trainer: Any, section: Mapping[str, Any]) -> None:
    net, made = _make(trainer, section)
    for epoch in (1, 2, 3):
        made.train_epoch(epoch)
        if epoch == 2:
            file = io.BytesIO()
            torch.save({"network": net.state_dict(), "trainer": made.state_dict()}, file)
    expected = {key: value.clone() for key, value in net.state_dict().items()}

    file.seek(0)
    state = torch.load(file, weights_only=True)
    net, made = _make(trainer, section)
    net.load_state_dict(state["network"])
    made.load_state_dict(state["trainer"])
    made.train_epoch(3)
    same(dict(net.state_dict()), expected, "a resumed training ends elsewhere than an uninterrupted one")


def _make(trainer: Any, section: Mapping[str, Any]) -> tuple[Any, Any]:
    seed_everything(0)
    net = MLPFusionNet(_Tiny.num_classes, list(MODALITIES), MODALITIES, hidden_dim=8, embedding_dim=6)
    loader: Any = DataLoader(_Tiny(), batch_size=8, shuffle=True)
    loader.auxiliary = AuxiliaryOutliers(_Tiny(11), batch_size=8)
    config = {"trainer": dict(section), "optimizer": {"name": "adam", "lr": 0.01, "num_epochs": 3}, "seed": 0}
    return net, trainer(net, loader, config)


def _small(trainer: Any) -> dict[str, Any]:
    known = {"bank_size": 4, "start_epoch": 1}
    declared = getattr(getattr(trainer, "Params", None), "__dataclass_fields__", {})
    return {key: value for key, value in known.items() if key in declared}
