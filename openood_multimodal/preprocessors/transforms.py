"""Resizing, cropping, flipping and normalising the frames of a clip, as the benchmark's reference does.

Frames are uint8 ``[T, H, W, C]``.  All frames of a clip get the same crop and the same flip.  Sizes, rounding and
interpolation are those of mmaction2's transforms (OpenCV's bilinear resize): the results are equal bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from .packages import import_opencv

Frames = NDArray[np.uint8]

AREA_RANGE = (0.08, 1.0)
RATIO_RANGE = (3 / 4, 4 / 3)
ATTEMPTS = 10


class Box(NamedTuple):
    """A rectangle of pixels: rows ``top`` to ``bottom - 1``, columns ``left`` to ``right - 1``."""

    left: int
    top: int
    right: int
    bottom: int


class View(NamedTuple):
    """One way of looking at a clip's frames.

    Attributes:
        box: the part of the resized frame that is kept.
        size: height and width that the part is scaled to.
        mirrored: whether it is flipped from left to right.
    """

    box: Box
    size: int
    mirrored: bool


def short_side_size(height: int, width: int, short_side: int) -> tuple[int, int]:
    """Return height and width scaled so that the shorter one is ``short_side``, rounded half up."""
    factor = short_side / min(height, width)
    return int(height * factor + 0.5), int(width * factor + 0.5)


def center_view(height: int, width: int, size: int) -> View:
    """Return the central square of ``size`` pixels of a frame of ``height`` x ``width``.

    Raises:
        UserError: when the frame is smaller than that.
    """
    if min(height, width) < size:
        raise UserError(f"a frame of {height} x {width} pixels has no central square of {size}.")
    left, top = (width - size) // 2, (height - size) // 2
    return View(Box(left, top, left + size, top + size), size, mirrored=False)


def random_view(
    height: int,
    width: int,
    size: int,
    random: np.random.Generator,
    flip_probability: float = 0.5,
    area_range: tuple[float, float] = AREA_RANGE,
    ratio_range: tuple[float, float] = RATIO_RANGE,
) -> View:
    """Draw a crop that is scaled to a square of ``size``, and a flip (Szegedy et al., CVPR 2015, section 6).

    The crop's share of the area is uniform, its ratio of width to height log-uniform; the first of ten drafts that
    fits into the frame is taken, else the largest central square.  A generator in the same state draws the same
    part, up to rounding, of frames that differ in size only; the number of draws never depends on the frame.

    Args:
        height: of the frame, in pixels.
        width: likewise.
        size: side of the square that the crop is scaled to.
        random: what to draw from.
        flip_probability: of a flip from left to right.
        area_range: least and greatest share of the frame's area.
        ratio_range: least and greatest ratio of width to height.
    """
    ratios = np.exp(random.uniform(math.log(ratio_range[0]), math.log(ratio_range[1]), size=ATTEMPTS))
    areas = random.uniform(*area_range, size=ATTEMPTS) * (height * width)
    horizontal, vertical, coin = random.random(3)
    widths = np.round(np.sqrt(areas * ratios)).astype(int).tolist()
    heights = np.round(np.sqrt(areas / ratios)).astype(int).tolist()
    mirrored = bool(coin < flip_probability)
    for crop_width, crop_height in zip(widths, heights, strict=True):
        if 0 < crop_height <= height and 0 < crop_width <= width:
            left = int(horizontal * (width - crop_width + 1))
            top = int(vertical * (height - crop_height + 1))
            return View(Box(left, top, left + crop_width, top + crop_height), size, mirrored)
    side = min(height, width)
    return center_view(height, width, side)._replace(size=size, mirrored=mirrored)


def apply_view(frames: Frames, short_side: int, view: View) -> Frames:
    """Return ``[T, size, size, C]``: frames scaled to ``short_side``, cut, scaled again, and flipped.

    ``view`` refers to frames of `short_side_size`.  For optical flow, `mirror_flow` has to follow a flip.
    """
    cv2 = import_opencv()
    height, width = short_side_size(frames.shape[1], frames.shape[2], short_side)
    (left, top, right, bottom), size, mirrored = view
    out = np.empty((len(frames), size, size, frames.shape[3]), dtype=np.uint8)
    for frame, target in zip(frames, out, strict=True):
        scaled = frame
        if frame.shape[:2] != (height, width):
            scaled = cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR)
        part = scaled.reshape(height, width, -1)[top:bottom, left:right]
        if part.shape[:2] != (size, size):
            part = cv2.resize(part, (size, size), interpolation=cv2.INTER_LINEAR).reshape(size, size, -1)
        target[...] = part[:, ::-1] if mirrored else part
    return out


def negate_x(flow: Frames) -> None:
    """Turn flow's horizontal component round, in place: 8-bit flow ``v`` becomes ``255 - v``.

    A flip from left to right turns motion to the right into motion to the left.

    Args:
        flow: ``[T, H, W, 2]``, x first.
    """
    np.subtract(255, flow[..., 0], out=flow[..., 0])


def normalize(
    frames: Frames, mean: Sequence[float], std: Sequence[float], out: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Return ``(frames - mean) / std`` a channel, as float32 ``[C, T, H, W]``; written into ``out`` where given.

    The division is a multiplication by ``1 / std``, as in mmcv's ``imnormalize``.
    """
    cv2 = import_opencv()
    length, height, width, channels = frames.shape
    if out is None:
        out = np.empty((channels, length, height, width), dtype=np.float32)
    tables = _tables(tuple(mean), tuple(std))
    if len(tables) != channels:
        raise UserError(f"frames have {channels} channels, but mean and std are given for {len(tables)}.")
    for place, frame in enumerate(frames):
        for channel, plane in enumerate(cv2.split(frame)):
            cv2.LUT(plane, tables[channel], dst=out[channel, place])
    return out


@lru_cache(maxsize=8)
def _tables(mean: tuple[float, ...], std: tuple[float, ...]) -> NDArray[np.float32]:
    """Return float32 ``[C, 256]``, what each 8-bit value becomes: there are no others."""
    values = np.arange(256, dtype=np.float32)
    centred = values - np.asarray(mean, dtype=np.float32)[:, np.newaxis]
    scale = 1 / np.asarray(std, dtype=np.float32).astype(np.float64)
    table = (centred.astype(np.float64) * scale[:, np.newaxis]).astype(np.float32)
    table.setflags(write=False)
    return table
