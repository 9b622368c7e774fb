"""Which device a run uses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch


def choose_device(config: Mapping[str, Any]) -> torch.device:
    """Return the first CUDA device when ``num_gpus`` is at least 1 and there is one, else the CPU."""
    wanted = config.get("num_gpus")
    return torch.device("cuda" if torch.cuda.is_available() and (wanted is None or wanted > 0) else "cpu")
