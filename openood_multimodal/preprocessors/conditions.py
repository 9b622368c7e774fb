"""Test-time conditions of the input: what happens to a clip's frames or sound before its normal preprocessing.

`ClipPreprocessor.degrade` applies one to the clips that it reads.  Your own::

    @CONDITIONS.register("grey")
    class Grey(InputCondition):
        def frames(self, frames, random):
            return np.repeat(frames.mean(axis=3, keepdims=True), 3, axis=3).astype(np.uint8)
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..registry import CONDITIONS
from .packages import import_av, import_opencv

Frames = NDArray[np.uint8]
Sound = NDArray[np.float32]
Random = np.random.Generator

NO_MOTION = 128
"""The value of a flow frame's pixel that doesn't move."""


class InputCondition:
    """The base class: a condition changes which frames are read, the frames, or the sound; a subclass says how.

    Args:
        text: the severity as it was written, None where there is none.

    Attributes:
        severity: as a number; NaN for a condition that has none.

    Raises:
        UserError: for a severity that is missing, not asked for, or outside `severities`.
    """

    severities: ClassVar[tuple[float, float] | None] = None
    """Least and greatest severity; None: there is one degree only."""

    meaning: ClassVar[str] = ""
    """What the severity is, for messages."""

    whole: ClassVar[bool] = False
    """Whether the severity is a whole number."""

    removes: ClassVar[bool] = False
    """Whether nothing is left of a modality."""

    of_flow: ClassVar[bool] = False
    """Whether it may be applied to flow that is read from files; otherwise, flow must be computed from the frames."""

    def __init__(self, text: str | None = None) -> None:
        self.severity = math.nan
        name = CONDITIONS.name_of(type(self)) or type(self).__name__
        if self.severities is None:
            if text is not None:
                raise UserError(f"{name} has no severity, got '{text}'; leave '={text}' out.")
            return
        least, most = self.severities
        try:
            self.severity = float(text or "")
        except ValueError:
            self.severity = math.nan
        if not least <= self.severity <= most or (self.whole and self.severity != round(self.severity)):
            got = "none was given" if text is None else f"got '{text}'"
            kind = "a whole number" if self.whole else "a number"
            raise UserError(
                f"{name}: the severity must be {kind} from {least:g} to {most:g} ({self.meaning}); {got}."
            )

    def places(self, count: int, rate: Callable[[], float], random: Random) -> NDArray[np.int64]:
        """Return int64 ``[count]``: which of a clip's frames is shown in the place of each.

        Args:
            count: frames of the clip.
            rate: returns frames a second.
            random: the same for all modalities of a clip.
        """
        return np.arange(count)

    def frames(self, frames: Frames, random: Random) -> Frames:
        """Return changed uint8 ``[T, H, W, C]`` frames, of the same shape; flow has C = 2."""
        return frames

    def sound(self, samples: Sound, rate: int, random: Random) -> Sound:
        """Return changed samples in [-1, 1], float32 ``[n]``, ``rate`` a second; as many as there were."""
        return samples

    def changes_frames(self) -> bool:
        """Whether it is one of frames."""
        kind = type(self)
        return kind.frames is not InputCondition.frames or kind.places is not InputCondition.places

    def changes_sound(self) -> bool:
        """Whether it is one of sound."""
        return type(self).sound is not InputCondition.sound


@CONDITIONS.register("black")
class Black(InputCondition):
    """Black frames; in flow, no motion."""

    removes = True
    of_flow = True

    def frames(self, frames: Frames, random: Random) -> Frames:
        """Return zeros, or `NO_MOTION` for flow."""
        return np.full_like(frames, NO_MOTION if frames.shape[3] == 2 else 0)


@CONDITIONS.register("drop")
class FrameDrop(InputCondition):
    """Each frame but the first is lost with a probability; the last one that came stays in its place."""

    severities = (0.0, 1.0)
    meaning = "the probability that a frame is lost"

    def places(self, count: int, rate: Callable[[], float], random: Random) -> NDArray[np.int64]:
        """Return for each frame the last one that wasn't lost."""
        came = random.random(count) >= self.severity
        return np.maximum.accumulate(np.where(came, np.arange(count), 0))


@CONDITIONS.register("blur")
class Blur(InputCondition):
    """Gaussian blur."""

    severities = (0.1, 64.0)
    meaning = "standard deviation in pixels of a frame whose shorter side is 256"

    def frames(self, frames: Frames, random: Random) -> Frames:
        """Return blurred frames."""
        cv2 = import_opencv()
        sigma = self.severity * min(frames.shape[1:3]) / 256
        return np.stack([cv2.GaussianBlur(frame, (0, 0), sigma) for frame in frames])


