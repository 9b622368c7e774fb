"""Writing what a download lacks: optical flow as two 8-bit videos, sound as a WAV file.

A flow video is H.264 in MP4, 8-bit luma at full range, lossless (`encoding.LOSSLESS_GRAY`).  Flow is smooth, so that
lossless costs no more than the next best quality.  The same input gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import ArgumentError, UserError
from ..preprocessors.media import (
    FLOW_MARK,
    VIDEO_FORMATS,
    check_limit,
    decoding,
    file_key,
    open_media,
    reason,
)
from ..preprocessors.optical_flow import BOUND, make_estimator, quantise, shrunk_size
from ..preprocessors.packages import import_av, import_opencv
from ..preprocessors.sound_track import Mixer, SoundTrack, broken_packets
from ..preprocessors.sources import about
from ..preprocessors.video import Video
from .encoding import LOSSLESS_GRAY, SAMPLE_RATE, VideoWriter, wave_file


@dataclass(frozen=True)
class FlowSettings:
    """What decides a flow video's content.

    Attributes:
        method: a name of `registry.FLOW_METHODS`.
        bound: pixels a frame that levels 0 and 255 stand for.
        short_side: frames with a longer short side are shrunk to it first; None takes them as they are.

    Raises:
        ArgumentError: when ``bound`` isn't positive and finite, or ``short_side`` is below 16.
    """

    method: str = "tvl1"
    bound: float = BOUND
    short_side: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.bound < float("inf"):
            raise ArgumentError("bound", f"{self.bound:g} must be greater than 0.")
        if self.short_side is not None and self.short_side < 16:
            raise ArgumentError("short_side", f"{self.short_side} is too small; use 16 or more.")

    def tag(self) -> str:
        """Return the text that stands in every video made so (``comment`` of the MP4)."""
        size = "as the video" if self.short_side is None else f"short side {self.short_side}"
        return f"{FLOW_MARK} 1: {self.method}, bound {self.bound:g}, {size}"


def write_flow(source: Path, x: IO[bytes], y: IO[bytes], settings: FlowSettings) -> int:
    """Encode the optical flow of the video ``source`` into two open binary files, and return its number of frames.

    The video is read frame by frame, never as a whole.  A flow frame is shown when the first of its two frames is, on
    the clock that the video shares with its sound (`media`).

    Raises:
        UserError: when the source is missing or broken, or has fewer than two frames.
        MissingPackageError: where PyAV or OpenCV is missing.
    """
    estimate = make_estimator(settings.method)
    before: NDArray[np.uint8] | None = None
    then, count = 0, 0
    writers: tuple[VideoWriter, ...] = ()
    for shot in _gray_shots(source, settings.short_side):
        if before is not None:
            if before.shape != shot.levels.shape:
                raise UserError(f"{source}: frames change their size within the video (frame {count + 1}).")
            with about(str(source)):
                flow = quantise(estimate(before, shot.levels), settings.bound)
            with _encoding(source):
                if not writers:
                    size = (before.shape[1], before.shape[0])
                    writers = tuple(
                        VideoWriter(f, LOSSLESS_GRAY, size, shot.rate, shot.time_base, settings.tag())
                        for f in (x, y)
                    )
                for writer, levels in zip(writers, (flow[..., 0], flow[..., 1]), strict=True):
                    writer.add(levels, then)
            count += 1
        before, then = shot.levels, shot.time
    if not writers:
        number = "one frame" if before is not None else "no frames"
        raise UserError(f"{source} has {number}; optical flow needs two.")
    with _encoding(source):
        for writer in writers:
            writer.close()
    return count


@contextmanager
def _encoding(source: Path) -> Iterator[None]:
    """Turn an encoder's refusal of a video into an error that names it; a full disk is none."""
    try:
        yield
    except (import_av().FFmpegError, ValueError) as error:
        if isinstance(error, OSError | UserError):
            raise
        raise UserError(f"{source}: its optical flow can't be encoded: {reason(error)}.") from error


