"""The epoch loop that all trainers share.

A trainer's own idea is `MultimodalTrainer.compute_losses`: what one batch's outputs and labels cost.  The rest
is here: the optimiser, moving data, skipping a short last batch, progress, and a state that resumes exactly.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from tqdm import tqdm

from ..arrays import empty_classes, without_empty_classes
from ..config import bind
from ..errors import UserError
from ..networks.fusion import MultimodalOutput
from ..ranks import gather_counts
from ..registry import TRAINERS
from .epoch import EpochProgress, Stopwatch, rest_of
from .mixed import Computation, training_options
from .optim import build_optimizer
from .rng import random_state, set_random_state
from .together import gather_rows


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
    """Where the method comes from: ``title``, ``authors`` (separated by commas), ``venue``, ``year``, ``url``."""

    min_modalities: ClassVar[int] = 1
    needs_every_class: ClassVar[str] = ""
    """Why this training can't do without samples of every class; empty where it can."""

    needs_auxiliary: ClassVar[bool] = False
    """Whether it trains with auxiliary outliers, ``train_loader.auxiliary``."""

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
        self._check_classes(train_loader.dataset, f"'{name}'")
        self.batch_size = _full_batch(train_loader)
        options = training_options(config)
        self.computation = Computation(options, self.device, self.optimizer)
        self.batches_an_epoch = _usable_batches(train_loader, self.batch_size, options.accumulate)
        self.progress: EpochProgress | None = None
        """How far the epoch is that is being trained; None between epochs."""
        self.after_step: Callable[[], None] | None = None
        """Called after every step of the optimiser; `state_dict` then resumes at this very step."""
        self.timing: dict[str, float] = {}
        """Of the last epoch, since it began or was taken up: ``samples_per_second``, ``data_wait`` (a fraction)."""
        self._resumed: tuple[EpochProgress, Mapping[str, Any]] | None = None

    def _check_classes(self, dataset: Any, name: str) -> None:
        """Say at once which classes have no training sample: later it is a message of a score, or of nobody."""
        labels, count = (
            getattr(dataset, "labels", None),
            getattr(getattr(self.net, "module", self.net), "num_classes", None),
        )
        if labels is None or count is None or not len(labels):
            return
        lacking = empty_classes(labels, count, getattr(dataset, "class_names", ()))
        if not lacking:
            return
        text = f"{lacking} no training sample; {without_empty_classes(labels, 'samples')}"
        if self.needs_every_class:
            raise UserError(f"the trainer {name}: {text}. Without them {self.needs_every_class}.")
        warnings.warn(f"{text}. Scores that are fitted on every class (mds) can't be used.", stacklevel=3)

    @abstractmethod
    def compute_losses(self, output: MultimodalOutput, labels: Tensor, epoch_idx: int) -> dict[str, Tensor]:
        """Return the weighted terms of the loss, each a scalar; their sum is minimised.

        Args:
            output: the network's output on a training batch.
            labels: int64 ``[B]``.
            epoch_idx: counted from 1.
        """

    def batch_losses(self, data: Any, labels: Tensor, epoch_idx: int) -> dict[str, Tensor]:
        """Return the weighted terms of the loss of a batch: `compute_losses` of the network's output on it.

        Args:
            data: a `ModalityBatch` on the device.
            labels: int64 ``[B]``.
            epoch_idx: counted from 1.
        """
        return self.compute_losses(self._forward(data), labels, epoch_idx)

    def learn_beside(self, build: Callable[[Mapping[str, int]], nn.ModuleDict]) -> nn.ModuleDict:
        """Return what a training learns beside the network, on the device and among the optimiser's parameters.

        It is initialised from the seed, and drawn apart: the order of the data is the other trainings'.

        Args:
            build: modality → width of its embedding, to the modules.
        """
        module = self.net.module if hasattr(self.net, "module") else self.net
        widths = {name: stop - start for name, (start, stop) in module.slices.items()}  # type: ignore[operator, union-attr]
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(self.seed)
            made: nn.ModuleDict = build(widths).to(self.device)
        learnt = list(made.parameters())
        if learnt:
            self.optimizer.add_param_group({"params": learnt})
        return made

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
        batches, progress = self._begin(epoch_idx)
        self.progress = progress
        watch = Stopwatch()
        for batch in self._full(watch.timed(batches), progress):
            labels = gather_rows(batch["label"].to(self.device, non_blocking=True))
            data = batch["data"].to(self.device, non_blocking=True)
            terms = self.batch_losses(data, labels, epoch_idx)
            loss = torch.stack(list(terms.values())).sum() if len(terms) > 1 else next(iter(terms.values()))
            self.computation.step(loss)
            progress.add({"loss": loss, **{f"loss_{name}": value for name, value in terms.items()}})
            if self.after_step is not None and self.computation.between_steps:
                self.after_step()
        self.progress = None
        self.timing = watch.result()
        if not progress.steps:
            raise UserError("the training set yielded no full batch; lower dataset.train.batch_size.")
        metrics = {name: float(value) / progress.steps for name, value in progress.sums.items()}
        if not torch.isfinite(progress.sums["loss"]):
            raise UserError(
                f"the loss is {float(progress.sums['loss'])} in epoch {epoch_idx}: training diverged. Lower "
                f"optimizer.lr (now {self.optimizer.param_groups[0]['lr']:g}), or look for extreme values in the data."
            )
        return self.net, {"epoch_idx": epoch_idx, **metrics}

    def _begin(self, epoch_idx: int) -> tuple[Iterator[Any], EpochProgress]:
        """Return the epoch's batches, those that a loaded state has seen left out, and its progress."""
        if self._resumed is None or self._resumed[0].epoch_idx != epoch_idx:
            progress = EpochProgress.begin(epoch_idx)
            return iter(self.train_loader), progress
        progress, random = self._resumed
        self._resumed = None
        batches = rest_of(self.train_loader, progress)
        set_random_state(random)
        return batches, progress

    def _forward(self, data: Any) -> MultimodalOutput:
        net = self.net.module if hasattr(self.net, "module") else self.net
        return self.computation.forward(net, data)  # type: ignore[arg-type]

    def _full(self, batches: Iterator[Any], progress: EpochProgress) -> Iterator[Any]:
        """Yield the epoch's full batches; the short last one is skipped, as in the authors' code.

        OpenOOD's loader never drops it, so the trainer does.  A batch before it is short where its dataset leaves out
        clips that can't be read; it counts.
        """
        own = self.epoch_progress is None
        total = len(self.train_loader)
        bar = (
            tqdm(total=total, desc=f"Epoch {progress.epoch_idx:03d}", leave=False)
            if own
            else self.epoch_progress
        )
        if bar is not None and progress.batches:
            bar.update(progress.batches)
        for batch in batches:
            progress.batches += 1
            if progress.batches <= self.batches_an_epoch and min(gather_counts(len(batch["label"]))):
                yield batch
            if bar is not None:
                bar.update()
        if own and bar is not None:
            bar.close()

    def state_dict(self) -> dict[str, Any]:
        """Return all that, with the network's own state, makes training resume bit for bit.

        It holds tensors, numbers and strings only, so that it loads with ``weights_only=True``.
        """
        return {
            "optimizer": self.optimizer.state_dict(),
            "random": random_state(),
            "computation": self.computation.state_dict(),
            "progress": self.progress.state_dict() if self.progress is not None else None,
            **self.extra_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.optimizer.load_state_dict(state["optimizer"])
        self.computation.load_state_dict(state["computation"])
        self.load_extra_state(state)
        set_random_state(state["random"])
        if state["progress"] is not None:
            self._resumed = EpochProgress(**state["progress"]), state["random"]

    def extra_state(self) -> dict[str, Any]:
        """Return what a subclass keeps between steps, such as an embedding bank.

        Names, shapes and dtypes must be the same at any time: a resume compares them with a new trainer's.
        """
        return {}

    def load_extra_state(self, state: Mapping[str, Any]) -> None:  # noqa: B027 - most trainers keep nothing
        """Restore what `extra_state` returned."""


def _full_batch(loader: Any) -> int:
    """Return the loader's batch size, at most the dataset's own length where nothing is left over."""
    size = loader.batch_size or getattr(getattr(loader, "batch_sampler", None), "batch_size", None)
    if not size:
        raise UserError(
            "the training loader has no batch_size; give it one, or a batch sampler that has one."
        )
    total = len(loader.dataset)
    if total < size:
        raise UserError(
            f"the training set has {total} samples, fewer than one batch of {size}; set "
            f"dataset.train.batch_size to {max(total, 1)} or less."
        )
    return int(size)


def _usable_batches(loader: Any, size: int, accumulate: int) -> int:
    """Return how many of an epoch's batches are full and make whole steps of the optimiser."""
    sampler = getattr(loader, "sampler", None)
    total = len(sampler) if sampler is not None and hasattr(sampler, "__len__") else len(loader.dataset)
    full = total // size
    if full < accumulate:
        raise UserError(
            f"training.accumulate is {accumulate}, and an epoch has {full} full batches of {size}; lower one."
        )
    return full // accumulate * accumulate
