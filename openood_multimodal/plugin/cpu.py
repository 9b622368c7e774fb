"""OpenOOD without a GPU: ``.cuda()`` does nothing where there is no CUDA device.

OpenOOD calls ``.cuda()`` on data, labels and networks whatever its ``num_gpus`` says.  A few of its
postprocessors also spell ``device="cuda"`` out (temperature scaling, openmax); `cuda_means_cpu` covers those
while they run.  ``torch.cuda.FloatTensor`` (gmm, mds_ensemble) is out of reach.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CodeType, FunctionType
from typing import Any

import torch
from torch import nn

from .calling import OnCpu

_own: dict[type, Any] = {}  # class → its own attribute "cuda", None where it inherits it


def _stay(self: Any, *args: Any, **kwargs: Any) -> Any:
    return self


def is_on() -> bool:
    """Whether ``.cuda()`` does nothing just now."""
    return bool(_own)


def switch_on() -> bool:
    """Make ``Tensor.cuda`` and ``Module.cuda`` return the object itself, if there is no CUDA device.

    Returns:
        Whether it is on now.
    """
    if not _own and not torch.cuda.is_available():
        for kind in (torch.Tensor, nn.Module):
            _own[kind] = vars(kind).get("cuda")
            kind.cuda = _stay  # type: ignore[method-assign]
    return is_on()


def switch_off() -> None:
    """Put the methods back."""
    for kind, method in _own.items():
        if method is None:
            del kind.cuda  # type: ignore[attr-defined]
        else:
            kind.cuda = method  # type: ignore[attr-defined]
    _own.clear()


@contextmanager
def cuda_means_cpu() -> Iterator[None]:
    """In the block ``device="cuda"`` is the CPU, if CPU mode is on; a no-op otherwise."""
    if not is_on():
        yield
        return
    with OnCpu():
        yield


def spare_cuda(component: Any, methods: tuple[str, ...]) -> None:
    """Run ``methods`` of ``component`` under `cuda_means_cpu`, if its class's module spells ``"cuda"`` out."""
    if not is_on() or not _names_cuda(sys.modules[type(component).__module__]):
        return
    for name in methods:
        method = getattr(component, name, None)
        if callable(method):
            setattr(component, name, _spared(method))


def _spared(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def run(*args: Any, **kwargs: Any) -> Any:
        with cuda_means_cpu():
            return method(*args, **kwargs)

    return run


def _names_cuda(module: Any) -> bool:
    members = [*vars(module).values()]
    members += [m for kind in members if isinstance(kind, type) for m in vars(kind).values()]
    own = (m for m in members if isinstance(m, FunctionType) and m.__module__ == module.__name__)
    return any("cuda" in constants for function in own for constants in _constants(function.__code__))


def _constants(code: CodeType) -> Iterator[tuple[Any, ...]]:
    yield code.co_consts
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield from _constants(each)
