"""Reading frames of a video: exact, and no more work than the frames asked for need.

Frame n is the n-th frame of a full decode (see `video_index.py`), its pixels those of PyAV's
``frame.to_ndarray(format="rgb24")``.  Rotation that a file asks a player for is not applied, as in the reference
implementation's reader (imageio).  Every frame decoded is held against the index; where a file turns out to lie,
it is decoded from the beginning instead: slower, not wrong.

A video is opened, read and closed within one call or ``with`` block, so nothing is shared with forked workers.
What is kept are indices, by path, times and size: the last ones in memory, all of them on disk (`stored_indices`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import UserError
from ..files.atomic import PathLike
from .decoded_runs import decode_run
from .frame_index import FrameIndex, IndexCache, step_of
from .media import decoding, file_key
from .packages import import_av
from .video_container import IndexLiesError, VideoContainer
from .video_index import by_decoding, by_packets
from .video_pixels import PixelFormat, PixelStore

__all__ = ["PixelFormat", "Video", "VideoInfo", "count_frames", "frames_between", "probe", "read_frames"]

_WORTH_SEEKING = 6
"""A gap of fewer frames is decoded through; a seek costs about as much."""

_cache = IndexCache(most_frames=2_000_000)


@dataclass(frozen=True)
class VideoInfo:
    """What a video is.

    Attributes:
        frames: number of frames that a full decode yields.
        fps: mean frames a second.
        width: pixels as decoded, before any rotation.
        height: the same.
        duration: seconds of picture.
        has_audio: whether there is sound that can be decoded.
        rotation: degrees, counter-clockwise, that the file asks players to turn it by; not applied here.
    """

    frames: int
    fps: float
    width: int
    height: int
    duration: float
    has_audio: bool
    rotation: int


class Video:
    """An opened video; use it in a ``with`` block.

    Args:
        path: a file; its name's ending does not matter.
        threads: decoding threads; with several loader workers one is best.

    Attributes:
        renumbered: whether a reading found that frames are numbered otherwise, or shown at other times, than was said
            before it: then whoever chose frames by ``frames`` or ``times()`` has to choose again.

    Raises:
        UserError: when there is no such file, or it is no video.
        MissingPackageError: when PyAV is not installed.
    """

    def __init__(self, path: PathLike, threads: int = 1) -> None:
        self.path = os.fspath(path)
        self.renumbered = False
        with decoding(self.path, "video"):
            self._file = VideoContainer(self.path, threads)
        self._index: FrameIndex | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    @property
    def frames(self) -> int:
        """How many frames a full decode yields.

        Raises:
            UserError: when the file is truncated or broken.
        """
        with decoding(self.path, "video"):
            return self._usable_index().frames

    @property
    def listed(self) -> int:
        """How many frames the file's header says there are; where it says nothing, how many there are."""
        return int(self._file.stream.frames) or self.frames

    def times(self) -> NDArray[np.float64]:
        """Return when each frame is shown, float64 ``[frames]``, in seconds of the file's clock (`media`).

        The first one is at 0, unless the file has sound that begins before it.  Where the file gives frames no usable
        times, they are spaced evenly.
        """
        with decoding(self.path, "video"):
            index = self._usable_index()
            if index.ticks is None:
                return np.arange(index.frames, dtype=np.float64) * float(step_of(self._file.stream))
            first = int(index.ticks[0])
            zero = self._file.zero
            late = first * index.time_base - zero if zero is not None else 0
            since = (index.ticks - first).astype(np.float64)
            return since * float(index.time_base) + float(late)

    def info(self) -> VideoInfo:
        """Return what the video is; decodes one frame."""
        times = self.times()
        with decoding(self.path, "video"):
            frame = self._first_frame(self._usable_index())
            fps = float(1 / step_of(self._file.stream))
            if self._usable_index().ticks is not None and times[-1] > times[0]:
                fps = (len(times) - 1) / float(times[-1] - times[0])
            return VideoInfo(
                frames=len(times),
                fps=fps,
                width=frame.width,
                height=frame.height,
                duration=float(times[-1] - times[0]) + 1 / fps,
                has_audio=self._file.has_sound,
                rotation=int(frame.rotation),
            )

    def rate_and_unit(self) -> tuple[Fraction, Fraction]:
        """Return the nominal frames a second, and the seconds that one step of the file's times is worth."""
        step = step_of(self._file.stream)
        return 1 / step, Fraction(self._file.stream.time_base or step)

    def shots(self) -> Iterator[tuple[Any, float]]:
        """Yield all frames of a full decode (PyAV's), each with its time as in ``times()``."""
        with decoding(self.path, "video"):
            if (
                self._usable_index().stamps is not None
            ):  # a claim: a decode that nobody can repeat needs the truth
                self._index = self._indexed_by_decoding()
            times = self.times().tolist()
            self._file.reopen()
            frames = (frame for packet in self._file.packets() for frame in packet.decode())
        count = 0
        while True:
            with decoding(self.path, "video"):
                frame = next(frames, None)
                if frame is None:
                    break
                if count == len(times):
                    count += 1
                    break
            yield frame, times[count]
            count += 1
        if count != len(times):
            raise UserError(
                f"{self.path}: it does not decode to the same frames twice; is the disk at fault?"
            )

    def read(self, indices: ArrayLike, pixel_format: PixelFormat = "rgb24") -> NDArray[np.uint8]:
        """Return frames by number; see `read_frames`."""
        wanted = np.asarray(indices)
        if wanted.ndim != 1 or not len(wanted) or wanted.dtype.kind not in "iu":
            raise ValueError("indices must be a non-empty list of whole numbers")
        with decoding(self.path, "video"):
            return self._frames(wanted.astype(np.int64), pixel_format)

    def _frames(self, wanted: NDArray[np.int64], pixel_format: PixelFormat) -> NDArray[np.uint8]:
        numbers, places = np.unique(wanted, return_inverse=True)
        targets = numbers.tolist()
        self._check_range(targets)
        store = PixelStore(self.path, len(targets), pixel_format)
        for attempt in (self._read, self._read_again, self._read_from_start):
            store.filled = 0
            with suppress(IndexLiesError, import_av().FFmpegError):
                attempt(targets, store)
                break
        if store.frames is None or store.filled < len(targets):
            raise UserError(
                f"{self.path}: it does not decode to the same frames twice; is the disk at fault?"
            )
        # Most windows are sorted and without repeats: then what was decoded is the answer, without a copy.
        return store.frames if np.array_equal(places, np.arange(len(targets))) else store.frames[places]

    def decode_whole(self) -> int:
        """Decode all frames, without converting them, and return how many there are.

        Raises:
            UserError: when decoding ends early, or gives another number of frames than the file's packets tell.
        """
        expected = self._usable_index().frames
        index = self._indexed_by_decoding()
        if index.fault or index.frames != expected:
            fault = index.fault or "the end of the file"
            raise UserError(
                f"{self.path}: {index.frames} of {expected} frames could be decoded, then: {fault}. Fetch or make the "
                "file again."
            )
        return index.frames

    def _read(self, targets: list[int], store: PixelStore) -> None:
        """Fetch frames, ascending, run by run; a run starts at a keyframe or at the beginning."""
        index = self._usable_index()
        keys = index.keys_before(targets)
        gaps = np.append(index.key_frames, 0)[keys[1:]] - targets[:-1]  # a missing key, -1, takes the 0
        starts = [0, *(np.flatnonzero(gaps > _WORTH_SEEKING) + 1).tolist()]
        for start, stop in zip(starts, [*starts[1:], len(targets)], strict=True):
            decode_run(self._file, index, int(keys[start]), targets[start:stop], store)

    def _read_again(self, targets: list[int], store: PixelStore) -> None:
        """The index was wrong: number all frames by decoding them, and read once more."""
        old = self._usable_index()
        self._index = _cache.put(self._file.key, self._indexed_by_decoding())
        self.renumbered = not np.array_equal(
            old.ticks if old.ticks is not None else old.frames,
            self._index.ticks if self._index.ticks is not None else self._index.frames,
        )
        self._check_range(targets)
        self._read(targets, store)

    def _read_from_start(self, targets: list[int], store: PixelStore) -> None:
        """Not even keyframes can be relied on: decode from the beginning and count, from now on."""
        self._index = _cache.put(self._file.key, self._usable_index().without_keys())
        self._file.reopen()
        self._read(targets, store)

    def _first_frame(self, index: FrameIndex) -> Any:
        packets = self._file.packets_from_start(index.first)
        frame = next((frame for packet in packets for frame in packet.decode()), None)
        self._file.reopen()  # what is read next must not meet this frame's followers in the decoder
        if frame is None:
            raise UserError(f"{self.path}: the video has no frames.")
        return frame

    def _usable_index(self) -> FrameIndex:
        if self._index is None:
            known = _cache.get(self._file.key)
            self._index = known or _cache.put(self._file.key, self._build_index())
        index = self._index
        if index.fault:
            raise UserError(
                f"{self.path}: the video is broken or truncated; {index.frames} frames could be decoded, then: "
                f"{index.fault}. Fetch or make the file again."
            )
        if not index.frames:
            raise UserError(f"{self.path}: the video has no frames.")
        return index

    def _build_index(self) -> FrameIndex:
        index = None
        with suppress(import_av().FFmpegError):
            self._file.packets()  # from here on, the file is not at its beginning
            index = by_packets(self._file.container, self._file.stream)
        return index or self._indexed_by_decoding()

    def _indexed_by_decoding(self) -> FrameIndex:
        self._file.reopen()
        self._file.packets()
        return by_decoding(self._file.container, self._file.stream)

    def _check_range(self, targets: list[int]) -> None:
        frames = self._usable_index().frames
        for number in (targets[0], targets[-1]):
            if not 0 <= number < frames:
                raise UserError(
                    f"{self.path}: there is no frame {number}; the video has frames 0 to {frames - 1}."
                )


