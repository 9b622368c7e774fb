"""Encoding video and sound: one thread and fixed options, so that the same input gives the same bytes.

That holds with the same libraries on the same kind of processor.  Containers get no time stamps and no version tags.
"""

from __future__ import annotations

import wave
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ..preprocessors.packages import import_av

SAMPLE_RATE = 16000
_AAC_FRAME = 1024
_FULL_RANGE = 2  # AVCOL_RANGE_JPEG
# Two B-frames between others, fixed: x264's looking ahead (macroblock tree, adaptive B-frames, scene cuts, weights)
# chooses differently from run to run on frames this small.
_PLAIN = "mbtree=0:rc-lookahead=0:b-adapt=0:bframes=2:scenecut=0:weightp=0"


@dataclass(frozen=True)
class VideoKind:
    """A container, its codecs and their options.

    Attributes:
        container: FFmpeg's name.
        codec: of the pictures; FFmpeg's name.
        options: of the codec.
        pixels: format of the pictures as they are kept.
        full_range: whether levels 0 to 255 are kept as they are.
        sound: codec of the sound.
        samples: format of the samples that the sound's codec takes.
    """

    container: str
    codec: str
    options: dict[str, str] = field(default_factory=dict)
    pixels: str = "yuv420p"
    full_range: bool = False
    sound: str = "aac"
    samples: str = "fltp"


LOSSLESS_GRAY = VideoKind(
    "mp4",
    "libx264",
    {"qp": "0", "preset": "veryfast", "g": "12", "bf": "0"},
    pixels="gray",
    full_range=True,
)
"""Levels come back exactly as they were written, by PyAV, OpenCV and decord alike.  Keyframes every 12 frames and no
B-frames, since a training run reads a few frames at a time."""
MPEG4 = VideoKind(
    "avi",
    "mpeg4",
    {
        "threads": "1",
        "flags": "+bitexact+qscale",
        "global_quality": str(3 * 118),
        "g": "12",
    },  # 118 a step of quality
    sound="pcm_s16le",
    samples="s16",
)


def h264(quality: int) -> VideoKind:
    """Return H.264 in MP4 with AAC sound; ``quality`` is its constant rate factor, lower is better."""
    options = {"preset": "veryfast", "threads": "1", "flags": "+bitexact", "x264-params": _PLAIN}
    return VideoKind("mp4", "libx264", {**options, "crf": str(quality), "g": "12"})


class VideoWriter:
    """Encodes frames of one size, and sound, into an open binary file.

    Args:
        file: writable and seekable.
        kind: what to write.
        size: ``(width, height)``; odd numbers are fine for `LOSSLESS_GRAY`.
        rate: nominal frames a second, for players.
        time_base: seconds that one step of `add`'s ``time`` is worth; None for a frame's duration.
        comment: stored in the file, see `writing.read_comment`.
        sound: whether sound comes, too.

    Raises:
        MissingPackageError: when PyAV is not installed.
    """

    def __init__(
        self,
        file: IO[bytes],
        kind: VideoKind,
        size: tuple[int, int],
        rate: Fraction | int,
        time_base: Fraction | None = None,
        comment: str = "",
        sound: bool = False,
    ) -> None:
        self._av, self._kind = import_av(), kind
        # A kill leaves no file that looks whole: the index is written last.
        self._container: Any = self._av.open(
            file, "w", format=kind.container, options={"fflags": "+bitexact"}
        )
        if comment:
            self._container.metadata["comment"] = comment
        stream = self._container.add_stream(kind.codec, rate=rate, options=dict(kind.options))
        stream.width, stream.height = size
        stream.pix_fmt = kind.pixels
        context = stream.codec_context
        context.thread_count = 1
        if time_base is not None:
            stream.time_base = context.time_base = time_base
        if kind.full_range:
            context.color_range = _FULL_RANGE
        self._pictures, self._time_base = stream, time_base or 1 / Fraction(rate)
        self._heard: Any = (
            self._container.add_stream(kind.sound, rate=SAMPLE_RATE, layout="mono") if sound else None
        )

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        self._container.close()

    def add(self, frame: NDArray[np.uint8], time: int) -> None:
        """Encode a frame, ``[H, W, 3]`` RGB or ``[H, W]`` grey, shown at ``time``, which is after the last one's."""
        picture = self._av.VideoFrame.from_ndarray(
            np.ascontiguousarray(frame), format="gray" if frame.ndim == 2 else "rgb24"
        )
        if self._kind.full_range:
            picture.color_range = _FULL_RANGE
        picture.pts, picture.time_base = time, self._time_base
        self._container.mux(self._pictures.encode(picture))

    def hear(self, samples: NDArray[np.generic], at: int) -> None:
        """Encode up to 1024 samples ``[n]``, int16 or float32 as the kind takes, from sample ``at`` on."""
        chunk = self._av.AudioFrame.from_ndarray(
            np.ascontiguousarray(samples[None]), format=self._kind.samples, layout="mono"
        )
        chunk.sample_rate, chunk.pts, chunk.time_base = SAMPLE_RATE, at, Fraction(1, SAMPLE_RATE)
        self._container.mux(self._heard.encode(chunk))

    def close(self, rest: Sequence[tuple[NDArray[np.generic], int]] = ()) -> None:
        """Write the last frames, the ``rest`` of the sound, and the index; the file itself stays open."""
        self._container.mux(self._pictures.encode(None))
        for samples, at in rest:
            self.hear(samples, at)
        if self._heard is not None:
            self._container.mux(self._heard.encode(None))
        self._container.close()


def write_video(
    file: IO[bytes],
    kind: VideoKind,
    frames: NDArray[np.uint8],
    fps: int,
    sound: NDArray[np.float32] | None = None,
) -> None:
    """Write a clip.

    Args:
        file: writable and seekable.
        kind: what to write.
        frames: uint8 ``[T, H, W, 3]`` RGB, or ``[T, H, W]`` grey.
        fps: frames a second.
        sound: float32 ``[n]`` in [-1, 1] at 16 kHz; None for no sound.

    Raises:
        MissingPackageError: when PyAV is not installed.
        OSError: when the file can't be written.
    """
    chunks: list[tuple[NDArray[np.generic], int]] = []
    if sound is not None:
        samples = pcm(sound) if kind.samples == "s16" else sound.astype(np.float32)
        chunks = [(samples[at : at + _AAC_FRAME], at) for at in range(0, len(samples), _AAC_FRAME)]
    size = frames.shape[2], frames.shape[1]
    with VideoWriter(file, kind, size, fps, sound=sound is not None) as writer:
        for number, frame in enumerate(frames):
            writer.add(frame, number)
            while chunks and chunks[0][1] * fps <= number * SAMPLE_RATE:
                writer.hear(*chunks.pop(0))
        writer.close(chunks)


def pcm(sound: NDArray[np.floating[Any]]) -> NDArray[np.int16]:
    """Return samples in [-1, 1] as 16-bit integers; others are clipped."""
    return np.rint(np.clip(sound, -1, 1) * 32767).astype(np.int16)


@contextmanager
def wave_file(file: IO[bytes]) -> Iterator[wave.Wave_write]:
    """Open a WAV file to write 16-bit mono samples at 16 kHz into."""
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(SAMPLE_RATE)
        yield out
