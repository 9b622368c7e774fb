"""Which device a run uses."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import torch


def set_determinism(config: Mapping[str, Any]) -> None:
    """Make torch use deterministic kernels only, where ``deterministic`` is true; an operation that has none fails.

    On a CPU runs are deterministic anyway; docs/reproducibility.md says what still differs between machines.
    """
    if config.get("deterministic"):
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read by cuBLAS when it is first used
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False


def choose_device(config: Mapping[str, Any]) -> torch.device:
    """Return the first CUDA device when ``num_gpus`` is at least 1 and there is one, else the CPU."""
    wanted = config.get("num_gpus")
    return torch.device("cuda" if torch.cuda.is_available() and (wanted is None or wanted > 0) else "cpu")
