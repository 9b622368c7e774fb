"""What surrounds a call into OpenOOD's code: the CPU where it says CUDA, fixed seeds, no chatter."""

from __future__ import annotations

import contextlib
import io
import random
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.overrides import TorchFunctionMode


class OnCpu(TorchFunctionMode):
    """While active, ``.cuda()``, ``.to("cuda")`` and ``device="cuda"`` mean the CPU, in this thread only.

    So OpenOOD's scores run on a network that lies on the CPU whether or not there is a GPU, and give the same
    figures.
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
