"""The readers of video, optical flow and sound."""

from __future__ import annotations

import math
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..datasets.cells import flow_y
from ..datasets.clip_files import ClipFiles, ModalityFiles
from ..errors import UserError
from .audio import augment_spectrogram, fit_length, log_spectrogram, spectrogram_shape
from .readers import FrameReader, Reader, ReaderContext
from .sources import AudioSource, open_flow, open_video
from .transforms import apply_view, center_view, negate_x, normalize, random_view, short_side_size
from .windows import Draw, Sampling

RGB_MEAN, RGB_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
FLOW_MEAN, FLOW_STD = (128.0, 128.0), (128.0, 128.0)

_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class FrameParams:
    """Parameters of video or optical flow.

    Attributes:
        frames: T, how many are taken.
        stride: how many frames on the next one is.
        short_side: pixels that the frame's shorter side is scaled to before it is cropped.
        size: side of the square that the network gets.
        val_size: side of the central crop outside training; None for ``size``, except for flow under
            ``multiood-code``: there it is ``short_side``.
        mean: of each channel, on the scale 0 to 255.
        std: likewise.
    """

    frames: int
    stride: int
    short_side: int = 256
    size: int = 224
    val_size: int | None = None
    mean: tuple[float, ...] = RGB_MEAN
    std: tuple[float, ...] = RGB_STD

    def __post_init__(self) -> None:
        for name in ("frames", "stride", "size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1.")
        for name in ("size", "val_size"):
            if (getattr(self, name) or 0) > self.short_side:
                raise ValueError(
                    f"{name} is {getattr(self, name)}, more than short_side ({self.short_side}), so there is no crop."
                )
        if (
            not self.mean
            or len(self.mean) != len(self.std)
            or not all(0 < std < math.inf for std in self.std)
        ):
            raise ValueError(
                "mean and std need one value a channel, and std values above 0 and below infinity."
            )
        for mean, std in zip(self.mean, self.std, strict=True):
            if not (255 + abs(mean)) / std <= _LARGEST:
                raise ValueError(f"mean {mean} with std {std} makes values that float32 can't hold.")


@dataclass(frozen=True)
class VideoParams(FrameParams):
    """Parameters of video; see `FrameParams`."""

    frames: int = 32
    stride: int = 2


@dataclass(frozen=True)
class FlowParams(FrameParams):
    """Parameters of optical flow; see `FrameParams`."""

    frames: int = 8
    stride: int = 4
    mean: tuple[float, ...] = FLOW_MEAN
    std: tuple[float, ...] = FLOW_STD


@dataclass(frozen=True)
class AudioParams:
    """Parameters of sound.

    Attributes:
        seconds: how much of it is taken; shorter sound is repeated.
        rate: samples a second.
        window: samples of one spectrogram segment.
        overlap: samples that neighbouring segments share.
        noise: greatest amplitude of the uniform noise in training.
        band: frequencies masked in training.
    """

    seconds: float = 10.0
    rate: int = 16000
    window: int = 512
    overlap: int = 353
    noise: float = 0.05
    band: int = 9

    def __post_init__(self) -> None:
        if not (math.isfinite(self.seconds) and math.isfinite(self.noise)):
            raise ValueError(f"seconds is {self.seconds}, noise {self.noise}; both must be finite numbers.")
        if not 0 <= self.overlap < self.window:
            raise ValueError(
                f"overlap is {self.overlap}; it must be at least 0 and less than window ({self.window})."
            )
        if self.rate < 1 or not round(self.seconds * self.rate) >= self.window:
            raise ValueError(
                f"{self.seconds} s at {self.rate} Hz are shorter than one window of {self.window}."
            )
        if self.noise < 0 or not 0 <= self.band < self.window // 2:
            raise ValueError("noise and band must be at least 0, and band less than half a window.")


