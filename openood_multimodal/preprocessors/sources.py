"""A clip's files, opened: how many frames each modality has, and what they look and sound like."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..datasets.clip_files import ClipFiles, ModalityFiles
from ..errors import MissingPackageError, UserError
from .audio import audio_duration, read_sound
from .computed_flow import ComputedFlow
from .frame_folder import read_frames
from .packages import import_opencv
from .video import PixelFormat, Video, frames_between
from .windows import FrameSource, SoundSource

if TYPE_CHECKING:
    from .readers import Reader

Frames = NDArray[np.uint8]

_TRIES = 4  # readings: one, and one more for each of a clip's three videos
_ROUNDING = 1e-6  # seconds
_HEARABLE = (
    0.1  # seconds without sound that are worth a remark: more than an encoder's delay, or a last packet
)
_ONE_FRAME = 0.04  # seconds that a video's only frame is shown for, where nothing tells
_LAST_STANDS_IN = 3  # frames after flow's last y frame for which that is taken, as the authors' code does


class VideoSource:
    """The frames of a video file between two instants.

    Attributes:
        count: how many there are.
        listed: how many the file's header says there are; where the row has start or stop, as ``count``.
        is_folder: False.
    """

    is_folder = False

    def __init__(self, video: Video, pixel_format: PixelFormat, start: float, stop: float) -> None:
        self._video = video
        self._pixel_format: PixelFormat = pixel_format
        self._first = 0
        self.count = video.frames
        self.listed = video.listed
        if not (math.isnan(start) and math.isnan(stop)):
            times = video.times()
            begin, end = float(times[0]), float(times[-1]) + self._last_one(times)
            if start >= end - _ROUNDING or stop <= begin + _ROUNDING:
                raise UserError(
                    f"{video.path}: the clip's start and stop ({_span(start, stop)}) are outside the video, which goes "
                    f"from {begin:.6g} s to {end:.6g} s; correct the manifest's row."
                )
            self._first, end_frame = frames_between(times, start, stop)
            self.count = self.listed = end_frame - self._first

    def seconds(self, first: int, end: int) -> tuple[float, float]:
        """Return when the frames ``first`` to ``end - 1`` are shown, in seconds of the file."""
        times = self._video.times()
        first, end = first + self._first, end + self._first
        return float(times[first]), float(
            times[end] if end < len(times) else times[-1] + self._last_one(times)
        )

    def read(self, indices: NDArray[np.int64]) -> Frames:
        """Return frames by number: uint8 ``[T, H, W, C]``.

        For a frame that the header lists, but a decoder doesn't give, the last one stands in.
        """
        return self._video.read(np.minimum(indices, self.count - 1) + self._first, self._pixel_format)

    @property
    def renumbered(self) -> bool:
        """Whether reading found that ``count``, or what ``seconds`` says, was wrong."""
        return self._video.renumbered

    @staticmethod
    def _last_one(times: NDArray[np.float64]) -> float:
        """Return for how many seconds the last frame is shown: as the others, in the mean."""
        return float(times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else _ONE_FRAME


class FolderSource:
    """A span of a folder of JPEG frames.

    Attributes:
        count: how many frames it has.
        listed: the same.
        is_folder: True.
    """

    is_folder = True
    renumbered = False

    def __init__(self, folder: Path, pixel_format: PixelFormat, first: int, last: int) -> None:
        if last < first:
            raise UserError(f"{folder}: frames {first} to {last} are no span.")
        self._folder = folder
        self._pixel_format: PixelFormat = pixel_format
        self._first = first
        self.count = self.listed = last - first + 1

    def seconds(self, first: int, end: int) -> None:
        """Return None: a folder doesn't say when its frames are shown."""
        return

    def read(self, indices: NDArray[np.int64]) -> Frames:
        """Return frames by their place in the span: uint8 ``[T, H, W, C]``."""
        return read_frames(self._folder, indices + self._first, self._pixel_format)


class FlowSource:
    """Optical flow: a horizontal and a vertical component, each with frames of its own.

    Attributes:
        count: how many frames both have.
        listed: how many x has.
        is_folder: as the components'.
    """

    def __init__(self, x: VideoSource | FolderSource, y: VideoSource | FolderSource) -> None:
        self._x, self._y = x, y
        self.count = min(x.count, y.count)
        self.listed = x.count
        self.is_folder = x.is_folder

    @property
    def renumbered(self) -> bool:
        """As a video's."""
        return self._x.renumbered or self._y.renumbered

    def seconds(self, first: int, end: int) -> tuple[float, float] | None:
        """As the horizontal component's."""
        return self._x.seconds(first, end)

    def read(self, indices: NDArray[np.int64]) -> Frames:
        """Return frames by number: uint8 ``[T, H, W, 2]``, x first.

        Where y lacks one of x's, its last frame stands in, or its first where it lacks four or more.
        """
        late = indices - (self._y.count - 1)
        stand_in = np.where(late <= _LAST_STANDS_IN, self._y.count - 1, 0)
        x, y = self._x.read(indices), self._y.read(np.where(late > 0, stand_in, indices))
        if x.shape != y.shape:
            raise UserError(
                f"its x frames are {x.shape[2]}x{x.shape[1]}, its y frames {y.shape[2]}x{y.shape[1]} pixels."
            )
        return np.concatenate([x, y], axis=-1)


