"""What surrounds a call into OpenOOD's code: the CPU where there is no GPU, fixed seeds, no chatter.

OpenOOD calls ``.cuda()`` on data, labels and networks whatever its ``num_gpus`` says: `switch_on` makes that a no-op.
A few of its postprocessors also spell ``device="cuda"`` out (temperature scaling, openmax); `cuda_means_cpu` covers
those while they run.  ``torch.cuda.FloatTensor`` (gmm, mds_ensemble) is out of reach.
"""

from __future__ import annotations

import contextlib
import functools
import io
import random
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CodeType, FunctionType
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.overrides import TorchFunctionMode


class OnCpu(TorchFunctionMode):
    """While active, ``.cuda()``, ``.to("cuda")`` and ``device="cuda"`` mean the CPU, in this thread only.

    So OpenOOD's scores run on a network on the CPU whether or not there is a GPU, with the same results.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run ``func`` with CUDA devices replaced."""
        if func is torch.Tensor.cuda:
            return args[0]
        kwargs = {key: _cpu(value) if key == "device" else value for key, value in (kwargs or {}).items()}
        if func is torch.Tensor.to:
            args = (args[0], *map(_cpu, args[1:]))
        return func(*args, **kwargs)


def _cpu(device: Any) -> Any:
    is_cuda = isinstance(device, (str, torch.device)) and str(device).split(":")[0] == "cuda"
    return torch.device("cpu") if is_cuda else device


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Put Python's, NumPy's and torch's CPU random streams back as they were, afterwards."""
    python, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002  (what OpenOOD draws from)
    with torch.random.fork_rng(devices=[]):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy_state)  # noqa: NPY002


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed Python's, NumPy's and torch's CPU random streams; put them back as they were afterwards."""
    with undisturbed():
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        torch.default_generator.manual_seed(seed)
        yield


@contextlib.contextmanager
def undisturbed_network(net: nn.Module) -> Iterator[None]:
    """Run OpenOOD's code on ``net`` in the block: on its device, silent, with gradients that leave no trace."""
    parameters = list(net.parameters())
    gradients = [each.grad for each in parameters]
    with contextlib.ExitStack() as stack:
        if not parameters or parameters[0].device.type == "cpu":
            stack.enter_context(OnCpu())
        stack.enter_context(silent())
        stack.enter_context(torch.enable_grad())
        yield
    for each, gradient in zip(parameters, gradients, strict=True):
        each.grad = gradient  # ODIN's backward pass adds to them


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Keep prints and progress bars off the terminal; warnings are passed on afterwards."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    for each in caught:
        # what will be an error in other versions is OpenOOD's affair, not its user's
        if "deprecated" not in str(each.message) and not issubclass(each.category, DeprecationWarning):
            warnings.warn_explicit(each.message, each.category, each.filename, each.lineno)


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
