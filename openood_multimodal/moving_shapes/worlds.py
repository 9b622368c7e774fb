"""The far worlds: no shapes, but a texture over the whole frame that is moved by a known map.

A world's map takes a pixel at a time to the place on the texture seen there.  The flow is what keeps that
place fixed: exact where the map is affine, else found by a few fixed-point steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from . import sounds
from .shapes import TAU, Floats, Floats32

# (x, y, time) -> place on the texture, in frame heights
Map = Callable[[Floats32, Floats32, np.float32], tuple[Floats32, Floats32]]
Painter = Callable[[Floats32, Floats32], Floats32]


class World(NamedTuple):
    """One far class: how its texture moves, what the texture is, and its sound."""

    name: str
    phrase: str
    map: Callable[[np.random.Generator], Map]
    painter: Callable[[np.random.Generator], Painter]
    sound: sounds.Sound


def _ripple_map(random: np.random.Generator) -> Map:
    waves = [
        (random.uniform(4, 9), random.uniform(0, TAU), random.uniform(2, 5), random.uniform(0.02, 0.04))
        for _ in range(3)
    ]

    def place(x: Floats32, y: Floats32, t: np.float32) -> tuple[Floats32, Floats32]:
        u, v = x, y
        for pitch, way, speed, reach in waves:
            cos, sin = np.float32(pitch * np.cos(way)), np.float32(pitch * np.sin(way))
            push = np.float32(reach) * np.sin(cos * x + sin * y + np.float32(speed) * t)
            u = u + np.float32(np.sin(way)) * push
            v = v + np.float32(np.cos(way)) * push
        return u, v

    return place


def _swirl_map(random: np.random.Generator) -> Map:
    turn = (1 if random.random() < 0.5 else -1) * random.uniform(0.8, 1.8)
    grow, rate, phase = random.uniform(0.1, 0.25), random.uniform(0.3, 0.7), random.uniform(0, TAU)

    def place(x: Floats32, y: Floats32, t: np.float32) -> tuple[Floats32, Floats32]:
        size = np.exp(np.float32(grow) * np.sin(np.float32(TAU * rate) * t + np.float32(phase)))
        cos, sin = np.cos(np.float32(turn) * t) * size, np.sin(np.float32(turn) * t) * size
        return cos * x - sin * y, sin * x + cos * y

    return place


def _drift_map(random: np.random.Generator) -> Map:
    way, speed = random.uniform(0, TAU), random.uniform(0.5, 1.2)

    def place(x: Floats32, y: Floats32, t: np.float32) -> tuple[Floats32, Floats32]:
        return x - np.float32(speed * np.cos(way)) * t, y - np.float32(speed * np.sin(way)) * t

    return place


def _plasma(random: np.random.Generator) -> Painter:
    waves = random.uniform(3, 11, (3, 3, 2)) * random.choice([-1.0, 1.0], (3, 3, 2))
    phases = random.uniform(0, TAU, (3, 3))

    def paint(u: Floats32, v: Floats32) -> Floats32:
        channels = [np.zeros_like(u) for _ in range(3)]
        for total, pitches, starts in zip(channels, waves, phases, strict=True):
            for (a, b), start in zip(pitches.astype(np.float32), starts.astype(np.float32), strict=True):
                total += np.sin(a * u + b * v + start)
        return np.stack([127.5 + 42 * total for total in channels], axis=-1)

    return paint


def _stripes(random: np.random.Generator) -> Painter:
    pitch = random.uniform(14, 26)
    colours = random.uniform(0, 255, (2, 3)).astype(np.float32)

    def paint(u: Floats32, v: Floats32) -> Floats32:
        mix = 0.5 + 0.5 * np.tanh(3 * np.sin(np.float32(pitch) * u) * np.cos(np.float32(0.4 * pitch) * v))
        return colours[0] + mix[..., None] * (colours[1] - colours[0])

    return paint


def _grain(random: np.random.Generator) -> Painter:
    side = 128
    tile = random.uniform(0, 255, (side, side, 1)) + random.uniform(-25, 25, (side, side, 3))
    tile = tile.astype(np.float32)
    fine = np.float32(random.uniform(36, 60))

    def paint(u: Floats32, v: Floats32) -> Floats32:
        a, b = u * fine, v * fine
        i, j = np.floor(a), np.floor(b)
        p, q = (a - i)[..., None], (b - j)[..., None]
        i0, j0 = i.astype(np.int64) % side, j.astype(np.int64) % side
        i1, j1 = (i0 + 1) % side, (j0 + 1) % side
        top = tile[j0, i0] * (1 - p) + tile[j0, i1] * p
        bottom = tile[j1, i0] * (1 - p) + tile[j1, i1] * p
        return top * (1 - q) + bottom * q

    return paint


FAR_WORLDS = {
    world.name: world
    for world in (
        World("plasma", "plasma [rippling]", _ripple_map, _plasma, sounds.drone),
        World("swirl", "swirling stripes", _swirl_map, _stripes, sounds.siren),
        World("snow", "drifting snow", _drift_map, _grain, sounds.hiss),
        World("embers", "embers (rippling grain)", _ripple_map, _grain, sounds.crackle),
    )
}


def world_shots(
    world: World, random: np.random.Generator, height: int, width: int, times: Floats, span: int
) -> Iterator[tuple[Floats32, Floats32]]:
    """Yield the frames of a clip of a world, and how their pixels move.

    Args:
        world: which.
        random: draws its texture and its map.
        height: pixels.
        width: pixels.
        times: seconds of each frame, ``[T + span]``; the last ``span`` are for the flow alone.
        span: frames from which to which the flow goes.

    Yields:
        frame float32 ``[height, width, 3]``, about 0 to 255; flow float32 ``[height, width, 2]`` in pixels, x and
        y, from the frame to the one ``span`` later.
    """
    place, paint = world.map(random), world.painter(random)
    centred = [((np.arange(n) - (n - 1) / 2) / height).astype(np.float32) for n in (width, height)]
    x, y = np.meshgrid(*centred)
    for time, later in zip(times[:-span].astype(np.float32), times[span:].astype(np.float32), strict=True):
        u, v = place(x, y, time)
        yield paint(u, v), height * _follow(place, x, y, later, u, v)


def _follow(place: Map, x: Floats32, y: Floats32, later: np.float32, u: Floats32, v: Floats32) -> Floats32:
    """Return the displacement d with ``place(x + d, later) == (u, v)``, in frame heights."""
    # Newton's method with the Jacobian at the pixel, by differences: exact after one step where the map is affine
    step = np.float32(1e-2)
    a, b = place(x, y, later)
    ax, bx = place(x + step, y, later)
    ay, by = place(x, y + step, later)
    m00, m10, m01, m11 = (ax - a) / step, (bx - b) / step, (ay - a) / step, (by - b) / step
    determinant = m00 * m11 - m01 * m10
    dx, dy = np.zeros_like(x), np.zeros_like(y)
    for _ in range(3):
        a, b = place(x + dx, y + dy, later)
        ru, rv = u - a, v - b
        dx = dx + (m11 * ru - m01 * rv) / determinant
        dy = dy + (m00 * rv - m10 * ru) / determinant
    return np.stack([dx, dy], axis=-1)
