"""From a clip's files to what the networks read: sampled, cropped, flipped, normalised; a spectrogram of its sound."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from ..datasets.clip_files import ClipFiles
from ..errors import UserError
from ..registry import PREPROCESSORS
from .base import MultimodalPreprocessor
from .video import share_indices
from .windows import ClipProtocol, Draw, Sampling, Windows, clip_protocol

RGB_MEAN, RGB_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
FLOW_MEAN, FLOW_STD = (128.0, 128.0), (128.0, 128.0)


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
        if len(self.mean) != len(self.std) or min(self.std, default=0.0) <= 0:
            raise ValueError("mean and std need one value a channel, and std values above 0.")


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


@dataclass(frozen=True, eq=False)
class ClipLook:
    """A clip as the network sees it, before normalisation.

    Attributes:
        frames: ``video`` and ``flow`` → uint8 ``[T, size, size, C]``, cropped and flipped.
        windows: which frames and which seconds those are.
        mirrored: ``video`` and ``flow`` → whether they are flipped.
        spectrogram: float32 ``[F, T]``, or None.
    """

    frames: Mapping[str, NDArray[np.uint8]]
    windows: Windows
    mirrored: Mapping[str, bool]
    spectrogram: NDArray[np.float32] | None


@PREPROCESSORS.register("multimodal_clip")
class ClipPreprocessor(MultimodalPreprocessor):
    """Reads clips as the benchmark's reference implementation does.

    Training (split ``train``) takes a random window of frames, one random crop and one flip for all of them, and
    disturbs the spectrogram; every other split takes the middle of the clip and of the frames.  ``protocol`` says
    whether modalities share the window (`windows`).

    It reads files itself (``load_clip``), and leaves batches as they are.
    """

    @dataclass(frozen=True)
    class Params:
        """Parameters.

        Attributes:
            protocol: ``shared`` or ``multiood-code``.
            flip_probability: of a flip from left to right in training.
            video: of video.
            flow: of optical flow.
            audio: of sound.
        """

        protocol: str = "shared"
        flip_probability: float = 0.5
        video: VideoParams = field(default_factory=VideoParams)
        flow: FlowParams = field(default_factory=FlowParams)
        audio: AudioParams = field(default_factory=AudioParams)

    def __init__(self, config: Mapping[str, Any], split: str) -> None:
        super().__init__(config, split)
        share_indices()
        self.training = split == "train"
        self.protocol: ClipProtocol = clip_protocol(self.params.protocol)
        for modality, channels in (("video", 3), ("flow", 2)):
            if len(self._frame_params(modality).mean) != channels:
                raise UserError(
                    f"preprocessor.{modality}: mean and std need {channels} values, one a channel."
                )
        if not 0 <= self.params.flip_probability <= 1:
            raise UserError(
                f"preprocessor.flip_probability is {self.params.flip_probability}; it lies in 0 to 1."
            )

    def clip_shapes(self, modalities: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
        """Return modality → shape of one clip: ``[C, T, size, size]`` of frames, ``[1, F, T]`` of sound."""
        from .audio import spectrogram_shape

        shapes: dict[str, tuple[int, ...]] = {}
        for modality in modalities:
            if modality == "audio":
                audio = self.params.audio
                shapes[modality] = (
                    1,
                    *spectrogram_shape(audio.seconds, audio.rate, audio.window, audio.overlap),
                )
            else:
                params, size = self._frame_params(modality), self._size(modality)
                shapes[modality] = (len(params.mean), params.frames, size, size)
        return shapes

    def load_clip(
        self, files: ClipFiles, seed: int, epoch: int, index: int, out: Mapping[str, NDArray[np.float32]]
    ) -> None:
        """Read a clip and write its values into ``out``.

        Args:
            files: where it is.
            seed: seed of the run.
            epoch: counted from 1 in training; 0 before.
            index: the clip's place in the data set.
            out: modality → float32 array of the shape that `clip_shapes` gives; these modalities are read.

        Raises:
            UserError: when a file is missing or broken; the message begins with the modality and names the file.
            MissingPackageError: when PyAV or OpenCV is not installed.
        """
        from .transforms import normalize

        look = self.look(files, seed, epoch, index, tuple(out))
        for modality, frames in look.frames.items():
            params = self._frame_params(modality)
            normalize(frames, params.mean, params.std, out=out[modality])
        if look.spectrogram is not None:
            out["audio"][0] = look.spectrogram

    def look(
        self, files: ClipFiles, seed: int, epoch: int, index: int, modalities: tuple[str, ...]
    ) -> ClipLook:
        """Return a clip as the network sees it, before normalisation; see `load_clip`."""
        from .sources import taken

        draw = self._draw(seed, epoch, index)
        return taken(files, modalities, lambda clip: self._looked(clip, draw))

    def _looked(self, clip: Any, draw: Draw) -> ClipLook:
        from .sources import about

        samplings = {
            name: Sampling(self._frame_params(name).frames, self._frame_params(name).stride)
            for name in ("video", "flow")
        }
        windows = self.protocol.windows(clip.frames, samplings, clip.sound, draw)
        frames, mirrored = {}, {}
        for modality, source in clip.frames.items():
            with about(modality):
                whole = source.read(windows.frames[modality])
            frames[modality], mirrored[modality] = self._seen(modality, whole, draw)
        spectrogram = None
        if clip.sound is not None and windows.sound is not None:
            with about("audio"):
                spectrogram = self._heard(clip.sound, windows.sound, windows.silent, draw)
        return ClipLook(frames, windows, mirrored, spectrogram)

    def _seen(self, modality: str, frames: NDArray[np.uint8], draw: Draw) -> tuple[NDArray[np.uint8], bool]:
        from .transforms import apply_view, center_view, negate_x, random_view, short_side_size

        params, size = self._frame_params(modality), self._size(modality)
        height, width = short_side_size(frames.shape[1], frames.shape[2], params.short_side)
        random = draw(self.protocol.stream(modality))
        if random is None:
            view = center_view(height, width, size)
        else:
            view = random_view(height, width, size, random, self.params.flip_probability)
        seen = apply_view(frames, params.short_side, view)
        if view.mirrored and modality == "flow":
            negate_x(seen)
        return seen, view.mirrored

    def _heard(self, sound: Any, span: tuple[float, float], silent: bool, draw: Draw) -> NDArray[np.float32]:
        from .audio import augment_spectrogram, fit_length, log_spectrogram

        params = self.params.audio
        start, stop = span
        samples = sound.read(start, min(stop, start + params.seconds), params.rate)
        if silent and not len(samples):
            samples = np.zeros(1, dtype=np.float32)
        samples = fit_length(samples, round(params.seconds * params.rate))
        spectrogram = log_spectrogram(samples, params.rate, params.window, params.overlap)
        random = draw("sound")
        return (
            spectrogram
            if random is None
            else augment_spectrogram(spectrogram, random, params.noise, params.band)
        )

    def _frame_params(self, modality: str) -> FrameParams:
        return self.params.video if modality == "video" else self.params.flow

    def _size(self, modality: str) -> int:
        params = self._frame_params(modality)
        if self.training:
            return params.size
        whole = modality == "flow" and self.protocol.flow_val_whole
        return params.val_size or (params.short_side if whole else params.size)

    def _draw(self, seed: int, epoch: int, index: int) -> Draw:
        def draw(stream: str) -> np.random.Generator | None:
            return clip_random(seed, epoch, index, stream) if self.training else None

        return draw


def clip_random(seed: int, epoch: int, index: int, stream: str) -> np.random.Generator:
    """Return the generator that belongs to (seed, epoch, index) and a stream's name, at its beginning.

    Counter-based (Philox, Salmon et al., SC 2011): the key is the seed and the stream, the counter starts at (epoch,
    index), so that neither the order of clips nor the worker matters.
    """
    key = np.array([seed % 2**64, crc32(stream.encode())], dtype=np.uint64)
    counter = np.array([0, 0, epoch, index], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))
