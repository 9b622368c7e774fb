"""Which device a run uses."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import torch

from ..ranks import local


def set_determinism(config: Mapping[str, Any]) -> None:
    """Make torch use deterministic kernels only, where ``deterministic`` is true; an operation that has none fails.

    On a CPU runs are deterministic anyway; docs/reproducibility.md says what still differs between machines.
    """
    if config.get("deterministic"):
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read by cuBLAS when it is first used
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False


def choose_device(config: Mapping[str, Any]) -> torch.device:
    """Return a CUDA device when ``num_gpus`` is at least 1 and there is one, else the CPU.

    The device is the first one; under torchrun, the one of this rank's number on its host.
    """
    wanted = config.get("num_gpus")
    if not torch.cuda.is_available() or (wanted is not None and wanted < 1):
        return torch.device("cpu")
    return torch.device("cuda", local()[0])
