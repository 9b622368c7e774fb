"""The world of shapes: what the camera sees of one clip, how each pixel moves, and what is heard.

A recording has a place (background, camera, light, room noise); a clip has an action in it.  Everything is a
function of the seed and of the numbers of the clip, so any clip can be made alone, in any process.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..making.encoding import SAMPLE_RATE
from . import sounds
from .actions import ACTIONS, ID_ACTIONS, Action
from .places import Place, place_of
from .settings import Size
from .shapes import SHAPES, TAU, TEXTURES, Field, Floats, Floats32
from .worlds import FAR_WORLDS, world_shots

FLOW_LIMIT = 20.0

# In so many of the clips of known actions one sense misleads, so that modalities disagree at times.
FOREIGN_SOUND = 0.06  # the sound is another known action's
FOREIGN_MOTION = 0.06  # the motion is
# and in so many of the clips of all actions:
NO_SOUND = 0.06  # only the room is heard
WEAK_MOTION = 0.08  # the motion has a third of its reach
OWN_LOOK = 0.8  # shape and colour are the action's; else any

_CLIP, _SOUND, _GRAIN = 2, 3, 4  # streams of random numbers; 1 is that of `places`


@dataclass(frozen=True)
class Clip:
    """One clip.

    Attributes:
        frames: uint8 ``[T, H, W, 3]``, RGB.
        flow: float32 ``[T, H, W, 2]``, x and y in pixels from each frame to the one ``span`` later.  The last
            ``span`` frames go on to where the motion would have gone.
        sound: float32 ``[round(T / fps * 16000)]``, in [-1, 1].
    """

    frames: NDArray[np.uint8]
    flow: Floats32
    sound: NDArray[np.float32]


def encode_flow(flow: Floats32) -> NDArray[np.uint8]:
    """Return displacements as the benchmark's flow files hold them: -20 to 20 pixels as 0 to 255."""
    clipped = np.clip(flow, -FLOW_LIMIT, FLOW_LIMIT)
    return np.rint((clipped + FLOW_LIMIT) * (255.0 / (2 * FLOW_LIMIT))).astype(np.uint8)


def render_clip(
    size: Size, seed: int, action: str, recording: int, number: int, span: int = 1, place: Place | None = None
) -> Clip:
    """Return clip ``number`` of a recording.

    Args:
        size: the numbers of the dataset.
        seed: its seed.
        action: an action's or a far world's name.
        recording: number of the recording in the dataset.
        number: number of the clip in the recording; the camera drifts on from clip to clip.
        span: frames between which the flow goes: 1, or 2 as for EPIC-Kitchens.
        place: `place_of` the recording, where it is at hand.
    """
    place = place or place_of(size, seed, recording)
    random, grain, luck = (
        np.random.default_rng([seed, stream, recording, number]) for stream in (_CLIP, _GRAIN, _SOUND)
    )
    times = np.arange(size.frames + span) / size.fps
    if action in FAR_WORLDS:
        shots = world_shots(FAR_WORLDS[action], random, size.height, size.width, times, span)
        rate, sound = 1.0, FAR_WORLDS[action].sound
    else:
        scene = _draw_scene(size, ACTIONS[action], random, place, number, times)
        shots = (_shoot(scene, i, i + span, size.height, size.width) for i in range(size.frames))
        rate, sound = scene.rate, ACTIONS[action].sound
    frames = np.empty((size.frames, size.height, size.width, 3), dtype=np.uint8)
    flow = np.empty((size.frames, size.height, size.width, 2), dtype=np.float32)
    for i, (picture, displacement) in enumerate(shots):
        noise = np.float32(place.grain) * grain.standard_normal(picture.shape[:2], dtype=np.float32)
        frames[i] = np.rint(np.clip(picture + noise[..., None], 0, 255))
        flow[i] = displacement
    return Clip(frames, flow, _hear(size, luck, action, sound, rate, place))


def _look_of(action: Action, random: np.random.Generator) -> tuple[Field, Floats32]:
    """Return a shape and its bright colour, float32 ``[3]``."""
    shape, hue = list(SHAPES)[int(random.integers(len(SHAPES)))], random.random()
    if random.random() < OWN_LOOK:
        shape, hue = action.shape, action.hue + random.uniform(-0.05, 0.05)
    colour = colorsys.hsv_to_rgb(hue % 1.0, random.uniform(0.6, 0.95), random.uniform(0.85, 1.0))
    return SHAPES[shape], 255 * np.asarray(colour, dtype=np.float32)


def _other(size: Size, action: str, random: np.random.Generator) -> Action:
    """Return a known action other than ``action``."""
    others = [name for name in list(ID_ACTIONS)[: size.classes] if name != action]
    return ID_ACTIONS[others[int(random.integers(len(others)))]]