class VideoReader(FrameReader):
    """Video: ``[3, T, size, size]``.  Flow and other frames have its parameters, with other defaults.

    Raises:
        UserError: when ``mean`` and ``std`` have another number of channels.
    """

    channels = 3
    Params: ClassVar[Any] = VideoParams

    def __init__(self, params: Any, context: ReaderContext) -> None:
        super().__init__(params, context)
        self.sampling = Sampling(params.frames, params.stride)
        if len(params.mean) != self.channels:
            raise UserError(
                f"preprocessor.{context.modality}: mean and std need {self.channels} values, one a channel."
            )

    def shape(self) -> tuple[int, ...]:
        """Return ``(C, T, size, size)``."""
        return (len(self.params.mean), self.params.frames, self._size, self._size)

    @property
    def _size(self) -> int:
        return self.params.size if self.context.training else self.params.val_size or self.params.size

    def open(self, place: ModalityFiles, files: ClipFiles, stack: ExitStack) -> Any:
        """Return the frames of a video or of a folder."""
        return open_video(place, files, stack)

    def see(self, frames: NDArray[np.uint8], draw: Draw) -> tuple[NDArray[np.uint8], bool]:
        """Return uint8 ``[T, size, size, C]``, cropped and flipped, and whether it is flipped."""
        short_side = self.params.short_side
        height, width = short_side_size(frames.shape[1], frames.shape[2], short_side)
        random = draw(self.context.protocol.stream(self.context.modality))
        if random is None:
            view = center_view(height, width, self._size)
        else:
            view = random_view(height, width, self._size, random, self.context.flip_probability)
        return apply_view(frames, short_side, view), view.mirrored

    def normalise(self, frames: NDArray[np.uint8], out: NDArray[np.float32]) -> None:
        """Write ``(frames - mean) / std`` into ``out``, channels first."""
        normalize(frames, self.params.mean, self.params.std, out=out)


class FlowReader(VideoReader):
    """Optical flow: ``[2, T, size, size]``, horizontal and vertical motion."""

    channels = 2
    Params = FlowParams

    @property
    def _size(self) -> int:
        params = self.params
        if self.context.training:
            return params.size
        return params.val_size or (params.short_side if self.context.protocol.flow_val_whole else params.size)

    def companion(self, path: str) -> str:
        """Return the y video that belongs to an x video.

        Raises:
            UserError: when ``path`` names no x video.
        """
        if "_flow_x" not in path:
            raise UserError(
                f"{self.context.modality}: '{path}' names no x video; it must contain '_flow_x', with '_flow_y' "
                "beside it."
            )
        return flow_y(path)

    def open(self, place: ModalityFiles, files: ClipFiles, stack: ExitStack) -> Any:
        """Return the frames of both components."""
        return open_flow(place, files, stack)

    def see(self, frames: NDArray[np.uint8], draw: Draw) -> tuple[NDArray[np.uint8], bool]:
        """As of video; the horizontal motion of what is mirrored changes its sign."""
        seen, mirrored = super().see(frames, draw)
        if mirrored:
            negate_x(seen)
        return seen, mirrored


class AudioReader(Reader):
    """Sound: the log spectrogram of its samples, ``[1, F, T]``."""

    Params = AudioParams

    def shape(self) -> tuple[int, ...]:
        """Return ``(1, F, T)``."""
        params = self.params
        return (1, *spectrogram_shape(params.seconds, params.rate, params.window, params.overlap))

    def open(self, place: ModalityFiles, files: ClipFiles, stack: ExitStack) -> Any:
        """Return the sound of a file."""
        return AudioSource(place.path, files.start, files.stop)

    def take(self, source: Any, span: tuple[float, float], silent: bool, draw: Draw) -> NDArray[np.float32]:
        """Return the spectrogram of a span of seconds; of silence where it is empty and ``silent``."""
        params, (start, stop) = self.params, span
        samples = source.read(start, min(stop, start + params.seconds), params.rate)
        if silent and not len(samples):
            samples = np.zeros(1, dtype=np.float32)
        if not len(samples):
            raise UserError(
                f"{source.path}: seconds {start:g} to {stop:g} hold no sound; check start and stop against the "
                "file's length."
            )
        if not np.isfinite(samples).all():  # before they are clipped to ±1
            raise UserError(f"{source.path}: the sound holds NaN or infinite samples.")
        samples = fit_length(samples, round(params.seconds * params.rate))
        spectrogram = log_spectrogram(samples, params.rate, params.window, params.overlap)
        random = draw("sound")
        if random is not None:
            spectrogram = augment_spectrogram(spectrogram, random, params.noise, params.band)
        return spectrogram[None]
