"""Which frames and which sound of a clip are taken: the temporal window, and whether modalities share it.

A protocol is a table of functions, as in `losses.protocols`; adding one is
registering a table in `CLIP_PROTOCOLS`.

``shared`` (default)
    One window: optical flow's lies at the middle of the video's, the sound is that of the video's window.  Crop and
    flip are shared too.  Where the sound is shorter than the window, there is silence.
``multiood-code``
    What the authors' loaders do.  Video and flow draw their own windows, crops and flips.  Of a video the last frame
    is never drawn, and frame n - 1 is read where n was drawn (not so in folders of frames).  Of flow, the x video is
    counted; for a frame that the y video lacks, its last one stands in, or the first where it lacks four or more.
    The sound of a file goes from the first to the last drawn frame at 24 frames a second, whatever the video's rate
    is, and is silence where that span is empty; a row with start and stop has all its sound between them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ..registry import CLIP_PROTOCOLS
from .sampling import sample_window

CODE_FPS = 24.0
"""Frames a second by which the authors' code turns frame numbers into seconds of sound."""

Indices = NDArray[np.int64]
Draw = Callable[[str], np.random.Generator | None]
"""Name of a random stream → what to draw from; None where nothing is random.  Each call begins the stream anew."""


class FrameSource(Protocol):
    """The frames of one modality of a clip.

    Attributes:
        count: how many there are.
        listed: how many the first of its files has: of optical flow, whose y video may be shorter, the x video's.
        is_folder: whether they are files of their own.
    """

    count: int
    listed: int
    is_folder: bool

    def seconds(self, first: int, end: int) -> tuple[float, float] | None:
        """Return when the frames ``first`` to ``end - 1`` are shown, in seconds of their file; None for folders."""


class SoundSource(Protocol):
    """The sound of a clip."""

    is_cut: bool

    def span(self) -> tuple[float, float]:
        """Return the seconds between which it lies in its file."""


class Sampling(NamedTuple):
    """How a window is sampled: ``length`` frames, ``stride`` apart."""

    length: int
    stride: int

    @property
    def extent(self) -> int:
        """Frames that a window covers."""
        return self.length * self.stride


@dataclass(frozen=True)
class Windows:
    """What is taken of a clip.

    Attributes:
        frames: modality → numbers of its frames ``[T]``.
        sound: seconds in the sound's file; None for a clip without sound.
        silent: whether a span without any sound is silence, not an error.
        padded: whether what the sound lacks of the span is silence, so that it is as long as the pictures.
    """

    frames: Mapping[str, Indices]
    sound: tuple[float, float] | None
    silent: bool = False
    padded: bool = False


@dataclass(frozen=True)
class ClipProtocol:
    """One way of taking a clip's parts.

    Attributes:
        name: as it stands in configs.
        windows: (modality → frames, modality → sampling, the sound or None, random) → what is taken.
        stream: modality → name of the random stream that its crop and flip are drawn from.
        flow_val_whole: whether optical flow keeps the whole short side outside training (256 pixels).
        summary: one line for listings.
    """

    name: str
    windows: Callable[[Mapping[str, FrameSource], Mapping[str, Sampling], SoundSource | None, Draw], Windows]
    stream: Callable[[str], str]
    flow_val_whole: bool
    summary: str = ""


def shared_windows(
    sources: Mapping[str, FrameSource],
    samplings: Mapping[str, Sampling],
    sound: SoundSource | None,
    draw: Draw,
) -> Windows:
    """Return one window for all modalities: the video's, or the only one's; see the module."""
    if not sources:
        return Windows({}, sound.span() if sound is not None else None)
    lead = "video" if "video" in sources else next(iter(sources))
    count = sources[lead].count
    window = sample_window(count, *samplings[lead], draw("window"))
    first = int(window[0])
    end = min(first + samplings[lead].extent, count)
    middle = (first + end) / 2 / count
    frames = {
        modality: window if modality == lead else _around(middle, source.count, samplings[modality])
        for modality, source in sources.items()
    }
    if sound is None:
        return Windows(frames, None)
    span = sources[lead].seconds(first, end)
    if (
        span is None
    ):  # a folder of frames doesn't know when they are shown: evenly between the row's start and stop
        start, stop = sound.span()
        span = start + first / count * (stop - start), start + end / count * (stop - start)
    return Windows(frames, span, padded=True)


def _around(middle: float, count: int, sampling: Sampling) -> Indices:
    """Return the window with its middle at the share ``middle`` of a clip of ``count`` frames, if it fits there."""
    first = math.floor(middle * count - sampling.extent / 2 + 0.5)
    first = min(max(first, 0), max(count - sampling.extent, 0))
    return (first + np.arange(sampling.length, dtype=np.int64) * sampling.stride) % count


def code_windows(
    sources: Mapping[str, FrameSource],
    samplings: Mapping[str, Sampling],
    sound: SoundSource | None,
    draw: Draw,
) -> Windows:
    """Return the windows that the authors' loaders would take; see the module."""

    def sampled(modality: str) -> Indices:
        source = sources[modality]
        count = source.listed if source.is_folder else max(source.listed - 1, 1)
        return sample_window(count, *samplings[modality], draw(f"window.{modality}"))

    frames = {
        modality: sampled(modality) if source.is_folder else np.maximum(sampled(modality) - 1, 0)
        for modality, source in sources.items()
    }
    if sound is None:
        return Windows(frames, None)
    if sound.is_cut or "video" not in sources:
        return Windows(frames, sound.span())
    first, last = sampled("video")[[0, -1]].tolist()
    return Windows(frames, (first / CODE_FPS, last / CODE_FPS), silent=True)


def _one_stream(modality: str) -> str:
    return "view"


def _own_stream(modality: str) -> str:
    return f"view.{modality}"


SHARED = ClipProtocol(
    "shared",
    shared_windows,
    _one_stream,
    flow_val_whole=False,
    summary="all modalities show one moment of the clip",
)
CODE = ClipProtocol(
    "multiood-code", code_windows, _own_stream, flow_val_whole=True, summary="as MultiOOD's published loaders"
)


def clip_protocol(name: str) -> ClipProtocol:
    """Return the protocol called ``name``.

    Raises:
        UserError: when there is none; the message names the nearest.
    """
    protocol: ClipProtocol = CLIP_PROTOCOLS.get(name, "preprocessor.protocol")
    return protocol