@dataclass(frozen=True, eq=False)
class _Scene:
    """A shape in a place: where the camera looks, ``[T, 2]``, and the shape's pose on the frame, each ``[T]``."""

    place: Place
    shape: Field
    paint: Field
    colour: Floats32
    camera: Floats
    x: Floats
    y: Floats
    scale: Floats
    angle: Floats
    rate: float

    def turn(self, i: int) -> tuple[np.float32, np.float32]:
        """Return cosine and sine of the shape's angle on frame ``i``."""
        return np.float32(np.cos(self.angle[i])), np.float32(np.sin(self.angle[i]))


def _draw_scene(
    size: Size, action: Action, random: np.random.Generator, place: Place, number: int, times: Floats
) -> _Scene:
    mover = action.mover
    if action.name in ID_ACTIONS and random.random() < FOREIGN_MOTION:
        mover = _other(size, action.name, random).mover
    motion = mover(times, random)
    weak = 0.35 if random.random() < WEAK_MOTION else 1.0
    shape, colour = _look_of(action, random)
    paint = TEXTURES[list(TEXTURES)[int(random.integers(len(TEXTURES)))]]
    radius = random.uniform(0.13, 0.2) * size.height
    lean = random.uniform(0, TAU)
    camera = place.camera(number * size.frames / size.fps + times)
    return _Scene(
        place,
        shape,
        paint,
        colour,
        camera,
        x=(size.width - 1) / 2 + size.height * weak * motion.x - camera[:, 0],
        y=(size.height - 1) / 2 + size.height * weak * motion.y - camera[:, 1],
        scale=radius * motion.scale**weak,
        angle=lean + weak * motion.angle,
        rate=motion.rate,
    )


def _shoot(scene: _Scene, i: int, later: int, height: int, width: int) -> tuple[Floats32, Floats32]:
    """Return frame ``i``, ``[H, W, 3]``, and the displacement of its pixels until frame ``later``, ``[H, W, 2]``."""
    frame = scene.place.view(scene.camera[i])
    flow = np.empty((height, width, 2), dtype=np.float32)
    flow[:] = scene.camera[i] - scene.camera[later]
    x, y, scale = np.float32(scene.x[i]), np.float32(scene.y[i]), np.float32(scene.scale[i])
    reach = 1.5 * scale + 2
    columns, rows = _reached(x, reach, width), _reached(y, reach, height)
    if columns.start >= columns.stop or rows.start >= rows.stop:
        return frame, flow
    # from a pixel to the point of the shape there, in radii
    dx = np.arange(columns.start, columns.stop, dtype=np.float32)[None, :] - x
    dy = np.arange(rows.start, rows.stop, dtype=np.float32)[:, None] - y
    cos, sin = scene.turn(i)
    u, v = (cos * dx + sin * dy) / scale, (cos * dy - sin * dx) / scale
    cover = np.clip(0.5 - scene.shape(u, v) * scale, 0, 1)
    shade = scene.place.shade
    painted = shade + (0.5 + 0.5 * scene.paint(u, v))[..., None] * (scene.colour - shade)
    frame[rows, columns] += cover[..., None] * (painted - frame[rows, columns])
    # and from the point to where it is later
    cos, sin = scene.turn(later)
    moved_x = np.float32(scene.x[later]) - x + np.float32(scene.scale[later]) * (cos * u - sin * v) - dx
    moved_y = np.float32(scene.y[later]) - y + np.float32(scene.scale[later]) * (sin * u + cos * v) - dy
    inside = cover > 0.5
    flow[rows, columns][inside] = np.stack([moved_x, moved_y], axis=-1)[inside]
    return frame, flow


def _reached(centre: np.float32, reach: np.float32, length: int) -> slice:
    return slice(max(int(centre - reach), 0), min(int(centre + reach) + 2, length))


def _hear(
    size: Size, random: np.random.Generator, action: str, sound: sounds.Sound, rate: float, place: Place
) -> NDArray[np.float32]:
    count = round(size.frames / size.fps * SAMPLE_RATE)
    t = np.arange(count) / SAMPLE_RATE
    luck, loud = random.random(), random.uniform(0.25, 0.8)
    if action in ID_ACTIONS and luck < FOREIGN_SOUND:
        sound = _other(size, action, random).sound
    elif action not in FAR_WORLDS and luck > 1 - NO_SOUND:
        loud = 0.0
    level, pole = place.room
    heard = loud * sound(t, random, rate) + sounds.ambience(t, random, level, pole)
    return np.clip(heard, -1, 1).astype(np.float32)
