"""Places of recordings: a room in dull colours, seen by a camera that drifts, with its light and its noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .settings import Size
from .shapes import SHAPES, TAU, Floats, Floats32

_STREAM = 1  # of random numbers, apart from those of `scenes`


@dataclass(frozen=True, eq=False)
class Place:
    """What the clips of one recording share.

    Attributes:
        backdrop: float32 ``[H + 2 margin, W + 2 margin, 3]``.
        margin: pixels of the backdrop beyond the frame, for the camera to drift over.
        drift: reach in pixels, rate and phase of the camera's drift, ``[2, 3]`` (x, y).
        grain: standard deviation of the frames' noise, in levels.
        shade: the shapes' darker colour, float32 ``[3]``.
        room: level and pole of the room's noise.
    """

    backdrop: Floats32
    margin: int
    drift: Floats
    grain: float
    shade: Floats32
    room: tuple[float, float]

    def camera(self, times: Floats) -> Floats:
        """Return where the camera looks, ``[T, 2]`` pixels, at times in seconds of the recording."""
        reach, rate, phase = self.drift[:, 0], self.drift[:, 1], self.drift[:, 2]
        return reach * np.sin(TAU * rate * times[:, None] + phase)

    def view(self, camera: Floats) -> Floats32:
        """Return the backdrop from where the camera looks, ``[H, W, 3]``, interpolated between pixels."""
        left, top = self.margin + camera[0], self.margin + camera[1]
        i, j = int(np.floor(left)), int(np.floor(top))
        p, q = np.float32(left - i), np.float32(top - j)
        height, width = (length - 2 * self.margin for length in self.backdrop.shape[:2])
        part = self.backdrop[j : j + height + 1, i : i + width + 1]
        rows = part[:-1] + q * (part[1:] - part[:-1])
        return rows[:, :-1] + p * (rows[:, 1:] - rows[:, :-1])


def place_of(size: Size, seed: int, recording: int) -> Place:
    """Return what the clips of recording number ``recording`` share."""
    random = np.random.default_rng([seed, _STREAM, recording])
    reach = random.uniform(0.015, 0.04, 2) * size.height
    margin = int(np.ceil(reach.max())) + 2
    drift = np.stack([reach, random.uniform(0.08, 0.25, 2), random.uniform(0, TAU, 2)], axis=1)
    backdrop = _backdrop(random, size.height + 2 * margin, size.width + 2 * margin)
    shade = random.uniform(0, 60, 3).astype(np.float32)
    room = (random.uniform(0.03, 0.12), random.uniform(0.5, 0.9))
    return Place(backdrop, margin, drift, random.uniform(1.0, 4.0), shade, room)


def _backdrop(random: np.random.Generator, height: int, width: int) -> Floats32:
    """Return a room in dull colours: clouds of three sizes, and a few things that stand about."""
    picture = np.empty((height, width, 3), dtype=np.float32)
    picture[:] = random.uniform(105, 140) + random.uniform(-12, 12, 3)
    for cells, strength in ((3, 18.0), (8, 10.0), (24, 6.0)):
        grid = random.uniform(-1, 1, (cells + 2, cells + 2, 3)).astype(np.float32)
        picture += np.float32(strength) * _stretch(grid, height, width, cells)
    y, x = (part.astype(np.float32) for part in np.mgrid[0:height, 0:width])
    for _ in range(int(random.integers(2, 5))):
        kind = list(SHAPES)[int(random.integers(len(SHAPES)))]
        radius = random.uniform(0.04, 0.1) * height
        u = (x - random.uniform(0, width)) / np.float32(radius)
        v = (y - random.uniform(0, height)) / np.float32(radius)
        cover = np.clip(0.5 - SHAPES[kind](u, v) * np.float32(radius), 0, 1)[..., None]
        picture += cover * (random.uniform(85, 160, 3).astype(np.float32) - picture)
    return picture


def _stretch(grid: Floats32, height: int, width: int, cells: int) -> Floats32:
    """Return ``grid`` interpolated linearly over a picture."""

    def weights(length: int) -> Floats32:
        at = np.linspace(0, cells, length, dtype=np.float32)
        return np.clip(1 - np.abs(at[:, None] - np.arange(cells + 2, dtype=np.float32)), 0, 1)

    return np.einsum("yi,ijc,xj->yxc", weights(height), grid, weights(width), optimize=True)
