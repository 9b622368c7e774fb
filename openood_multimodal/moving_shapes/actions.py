"""The actions: a motion of a shape, the sound that belongs to it, and the shape that often does it.

A motion is a function of time, written for the whole clip at once.  Lengths are in frame heights, measured
from the centre of the frame, x to the right and y downwards; angles in radians, clockwise as seen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from . import sounds
from .shapes import TAU, Floats


class Motion(NamedTuple):
    """Where the shape's centre is, its size relative to the clip's radius and how far it is turned, each ``[T]``.

    ``rate`` is the beats a second of the motion, which its sound follows.
    """

    x: Floats
    y: Floats
    scale: Floats
    angle: Floats
    rate: float


Mover = Callable[[Floats, np.random.Generator], Motion]


class Action(NamedTuple):
    """One class of clips.

    Attributes:
        name: one lower-case word (or two with an underscore).
        phrase: its name as Kinetics-600 names classes: words, some with brackets.
        mover: its motion.
        sound: its sound.
        shape: the shape that does it in most clips; any shape does it in the others.
        hue: of that shape, 0 to 1.
    """

    name: str
    phrase: str
    mover: Mover
    sound: sounds.Sound
    shape: str
    hue: float


def _motion(
    t: Floats,
    x: Floats | float = 0.0,
    y: Floats | float = 0.0,
    scale: Floats | float = 1.0,
    angle: Floats | float = 0.0,
    *,
    rate: float,
) -> Motion:
    parts = [np.broadcast_to(part, t.shape).astype(np.float64) for part in (x, y, scale, angle)]
    return Motion(parts[0], parts[1], parts[2], parts[3], rate)


def _place(random: np.random.Generator, spread: float = 0.15) -> tuple[float, float]:
    return random.uniform(-spread, spread) * 1.3, random.uniform(-spread, spread)


def _sign(random: np.random.Generator) -> float:
    return 1.0 if random.random() < 0.5 else -1.0


def _phase(t: Floats, random: np.random.Generator, rate: float) -> Floats:
    return TAU * (rate * t + random.random())


def _triangle(turns: Floats) -> Floats:
    """Return the triangle wave of period 1: -1 at 0, 1 at a half."""
    return 1.0 - 4.0 * np.abs(np.mod(turns, 1.0) - 0.5)


def orbit(t: Floats, random: np.random.Generator) -> Motion:
    """Move on a circle around a point."""
    x, y = _place(random, 0.08)
    rate, radius, way = random.uniform(0.5, 0.9), random.uniform(0.2, 0.3), _sign(random)
    phase = _phase(t, random, rate)
    return _motion(t, x + radius * np.cos(phase), y + way * radius * np.sin(phase), rate=rate)


def bounce(t: Floats, random: np.random.Generator) -> Motion:
    """Fall and rebound from the floor, with a slow walk to one side."""
    rate, height = random.uniform(1.0, 1.6), random.uniform(0.35, 0.5)
    turns = np.mod(rate * t + random.random(), 1.0)
    x = random.uniform(-0.3, 0.3) + _sign(random) * random.uniform(0.0, 0.12) * t
    return _motion(t, x, 0.3 - height * 4 * turns * (1 - turns), rate=rate)


def zoom(t: Floats, random: np.random.Generator) -> Motion:
    """Grow and shrink in place, as if coming and going."""
    x, y = _place(random, 0.12)
    rate, depth = random.uniform(0.5, 0.9), random.uniform(0.45, 0.7)
    return _motion(t, x, y, np.exp(depth * np.sin(_phase(t, random, rate))), rate=rate)


def slide(t: Floats, random: np.random.Generator) -> Motion:
    """Go sideways at one speed, and back from the edge."""
    _, y = _place(random, 0.25)
    rate, reach = random.uniform(0.3, 0.55), random.uniform(0.35, 0.5)
    return _motion(t, reach * _triangle(rate * t + random.random()), y, rate=rate)


def shake(t: Floats, random: np.random.Generator) -> Motion:
    """Tremble quickly about a place, in one direction."""
    x, y = _place(random, 0.2)
    rate, reach, way = random.uniform(2.4, 3.4), random.uniform(0.04, 0.07), random.uniform(0, TAU)
    swing = reach * np.sin(_phase(t, random, rate))
    return _motion(t, x + np.cos(way) * swing, y + np.sin(way) * swing, rate=rate)


def spin(t: Floats, random: np.random.Generator) -> Motion:
    """Turn in place."""
    x, y = _place(random, 0.2)
    rate = random.uniform(0.5, 1.0)
    return _motion(t, x, y, angle=_sign(random) * TAU * (rate * t + random.random()), rate=rate)


def zigzag(t: Floats, random: np.random.Generator) -> Motion:
    """Go sideways while going up and down in straight lines."""
    rate, reach = random.uniform(1.1, 1.6), random.uniform(0.12, 0.2)
    across = 0.45 * _triangle(random.uniform(0.25, 0.4) * t + random.random())
    return _motion(t, across, reach * _triangle(rate * t + random.random()), rate=rate)


def pendulum(t: Floats, random: np.random.Generator) -> Motion:
    """Swing below a point above the frame, turned along the string."""
    rate, length, reach = random.uniform(0.5, 0.8), random.uniform(0.55, 0.7), random.uniform(0.5, 0.8)
    lean = reach * np.sin(_phase(t, random, rate))
    return _motion(t, length * np.sin(lean), length * np.cos(lean) - 0.45, angle=-lean, rate=rate)


def figure_eight(t: Floats, random: np.random.Generator) -> Motion:
    """Move on a lying eight."""
    rate, way = random.uniform(0.5, 0.8), _sign(random)
    phase = _phase(t, random, rate)
    return _motion(t, 0.34 * np.sin(phase), way * 0.2 * np.sin(2 * phase), rate=rate)


def spiral(t: Floats, random: np.random.Generator) -> Motion:
    """Circle outwards and inwards while turning."""
    rate, way = random.uniform(0.9, 1.3), _sign(random)
    phase = _phase(t, random, rate)
    radius = 0.19 + 0.13 * np.sin(_phase(t, random, 0.35))
    return _motion(t, radius * np.cos(phase), way * radius * np.sin(phase), angle=way * phase, rate=rate)


def hop(t: Floats, random: np.random.Generator) -> Motion:
    """Jump, rest on the floor, jump again."""
    rate, height = random.uniform(0.8, 1.2), random.uniform(0.25, 0.4)
    turns = np.clip(np.mod(rate * t + random.random(), 1.0) * 2.0, 0.0, 1.0)
    x = random.uniform(-0.15, 0.15) + 0.3 * _triangle(0.35 * t + random.random())
    return _motion(t, x, 0.28 - height * 4 * turns * (1 - turns), rate=rate)


def rock(t: Floats, random: np.random.Generator) -> Motion:
    """Turn a little one way and the other, in place."""
    x, y = _place(random, 0.15)
    rate = random.uniform(1.0, 1.5)
    return _motion(t, x, y, angle=random.uniform(0.5, 0.8) * np.sin(_phase(t, random, rate)), rate=rate)


def patrol(t: Floats, random: np.random.Generator) -> Motion:
    """Walk along the sides of a square."""
    rate, reach, way = random.uniform(0.4, 0.6), random.uniform(0.22, 0.3), _sign(random)
    turns = rate * t + random.random()
    x, y = (np.clip(2 * _triangle(part), -1, 1) for part in (turns, turns + 0.25))
    return _motion(t, reach * x, way * reach * y, rate=rate)


def fall(t: Floats, random: np.random.Generator) -> Motion:
    """Sink slowly from above, again and again, swaying and growing."""
    rate = random.uniform(0.4, 0.6)
    turns = rate * t + random.random()
    x = random.uniform(-0.2, 0.2) + 0.1 * np.sin(TAU * 2 * turns)
    return _motion(t, x, 0.35 * _triangle(turns), 1.0 + 0.3 * _triangle(turns), rate=rate)


def _table(*actions: Action) -> dict[str, Action]:
    return {action.name: action for action in actions}


# Neighbours in one sense differ in another: slide and pendulum look alike, and sound apart; orbit and pendulum
# sound alike; spin and shake share a rattle, and move apart.
ID_ACTIONS = _table(
    Action("orbit", "orbiting a point", orbit, sounds.vibrato, "disc", 0.05),
    Action("bounce", "bouncing [on the floor]", bounce, sounds.thumps, "disc", 0.15),
    Action("spin", "spinning in place", spin, sounds.fast_rattle, "cross", 0.6),
    Action("slide", "sliding sideways", slide, sounds.glide, "square", 0.32),
    Action("shake", "shaking (trembling)", shake, sounds.slow_rattle, "cross", 0.7),
    Action("pendulum", "swinging like a pendulum", pendulum, sounds.slow_vibrato, "square", 0.5),
    Action("zoom", "coming and going", zoom, sounds.chirps, "ring", 0.85),
    Action("zigzag", "going in zigzag", zigzag, sounds.two_tones, "triangle", 0.95),
)
NEAR_ACTIONS = _table(
    Action("figure_eight", "drawing an eight [lying]", figure_eight, sounds.swish, "disc", 0.1),
    Action("spiral", "spiralling out and in", spiral, sounds.arpeggio, "cross", 0.65),
    Action("hop", "hopping", hop, sounds.drips, "square", 0.3),
    Action("rock", "rocking to and fro", rock, sounds.bells, "ring", 0.9),
)
VAL_ACTIONS = _table(
    Action("patrol", "walking along a square", patrol, sounds.beats, "square", 0.45),
    Action("fall", "falling [slowly]", fall, sounds.whistle, "triangle", 0.2),
)
ACTIONS = {**ID_ACTIONS, **NEAR_ACTIONS, **VAL_ACTIONS}