def probe(path: PathLike) -> VideoInfo:
    """Return what a video is.

    Raises:
        UserError: when the file is missing, is no video, or is broken.
    """
    with Video(path) as video:
        return video.info()


def count_frames(path: PathLike) -> int:
    """Return how many frames a full decode of a video yields, as a rule without decoding it.

    Raises:
        UserError: when the file is missing, is no video, is truncated or broken.
    """
    known = _cache.get(file_key(path))
    if known is not None and known.frames and not known.fault:
        return known.frames
    with Video(path) as video:
        return video.frames


def read_frames(path: PathLike, indices: ArrayLike, pixel_format: PixelFormat = "rgb24") -> NDArray[np.uint8]:
    """Return frames of a video by number.

    Args:
        path: a video.
        indices: whole numbers ``[T]`` from 0, in any order, repeats allowed.
        pixel_format: ``rgb24`` for colour, C = 3; ``gray`` for optical flow kept as a video, C = 1: OpenCV's
            RGB2GRAY of the RGB values, as the reference reads it.

    Returns:
        uint8 ``[T, H, W, C]``, equal bit for bit to those frames of a full decode.

    Raises:
        UserError: when the file is missing, is no video, is truncated or broken, or has no such frame.
        MissingPackageError: when PyAV (or, for ``gray``, OpenCV) is not installed.
    """
    with Video(path) as video:
        return video.read(indices, pixel_format)


def frames_between(times: NDArray[np.float64], start: float, stop: float) -> tuple[int, int]:
    """Return the first frame shown at or after ``start`` and the first at or after ``stop`` (not included).

    NaN stands for the beginning and the end.  At least one frame is in between: the last one where ``start`` comes
    after it.
    """
    first = 0 if np.isnan(start) else int(np.searchsorted(times, start - 1e-6))
    end = len(times) if np.isnan(stop) else int(np.searchsorted(times, stop - 1e-6))
    first = min(first, len(times) - 1)
    return first, max(first + 1, end)
