"""Assertions shared by the checks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from ..errors import UserError


def rule(holds: Any, text: str) -> None:
    """Raise an AssertionError with ``text`` unless ``holds``."""
    if not holds:
        raise AssertionError(text)


def same(a: Any, b: Any, text: str) -> None:
    """Raise unless two tensors, arrays or nested containers of them are equal bit for bit (NaN equals NaN)."""
    rule(_equal(a, b), text)


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return a.dtype == b.dtype and a.shape == b.shape and bool(torch.equal(a, b))
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
    if isinstance(a, dict) and isinstance(b, dict):
        return list(a) == list(b) and all(_equal(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return [*map(type, a)] == [*map(type, b)] and all(_equal(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b)


def refuses(call: Callable[[], Any], text: str) -> None:
    """Raise unless ``call`` raises a `UserError` with a message."""
    try:
        call()
    except UserError as error:
        rule(str(error), f"{text}: the UserError has no message")
        return
    raise AssertionError(f"{text}: no UserError")
