"""The batches of an epoch, from its beginning or from the middle, and where its time goes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..datasets.loaders import with_batches
from ..errors import UserError
from ..ranks import world
from .rng import random_state, set_random_state


@dataclass
class EpochProgress:
    """How far an epoch is.

    Attributes:
        epoch_idx: counted from 1.
        random_at_start: every random source as it was when the epoch began.
        batches: batches taken from the loader.
        steps: batches trained on.
        sums: term of the loss → its sum over these.
    """

    epoch_idx: int
    random_at_start: dict[str, Any]
    batches: int = 0
    steps: int = 0
    sums: dict[str, Tensor] = field(default_factory=dict)

    @classmethod
    def begin(cls, epoch_idx: int) -> EpochProgress:
        """Return the progress of an epoch that begins now."""
        return cls(epoch_idx, random_state())

    def add(self, terms: Mapping[str, Tensor]) -> None:
        """Count one step with these losses."""
        for name, value in terms.items():
            detached = value.detach()
            self.sums[name] = self.sums[name] + detached if name in self.sums else detached
        self.steps += 1

    def state_dict(self) -> dict[str, Any]:
        """Return tensors, numbers and strings."""
        return {**vars(self), "sums": dict(self.sums)}


def rest_of(loader: Any, progress: EpochProgress) -> Iterator[Any]:
    """Yield an epoch's batches after the first ``progress.batches``, without loading those.

    The order is the one that the epoch had: its random draws are made again.  The random sources are left as the
    iteration of the rest needs them; whoever resumes restores them afterwards.

    Raises:
        UserError: when the loader has no batch sampler to count on.
    """
    if progress.batches == 0:
        return iter(loader)
    if getattr(loader, "batch_sampler", None) is None:
        raise UserError(
            "an epoch can be taken up in the middle only with a loader that has a batch sampler; "
            "set recorder.state_seconds to 0."
        )
    set_random_state(progress.random_at_start)
    torch.empty((), dtype=torch.int64).random_(
        generator=loader.generator
    )  # the loader's own draw, for its workers
    return iter(with_batches(loader, list(loader.batch_sampler)[progress.batches :]))


class Stopwatch:
    """Samples a second, and which share of the time was spent waiting for data."""

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self._waited = 0.0
        self._samples = 0

    def timed(self, batches: Iterator[Any]) -> Iterator[Any]:
        """Yield ``batches``, timing how long each is waited for."""
        while True:
            asked = time.perf_counter()
            try:
                batch = next(batches)
            except StopIteration:
                self._waited += time.perf_counter() - asked
                return
            self._waited += time.perf_counter() - asked
            self._samples += len(batch["label"]) * world()
            yield batch

    def result(self) -> dict[str, float]:
        """Return ``samples_per_second`` and ``data_wait``, a fraction of the time so far."""
        seconds = max(time.perf_counter() - self._began, 1e-9)
        return {
            "samples_per_second": round(self._samples / seconds, 3),
            "data_wait": round(self._waited / seconds, 4),
        }
