"""Optical flow of a video that has no flow files: computed for the frames that are read, and for no others."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from .optical_flow import make_estimator, quantise, shrunk_size
from .packages import import_opencv


class ComputedFlow:
    """The flow between the frames of a video, as ``prepare flow --method dis --short-side 256`` would write it.

    Attributes:
        count: one fewer than the video has frames.
        listed: the same.
        is_folder: False.
        video: what it is computed from.

    Args:
        video: RGB frames (a `sources.VideoSource`).
    """

    is_folder = False

    def __init__(self, video: Any) -> None:
        if video.count < 2:
            raise UserError("the video has one frame; optical flow needs two.")
        self.video = video
        self.count = self.listed = video.count - 1

    @property
    def renumbered(self) -> bool:
        """As the video's."""
        return bool(self.video.renumbered)

    def seconds(self, first: int, end: int) -> tuple[float, float]:
        """Return when the first frames of the pairs ``first`` to ``end - 1`` are shown."""
        span: tuple[float, float] = self.video.seconds(first, end)
        return span

    def read(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return flow frames by number: uint8 ``[T, H, W, 2]``, x first."""
        numbers, places = np.unique(indices, return_inverse=True)
        needed = np.unique([numbers, numbers + 1])
        frames = {n: _gray(frame) for n, frame in zip(needed.tolist(), self.video.read(needed), strict=True)}
        estimate = make_estimator("dis")
        flow = [quantise(estimate(frames[n], frames[n + 1])) for n in numbers.tolist()]
        return np.stack(flow)[places]


def _gray(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    cv2 = import_opencv()
    levels = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    size = shrunk_size(levels.shape[1], levels.shape[0], 256)
    if size != (levels.shape[1], levels.shape[0]):
        levels = cv2.resize(levels, size, interpolation=cv2.INTER_LINEAR)
    return np.asarray(levels, dtype=np.uint8)