def write_sound(source: Path, target: IO[bytes], remarks: list[str] | None = None) -> float:
    """Write the sound of the video ``source`` as WAV (16 kHz, mono, int16) and return its length in seconds.

    The samples are those of the authors' ``ffmpeg -i <source> -acodec pcm_s16le -ac 1 -ar 16000``: libswresample with
    its defaults.  They stand at their times on the video's clock (`media`): where sound begins later than the pictures,
    or a packet is missing or broken, there is silence.

    Args:
        source: a file with sound.
        target: writable and seekable.
        remarks: a sentence about what was tolerated is added to it.

    Raises:
        UserError: when the source is missing or broken, or has no sound.
        MissingPackageError: where PyAV is missing.
    """
    file_key(source)
    samples = 0
    with decoding(source, "sound"):
        track = SoundTrack(source)
    with track, wave_file(target) as out:
        for at, block in _resampled(track):
            if at is not None and at > samples:
                check_limit("sound_seconds", at / SAMPLE_RATE, source)
                out.writeframesraw(bytes(2 * (at - samples)))
                samples = at
            samples += block.size
            check_limit("sound_seconds", samples / SAMPLE_RATE, source)
            out.writeframesraw(block.astype("<i2").tobytes())
    if remarks is not None and track.broken:
        remarks.append(f"{source}: {broken_packets(track.broken)}")
    return samples / SAMPLE_RATE


class _Shot(NamedTuple):
    """A gray frame: uint8 ``[H, W]``, when it is shown (in units of the clock's zero on), the unit, frames/s."""

    levels: NDArray[np.uint8]
    time: int
    time_base: Fraction
    rate: Fraction


def _gray_shots(source: Path, short_side: int | None) -> Iterator[_Shot]:
    """Yield all frames, gray by way of RGB and OpenCV as denseflow has them, shrunk after that."""
    cv2 = import_opencv()
    with Video(source) as video:  # a broken or truncated file is refused here
        rate, unit = video.rate_and_unit()
        last = -1
        for frame, seconds in video.shots():
            last = time = max(round(seconds / unit), last + 1)  # two frames at one time, in some old files
            with decoding(source, "video"):
                levels = cv2.cvtColor(frame.to_ndarray(format="rgb24"), cv2.COLOR_RGB2GRAY)
                size = shrunk_size(levels.shape[1], levels.shape[0], short_side)
                if size != (levels.shape[1], levels.shape[0]):
                    levels = cv2.resize(levels, size, interpolation=cv2.INTER_LINEAR)
            yield _Shot(levels, time, unit, rate)


def _resampled(track: SoundTrack) -> Iterator[tuple[int | None, NDArray[np.int16]]]:
    """Yield int16 blocks; with the first one after a gap, the sample on the clock at which it begins."""
    mixer, resampler, due = Mixer(), None, None
    pieces = track.pieces()
    while True:
        with decoding(track.path, "sound"):
            piece = next(pieces, None)
            blocks = []
            if resampler is not None and (piece is None or piece.fresh):
                blocks += [(None, block) for block in resampler.resample(None)]
            if piece is not None:
                if resampler is None or piece.fresh:
                    resampler = import_av().AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)
                    due = round(piece.at * SAMPLE_RATE / piece.frame.sample_rate)
                for block in resampler.resample(mixer.mixable(piece.frame)):
                    blocks.append((due, block))
                    due = None
            found = [(at, block.to_ndarray()[0]) for at, block in blocks]
        yield from found
        if piece is None:
            return


def read_comment(path: Path) -> str:
    """Return the ``comment`` of a video file, or "" where it has none or is no video."""
    try:
        file_key(path)
        with open_media(path, "video", VIDEO_FORMATS) as container:
            return str(container.metadata.get("comment", ""))
    except UserError:
        return ""
