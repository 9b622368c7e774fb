"""From decoded frames to arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from .media import check_limit
from .packages import import_av, import_opencv

PixelFormat = Literal["rgb24", "gray"]
Converter = Callable[[Any, NDArray[np.uint8]], None]


class PixelStore:
    """Takes decoded frames in turn and keeps their pixels in one array.

    Args:
        path: the video, for messages.
        count: how many frames will come.
        pixel_format: ``rgb24`` or ``gray``.

    Attributes:
        frames: uint8 ``[count, H, W, C]``, once the first frame has come.
        filled: how many have come; set it to 0 to begin again.
    """

    def __init__(self, path: str, count: int, pixel_format: PixelFormat) -> None:
        self.frames: NDArray[np.uint8] | None = None
        self.filled = 0
        self._path = path
        self._count = count
        self._convert = _to_gray() if pixel_format == "gray" else _to_rgb()
        self._channels = 1 if pixel_format == "gray" else 3

    def put(self, frame: Any) -> None:
        """Take the next frame.

        Raises:
            UserError: when its size is not the first one's.
        """
        shape = (frame.height, frame.width, self._channels)
        if self.frames is None:
            check_limit("window_bytes", self._count * int(np.prod(shape)), self._path)
            self.frames = np.empty((self._count, *shape), dtype=np.uint8)
        if shape != self.frames.shape[1:]:
            height, width, _ = self.frames.shape[1:]
            raise UserError(
                f"{self._path}: its frames change size, from {width}x{height} to {frame.width}x{frame.height}; "
                "make the video again at one size."
            )
        self._convert(frame, self.frames[self.filled])
        self.filled += 1


def _to_rgb() -> Converter:
    """Return what writes a frame's RGB into uint8 ``[H, W, 3]``."""
    # One for all frames, so that the scaler is set up once; on one thread, since starting more takes longer than
    # the work.
    reformat = import_av().video.reformatter.VideoReformatter().reformat

    def convert(frame: Any, out: NDArray[np.uint8]) -> None:
        height, width, channels = out.shape
        plane: Any = reformat(frame, format="rgb24", threads=1).planes[0]
        rows = np.frombuffer(plane, dtype=np.uint8).reshape(-1, plane.line_size)
        out.reshape(height, width * channels)[:] = rows[:height, : width * channels]

    return convert


def _to_gray() -> Converter:
    """Return what writes a frame's brightness into uint8 ``[H, W, 1]``, by way of RGB as the reference does."""
    cv2 = import_opencv()
    to_rgb = _to_rgb()

    def convert(frame: Any, out: NDArray[np.uint8]) -> None:
        rgb = np.empty((*out.shape[:2], 3), dtype=np.uint8)
        to_rgb(frame, rgb)
        out[:, :, 0] = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)

    return convert