@CONDITIONS.register("h264")
class H264(InputCondition):
    """The frames that are read, encoded as H.264 with a constant quantiser (one thread), and decoded again."""

    severities = (0.0, 51.0)
    meaning = "H.264's quantiser; 51 is the coarsest"
    whole = True

    def frames(self, frames: Frames, random: Random) -> Frames:
        """Return the decoded frames."""
        av = import_av()
        height, width = frames.shape[1:3]
        even = np.pad(frames, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        file = io.BytesIO()
        with av.open(file, "w", format="mp4") as writer:
            stream: Any = writer.add_stream(
                "libx264", rate=25, options={"qp": f"{self.severity:g}", "threads": "1", "preset": "veryfast"}
            )
            stream.height, stream.width, stream.pix_fmt = *even.shape[1:3], "yuv420p"
            for frame in even:
                writer.mux(
                    stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24"))
                )
            writer.mux(stream.encode(None))
        file.seek(0)
        with av.open(file) as reader:
            decoded = np.stack([frame.to_ndarray(format="rgb24") for frame in reader.decode(video=0)])
        return decoded[:, :height, :width]


@CONDITIONS.register("noise")
class Noise(InputCondition):
    """Additive Gaussian noise at a signal-to-noise ratio, of frames or of sound."""

    severities = (-40.0, 80.0)
    meaning = "signal-to-noise ratio in dB"

    def frames(self, frames: Frames, random: Random) -> Frames:
        """Return noisy frames; the signal is their deviation from their mean."""
        noise = random.standard_normal(frames.shape, dtype=np.float32) * np.float32(self._size(frames.std()))
        return np.clip(np.rint(frames + noise), 0, 255).astype(np.uint8)

    def sound(self, samples: Sound, rate: int, random: Random) -> Sound:
        """Return noisy sound, at most ±1; silence stays silence."""
        size = self._size(np.sqrt(np.mean(np.square(samples, dtype=np.float64)))) if len(samples) else 0.0
        noise = random.standard_normal(len(samples), dtype=np.float32) * np.float32(size)
        return np.clip(samples + noise, -1, 1)

    def _size(self, signal: Any) -> float:
        return float(signal) * 10 ** (-self.severity / 20)


@CONDITIONS.register("silence")
class Silence(InputCondition):
    """No sound."""

    removes = True

    def sound(self, samples: Sound, rate: int, random: Random) -> Sound:
        """Return zeros."""
        return np.zeros_like(samples)


@CONDITIONS.register("clip")
class Clipping(InputCondition):
    """Sound that is cut off at a share of its peak, and amplified to the peak again."""

    severities = (0.001, 1.0)
    meaning = "the share of the peak at which the sound is cut off"

    def sound(self, samples: Sound, rate: int, random: Random) -> Sound:
        """Return clipped sound."""
        limit = np.abs(samples).max(initial=0.0) * self.severity
        return (np.clip(samples, -limit, limit) / np.float32(self.severity)).astype(np.float32)


@CONDITIONS.register("shift")
class TimeShift(InputCondition):
    """A modality that runs ahead of the others; what comes after its end is its beginning."""

    severities = (-3600.0, 3600.0)
    meaning = "seconds by which it is ahead"
    of_flow = True

    def places(self, count: int, rate: Callable[[], float], random: Random) -> NDArray[np.int64]:
        """Return frames that are shown later."""
        return (np.arange(count) + round(self.severity * rate())) % count

    def sound(self, samples: Sound, rate: int, random: Random) -> Sound:
        """Return the sound that is read, moved."""
        return np.roll(samples, -round(self.severity * rate))


class DegradedFrames:
    """A clip's frames (`windows.FrameSource`) under a condition.

    Args:
        source: the frames.
        condition: what is done to them.
        modality: for random numbers.
        draw: name of a stream → its generator.
    """

    def __init__(
        self, source: Any, condition: InputCondition, modality: str, draw: Callable[[str], Random]
    ) -> None:
        self._source, self._condition, self._modality, self._draw = source, condition, modality, draw

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._source, name)

    def read(self, indices: NDArray[np.int64]) -> Frames:
        """Return frames by number, as the source does."""
        count = self._source.count
        places = self._condition.places(count, self._rate, self._draw("condition"))
        frames = self._source.read(places[np.minimum(indices, count - 1)])
        return self._condition.frames(frames, self._draw(f"condition.{self._modality}"))

    def _rate(self) -> float:
        count = self._source.count
        span = self._source.seconds(0, count)
        if span is None:
            raise UserError("a folder of frames doesn't say when they are shown, so time can't be shifted.")
        return count / max(span[1] - span[0], 1e-9)