class TimedSource:
    """A file of which the part between two instants is taken, such as a CSV of sensor values.

    Attributes:
        path: the file.
        is_cut: whether the manifest says where the clip begins and ends.
        padded: whether the video's window is asked for, so that sound which the file lacks of it is silence.
        remarks: what was tolerated in the file, so far.

    Args:
        path: the file.
        start: second at which the clip begins in it, NaN for the file's beginning.
        stop: second at which it ends, NaN for the file's end.
        duration: path → seconds of the file, for clips without ``stop``.
    """

    def __init__(self, path: Path, start: float, stop: float, duration: Callable[[Path], float]) -> None:
        self.path = path
        self._start, self._stop, self._duration = start, stop, duration
        self.is_cut = not (math.isnan(start) and math.isnan(stop))
        self.padded = False
        self.remarks: list[str] = []

    def span(self) -> tuple[float, float]:
        """Return the seconds between which it lies in its file."""
        start = 0.0 if math.isnan(self._start) else self._start
        return start, self._duration(self.path) if math.isnan(self._stop) else self._stop


class AudioSource(TimedSource):
    """The sound of a file between two instants; ``degrade`` is what a test-time condition does to it."""

    degrade: Callable[[NDArray[np.float32], int], NDArray[np.float32]] | None = None

    def __init__(self, path: Path, start: float, stop: float) -> None:
        super().__init__(path, start, stop, audio_duration)

    def read(self, start: float, stop: float, rate: int) -> NDArray[np.float32]:
        """Return the samples between two instants of the file, float32 ``[n]``."""
        samples = self._samples(start, stop, rate)
        return samples if self.degrade is None else self.degrade(samples, rate)

    def _samples(self, start: float, stop: float, rate: int) -> NDArray[np.float32]:
        sound = read_sound(self.path, start, stop, rate)
        self.remarks += sound.remarks()
        if not self.padded:
            return sound.samples
        lacking = max(round(stop * rate) - round(start * rate) - len(sound.samples), 0)
        absent = (lacking + sound.absent) / rate
        if absent > _HEARABLE:
            self.remarks.append(f"there is no sound in {absent:.2f} s of its {stop - start:.2f} s: silence")
        return np.pad(sound.samples, (0, lacking))


class OpenClip:
    """A clip's files, open within a ``with`` block.

    Attributes:
        frames: modality of frames → its source.
        timed: every other modality → its source.

    Args:
        files: where they are.
        readers: modality wanted → its reader.

    Raises:
        UserError: when a file is missing or broken, or a modality wanted has none; the message begins with the
            modality.
    """

    def __init__(self, files: ClipFiles, readers: Mapping[str, Reader]) -> None:
        if any(reader.is_frames for reader in readers.values()):
            import_opencv()  # before anything else uses it: see there
        self.frames: dict[str, Any] = {}
        self.timed: dict[str, Any] = {}
        with ExitStack() as stack:
            for modality, reader in readers.items():
                with about(modality):
                    place = files.modalities.get(modality)
                    if place is None:
                        raise UserError("the clip has none; its cell in the manifest is empty.")
                    opened = self.frames if reader.is_frames else self.timed
                    opened[modality] = reader.open(place, files, stack)
            self._stack = stack.pop_all()

    @property
    def renumbered(self) -> bool:
        """Whether reading found that a modality's frames were counted wrong: windows have to be chosen again."""
        return any(getattr(source, "renumbered", False) for source in self.frames.values())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()


T = TypeVar("T")


def taken(files: ClipFiles, readers: Mapping[str, Reader], take: Callable[[OpenClip], T]) -> T:
    """Open a clip and return what ``take`` makes of it.

    Where reading finds that frames were counted wrong, all of it is done again, so that the result doesn't depend on
    what was read before.

    Raises:
        UserError: as `OpenClip` and ``take``.
    """
    for _ in range(_TRIES):
        with OpenClip(files, readers) as clip:
            try:
                result = take(clip)
            except UserError:
                if not clip.renumbered:
                    raise
            else:
                if not clip.renumbered:
                    return result
    raise UserError(
        f"the clip '{files.clip}' has other frames each time that it is read; is the disk at fault?"
    )


def _span(start: float, stop: float) -> str:
    begin = "the beginning" if math.isnan(start) else f"{start:.6g} s"
    return f"{begin} to {'the end' if math.isnan(stop) else f'{stop:.6g} s'}"


def open_video(
    place: ModalityFiles, files: ClipFiles, stack: ExitStack, pixel_format: PixelFormat = "rgb24"
) -> VideoSource | FolderSource:
    """Return the frames of a video file or of a folder; ``stack`` closes them."""
    if place.frames is not None:
        return FolderSource(place.path, pixel_format, *place.frames)
    return VideoSource(stack.enter_context(Video(place.path)), pixel_format, files.start, files.stop)


def open_flow(place: ModalityFiles, files: ClipFiles, stack: ExitStack) -> FlowSource | ComputedFlow:
    """Return optical flow: of two files, of two folders, or computed where ``place`` is the video itself."""
    if place.y is None and place.frames is None:
        return ComputedFlow(open_video(place, files, stack))
    x, y = (place.path, place.y) if place.y else (place.path / "u", place.path / "v")
    components = (open_video(replace(place, path=each), files, stack, "gray") for each in (x, y))
    return FlowSource(*components)


class about:  # noqa: N801 - reads as a phrase: with about("flow")
    """Puts a modality's name before the message of what goes wrong in the block."""

    def __init__(self, modality: str) -> None:
        self._modality = modality

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(value, UserError) and not isinstance(value, MissingPackageError):
            raise UserError(f"{self._modality}: {value}") from value
        if isinstance(value, OSError):
            raise UserError(f"{self._modality}: {value}") from value


# what this module's classes are to `windows`
_: tuple[type[FrameSource], ...] = (VideoSource, FolderSource, FlowSource, ComputedFlow)
_sound: type[SoundSource] = AudioSource
