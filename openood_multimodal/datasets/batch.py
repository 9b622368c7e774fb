"""A batch of several modalities that code written for one tensor can handle.

OpenOOD treats ``batch["data"]`` as a tensor: it calls ``.cuda()``, ``.float()``, ``.size(0)`` on it and lets
torch collate and pin it.  `ModalityBatch` answers all of these for a mapping of modalities.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from ..errors import UserError


class ModalityBatch(dict[str, Tensor]):
    """Mapping modality → tensor ``[B, ...]``, in a fixed order of modalities.

    Pairs are accepted too, because torch's ``default_collate`` rebuilds a mapping from its own class.

    >>> batch = ModalityBatch({"video": torch.zeros(2, 5), "audio": torch.zeros(2, 3)})
    >>> len(batch), batch.num_modalities, batch.size(0), batch["audio"].shape
    (2, 2, 2, torch.Size([2, 3]))
    """

    def __init__(self, items: Mapping[str, Tensor] | Iterable[tuple[str, Tensor]] = ()) -> None:
        super().__init__(items)

    def map(self, function: Callable[[Tensor], Tensor]) -> ModalityBatch:
        """Return a new batch with ``function`` applied to every modality's tensor."""
        return type(self)((name, function(tensor)) for name, tensor in self.items())

    def map_with(
        self, other: Mapping[str, Tensor], function: Callable[[Tensor, Tensor], Tensor]
    ) -> ModalityBatch:
        """Return a new batch with ``function`` applied to every modality's tensor and the other batch's.

        Raises:
            UserError: when the other batch lacks a modality.
        """
        there = ModalityBatch(other).select(self)
        return type(self)((name, function(tensor, there[name])) for name, tensor in self.items())

    def select(self, modalities: Iterable[str]) -> ModalityBatch:
        """Return the batch of these modalities only, in the order given.

        Raises:
            UserError: when a modality is not in the batch.
        """
        wanted = list(modalities)
        missing = [name for name in wanted if name not in self]
        if missing:
            raise UserError(f"the batch has the modalities {', '.join(self)}; missing: {', '.join(missing)}.")
        return type(self)((name, self[name]) for name in wanted)

    def to(self, *args: Any, **kwargs: Any) -> ModalityBatch:
        """As `torch.Tensor.to`, for every modality."""
        return self.map(lambda tensor: tensor.to(*args, **kwargs))

    def cuda(self, *args: Any, **kwargs: Any) -> ModalityBatch:
        """As `torch.Tensor.cuda`, for every modality."""
        return self.map(lambda tensor: tensor.cuda(*args, **kwargs))

    def cpu(self) -> ModalityBatch:
        """As `torch.Tensor.cpu`, for every modality."""
        return self.map(lambda tensor: tensor.cpu())

    def float(self) -> ModalityBatch:
        """As `torch.Tensor.float`, for every modality."""
        return self.map(lambda tensor: tensor.float())

    def detach(self) -> ModalityBatch:
        """As `torch.Tensor.detach`, for every modality."""
        return self.map(lambda tensor: tensor.detach())

    def pin_memory(self, device: Any = None) -> ModalityBatch:
        """As `torch.Tensor.pin_memory`, for every modality."""
        return self.map(lambda tensor: tensor.pin_memory(device) if device else tensor.pin_memory())

    @property
    def _first(self) -> Tensor:
        try:
            return next(iter(self.values()))
        except StopIteration:
            raise UserError("this batch has no modality, so it has no size.") from None

    @property
    def shape(self) -> torch.Size:
        """The first modality's shape; ``shape[0]`` is the batch size for all of them."""
        return self._first.shape

    @property
    def device(self) -> torch.device:
        """The first modality's device."""
        return self._first.device

    @property
    def dtype(self) -> torch.dtype:
        """The first modality's dtype."""
        return self._first.dtype

    def size(self, dim: int | None = None) -> Any:
        """As `torch.Tensor.size`, of the first modality."""
        return self._first.size() if dim is None else self._first.size(dim)

    def dim(self) -> int:
        """Number of dimensions of the first modality."""
        return self._first.dim()

    @property
    def num_modalities(self) -> int:
        """M.  (``len()`` is the batch size, as a tensor's is.)"""
        return super().__len__()

    def __len__(self) -> int:
        return self._first.size(0) if super().__len__() else 0

    def __reduce__(self) -> tuple[type[ModalityBatch], tuple[list[tuple[str, Tensor]]]]:
        return type(self), (list(self.items()),)
