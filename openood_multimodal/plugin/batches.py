"""Batches in the form in which OpenOOD's gradient methods and image methods ask for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Self

import torch
from torch import Tensor

from ..datasets.batch import ModalityBatch
from .surroundings import undisturbed

Convert = Callable[[Any], Any]


class ArithmeticBatch(ModalityBatch):
    """A `ModalityBatch` that is added, multiplied, indexed and joined as a tensor is, modality by modality.

    ``batch[:, 0]`` is that column of every modality that has one.
    """

    __array_ufunc__ = None  # a NumPy number times a batch is the batch's affair

    @classmethod
    def of(cls, batch: Mapping[str, Tensor]) -> Self:
        """Return a copy of ``batch`` as this class; gradients never reach the original tensors."""
        return cls((name, tensor.detach().clone()) for name, tensor in batch.items())

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Apply a function of torch modality by modality; ``torch.cat`` takes a list of batches."""
        kwargs = kwargs or {}
        listed = (item for each in args if isinstance(each, list | tuple) for item in each)
        first = next(each for each in (*args, *listed, *kwargs.values()) if isinstance(each, cls))

        def part(value: Any, name: str) -> Any:
            if isinstance(value, list | tuple):
                return type(value)(part(each, name) for each in value)
            return value[name] if isinstance(value, cls) else value

        return cls(
            (name, func(*(part(a, name) for a in args), **{k: part(v, name) for k, v in kwargs.items()}))
            for name in first
        )

    def __add__(self, other: Any) -> Any:
        return torch.add(self, other)  # type: ignore[call-overload]

    def __sub__(self, other: Any) -> Any:
        return torch.sub(self, other)  # type: ignore[call-overload]

    def __mul__(self, other: Any) -> Any:
        return torch.mul(self, other)  # type: ignore[arg-type]

    def __truediv__(self, other: Any) -> Any:
        return torch.div(self, other)  # type: ignore[arg-type]

    __radd__, __rmul__ = __add__, __mul__

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str):
            return super().__getitem__(key)
        return type(self)((name, tensor[key]) for name, tensor in self.items() if _has(tensor, key))

    def __setitem__(self, key: Any, value: Any) -> None:
        if isinstance(key, str):
            super().__setitem__(key, value)
            return
        for name, tensor in self.items():
            if _has(tensor, key):
                tensor[key] = value[name] if isinstance(value, ArithmeticBatch) else value


class GradientBatch(ArithmeticBatch):
    """A batch that can be perturbed as ODIN perturbs a tensor.

    It answers ``requires_grad = True``, ``.grad``, ``torch.ge(batch.grad, 0)``, ``(g.float() - 0.5) * 2`` and
    ``torch.add(batch, g, alpha=-noise)``.
    """

    @property
    def requires_grad(self) -> bool:
        """Whether any modality requires a gradient."""
        return any(tensor.requires_grad for tensor in self.values())

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        for tensor in self.values():
            if tensor.is_floating_point():
                tensor.requires_grad_(value)

    @property
    def grad(self) -> Self:
        """The gradients; zeros for a modality that the loss doesn't depend on."""
        return type(self)(
            (name, torch.zeros_like(tensor) if tensor.grad is None else tensor.grad)
            for name, tensor in self.items()
        )


def _has(tensor: Tensor, key: Any) -> bool:
    """Return whether the whole numbers in ``key`` are rows or columns that ``tensor`` has."""
    keys = key if isinstance(key, tuple) else (key,)
    if len(keys) > tensor.dim():
        return False
    return all(not isinstance(k, int) or k < tensor.shape[axis] for axis, k in enumerate(keys))


def as_it_is(data: Any) -> Any:
    """Return data as they are."""
    return data


def as_image(data: Any) -> Any:
    """Return ``[B, D]`` as ``[B, D, 1, 1]``; other data as they are."""
    return data[:, :, None, None] if isinstance(data, Tensor) and data.dim() == 2 else data


def perturbable(data: Any) -> Any:
    """Return data whose gradient can be asked for, without touching what was given."""
    if isinstance(data, ModalityBatch):
        return GradientBatch.of(data)
    return data.detach().clone() if isinstance(data, Tensor) else data


class ConvertedLoader:
    """A loader whose batches' ``"data"`` are converted on the way; everything else is the loader's.

    Args:
        loader: yields ``{"data", "label", ...}``.
        convert: applied to ``batch["data"]``.
        watch: called with every batch, before it is handed on.
    """

    def __init__(self, loader: Any, convert: Convert, watch: Callable[[Any], None] | None = None) -> None:
        self.loader = loader
        self.convert = convert
        self.watch = watch

    def around(self) -> AbstractContextManager[None]:
        """What the loader is asked for batches in."""
        return nullcontext()

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return _ConvertedBatches(self)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.loader, name)


class UndisturbingLoader(ConvertedLoader):
    """Leaves the random streams as they were: a DataLoader draws at the start of every pass.

    For tests; in a training, every epoch would have the same order.
    """

    def around(self) -> AbstractContextManager[None]:
        """See `calling.undisturbed`."""
        return undisturbed()


class _ConvertedBatches:
    """An iterator that knows its length, as a DataLoader's does; OpenMax asks for it."""

    def __init__(self, source: ConvertedLoader) -> None:
        self.source = source
        with source.around():
            self.batches = iter(source.loader)

    def __len__(self) -> int:
        return len(self.source)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return self

    def __next__(self) -> dict[str, Any]:
        with self.source.around():
            batch = next(self.batches)
        if self.source.watch is not None:
            self.source.watch(batch)
        return {**batch, "data": self.source.convert(batch["data"])}
