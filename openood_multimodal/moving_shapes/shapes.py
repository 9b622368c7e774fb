"""Textured shapes: how far a point is outside a shape, and the paint at a point inside."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
# float32 in truth; NumPy's annotations lose that in arithmetic with Python numbers
Floats32 = NDArray[np.floating[Any]]
Field = Callable[[Floats32, Floats32], Floats32]
TAU = 2 * np.pi


def _cross(u: Floats32, v: Floats32) -> Floats32:
    a, b = np.abs(u), np.abs(v)
    return np.minimum(np.maximum(a - 1.0, b - 0.36), np.maximum(a - 0.36, b - 1.0))


# Name -> signed distance of a point (u, v), in radii, from the outline; negative inside.
SHAPES: dict[str, Field] = {
    "disc": lambda u, v: np.sqrt(u * u + v * v) - 1.0,
    "ring": lambda u, v: np.abs(np.sqrt(u * u + v * v) - 0.72) - 0.28,
    "square": lambda u, v: np.maximum(np.abs(u), np.abs(v)) - 0.85,
    "triangle": lambda u, v: np.maximum(np.float32(0.8660254) * np.abs(u) - 0.5 * v, v) - 0.55,
    "cross": _cross,
}

# Name -> mix of a shape's two colours at (u, v), from -1 to 1.
TEXTURES: dict[str, Field] = {
    "stripes": lambda u, v: np.tanh(3 * np.sin(7 * u)),
    "checks": lambda u, v: np.tanh(6 * np.sin(5 * u) * np.sin(5 * v)),
    "dots": lambda u, v: np.tanh(5 * (np.cos(7 * u) + np.cos(7 * v) - 0.7)),
    "halves": lambda u, v: np.tanh(8 * (u + 0.4 * v)),
}
