"""Generated video files: a textured background that moves, a disc before it, and a little noise."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from openood_multimodal.errors import MissingPackageError

FPS = 30
CONTAINERS = {"h264": ("libx264", "mp4"), "mpeg4": ("mpeg4", "avi")}


class Kind(NamedTuple):
    """What all files of one kind have in common.

    Attributes:
        codec: ``h264`` (MP4, B-frames) or ``mpeg4`` (AVI, none).
        keyframes: a keyframe every so many frames.
        seconds: how long, at 30 frames a second.
        width: pixels.
        height: pixels.
    """

    codec: str
    keyframes: int
    seconds: float
    width: int
    height: int

    @property
    def frames(self) -> int:
        """How many frames a file has."""
        return max(1, round(self.seconds * FPS))

    def describe(self) -> str:
        """Return its name in tables."""
        return f"{self.codec}, keyframes {self.keyframes}, {self.seconds:g} s"


def draw_frames(kind: Kind, seed: int) -> Iterator[NDArray[np.uint8]]:
    """Yield RGB frames ``[H, W, 3]``."""
    rng = np.random.default_rng(seed)
    height, width = kind.height, kind.width
    tiles = rng.integers(40, 216, (height // 8 + 2, width // 8 + 2, 3), dtype=np.uint8)
    texture = np.kron(tiles, np.ones((8, 8, 1), dtype=np.uint8))
    texture = (texture + np.roll(texture, 3, axis=0) // 3 + np.roll(texture, 5, axis=1) // 3) // 2
    noise = rng.integers(0, 12, (4, height, width, 1), dtype=np.uint8)
    rows, columns = np.ogrid[:height, :width]
    speed = rng.uniform(0.5, 2.0, 4)
    for number in range(kind.frames):
        moved = np.roll(texture, (int(speed[0] * number), int(speed[1] * number)), axis=(0, 1))
        frame = moved[:height, :width].astype(np.uint8) + noise[number % len(noise)]
        y = height * (0.5 + 0.3 * np.sin(speed[2] * number / 10))
        x = width * (0.5 + 0.3 * np.cos(speed[3] * number / 10))
        frame[(rows - y) ** 2 + (columns - x) ** 2 < (height / 6) ** 2] = (220, 60, 40)
        yield frame


def write_clip(path: Path, kind: Kind, seed: int) -> None:
    """Write one file.

    Raises:
        MissingPackageError: when PyAV is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise MissingPackageError('pip install "openood-multimodal[video]" for this benchmark') from error

    encoder, _ = CONTAINERS[kind.codec]
    options = {"sc_threshold": "0", "crf": "23"} if kind.codec == "h264" else {}
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(encoder, rate=FPS, options=options)
        stream.width, stream.height, stream.pix_fmt = kind.width, kind.height, "yuv420p"
        stream.codec_context.gop_size = kind.keyframes
        if kind.codec == "mpeg4":
            stream.bit_rate = 1_500_000
        for frame in draw_frames(kind, seed):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def write_clips(folder: Path, kind: Kind, count: int, seed: int) -> list[Path]:
    """Write ``count`` files that differ in content; return their paths."""
    ending = CONTAINERS[kind.codec][1]
    stem = f"{kind.codec}_{kind.keyframes}_{kind.seconds:g}"
    paths = [folder / f"{stem}_{number}.{ending}" for number in range(count)]
    for number, path in enumerate(paths):
        write_clip(path, kind, seed + number)
    return paths
