"""A file's sound, decoded piece by piece, each piece at its place on the file's clock.

What players tolerate is tolerated: a packet that can't be decoded is passed over and counted, its place stays empty; a
file that is cut off gives what is there; channels and rate may change on the way.  Where times leap (a gap, a lost
packet), sound is put where its time says; a difference of less than 20 ms is a container's rounding.  Where times go
back by more than a second, as where files were joined, sound goes on from there.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from functools import lru_cache
from os import PathLike
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from .media import LEAST_RATE, SOUND_FORMATS, check_limit, choose_sound, clock_zero, open_media, reason
from .packages import import_av

Samples = NDArray[np.float32]

PREROLL = 0.5
"""Seconds decoded before a span, for codecs whose frames lean on earlier ones."""
_ROUNDING = Fraction(1, 50)
_JUMP = 1
_SOUGHT = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "nut", "flac", "ogg", "avi", "flv", "mxf")
"""Containers in which seeking lands at a packet whose time is right.  Others, by bytes a second or by bisection, may be
off, or, where files were joined, land in another part: they are decoded from the beginning."""
_COUNTED = ("aac", "mp3", "ac3", "eac3", "dts", "amr", "wav", "w64", "aiff", "au", "caf")
"""Containers without times: FFmpeg makes them up, so that sound is placed by counting samples."""
_PCM = ("wav", "w64", "aiff", "au", "caf")  # likewise, for sound that is not compressed


class Piece(NamedTuple):
    """A decoded frame of sound.

    Attributes:
        at: the place of its first sample on the file's clock, in samples of its own rate.
        frame: PyAV's.
        fresh: whether it doesn't go on where the piece before ended, with the same layout, format and rate.
    """

    at: int
    frame: Any
    fresh: bool


class SoundTrack:
    """An opened file and the stream of sound that `media.choose_sound` takes; use it in a ``with`` block.

    Attributes:
        broken: packets that could not be decoded, so far.
        packets: packets that were tried, so far.

    Args:
        path: a regular file (`media.file_key`).

    Raises:
        UserError: when it can't be opened, or has no sound that can be decoded.
        MissingPackageError: when PyAV is not installed.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = path
        self.broken = self.packets = 0
        self._first_error = ""
        self._open()

    def _open(self) -> None:
        container = open_media(self.path, "sound or video file", SOUND_FORMATS)
        stream = choose_sound(container)
        if stream is None:
            unknown = bool(container.streams.audio)
            container.close()
            fault = "its sound is of a kind that this PyAV can't decode" if unknown else "it has no sound"
            raise UserError(f"{self.path}: {fault}.")
        self._container, self._stream = container, stream
        self._zero = clock_zero(container)

    def __enter__(self) -> SoundTrack:
        return self

    def __exit__(self, *exception: object) -> None:
        self._container.close()

    def pieces(self, begin: float = 0.0) -> Iterator[Piece]:
        """Yield the sound from the beginning, or from somewhere before the second ``begin`` on.

        Raises:
            UserError: when the track is empty, or most of its packets can't be decoded.
        """
        if begin > 0 and self._can_seek():
            if self._zero is None:
                self._zero = self._first_time()
            if self._zero is not None:
                found = False
                for piece in self._from(self._sought(begin), must_have_time=True):
                    if not found and piece.at > begin * piece.frame.sample_rate:
                        break  # it landed too late
                    found = True
                    yield piece
                if found:
                    return
            self._container.close()
            self._open()
        yield from self._from(self._decoded(), must_have_time=False)

    def _can_seek(self) -> bool:
        name, codec = self._container.format.name, self._stream.codec_context.name
        return (name in _SOUGHT and not codec.startswith("wma")) or (
            name in _PCM and codec.startswith("pcm_")
        )

    def _first_time(self) -> Fraction | None:
        frame = next(self._decoded(), None)
        self.broken = self.packets = 0
        return _time_of(frame) if frame is not None else None

    def _sought(self, begin: float) -> Iterator[Any]:
        assert self._zero is not None
        time = Fraction(begin) + self._zero
        try:
            self._container.seek(int(time / self._stream.time_base), stream=self._stream)
        except import_av().FFmpegError:
            return iter(())
        return self._decoded()

    def _decoded(self) -> Iterator[Any]:
        """Yield the frames from here on; packets that can't be decoded are passed over and counted."""
        av = import_av()
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
                if packet is None:
                    return
            except av.FFmpegError as error:  # what follows can't be reached
                self._note(error)
                return
            self.packets += bool(packet.size)
            try:
                frames = packet.decode()
            except av.FFmpegError as error:
                if packet.size:
                    self._note(error)
                continue
            yield from frames

    def _note(self, error: Exception) -> None:
        self.broken += 1
        self._first_error = self._first_error or reason(error)

    def _from(self, frames: Iterator[Any], must_have_time: bool) -> Iterator[Piece]:
        """Place frames on the clock; without a time, the first one is at 0, others go on from the one before."""
        end: Fraction | None = None  # of the piece before, in seconds of the clock
        kind, offset, lost, zero = None, Fraction(0), 0, self._zero
        counted = self._container.format.name in _COUNTED
        for frame in frames:
            if frame.samples < 1:
                continue
            self._check_rate(frame.sample_rate)
            time = _time_of(frame)
            if end is None:
                if time is None and must_have_time:
                    return
                if zero is None:
                    zero = time or Fraction(0)
                now, fresh = (time - zero if time is not None else Fraction(0)), True
            else:
                now, fresh = end, kind != _kind(frame)
                if time is not None and zero is not None and not counted:
                    due = time - zero + offset
                    if due < end - _JUMP:
                        offset += end - due
                    elif due + Fraction(frame.samples, frame.sample_rate) <= end - _ROUNDING:
                        continue  # a repetition
                    elif due > end + (_ROUNDING if self.broken == lost else 0):
                        now, fresh = due, True
            lost = self.broken
            kind, rate, count = _kind(frame), frame.sample_rate, frame.samples
            at = round(now * rate)
            yield Piece(at, frame, fresh)
            end = Fraction(at + count, rate)
        if end is None and not must_have_time:
            if self.broken:
                raise UserError(f"{self.path}: its sound can't be decoded: {self._first_error}.")
            raise UserError(f"{self.path}: its sound track is empty.")
        if self.broken > 1 and 2 * self.broken > self.packets:
            raise UserError(
                f"{self.path}: its sound can't be decoded: {self.broken} of {self.packets} packets are broken "
                f"({self._first_error})."
            )

    def _check_rate(self, rate: int) -> None:
        check_limit("sound_rate", rate, self.path)
        if rate < LEAST_RATE:
            raise UserError(
                f"{self.path}: it has {rate} samples of sound a second; at least {LEAST_RATE} are needed."
            )

    def duration(self) -> float:
        """Return the second of the clock at which the sound ends, by the header, or else by all packets' times.

        Raises:
            UserError: when neither tells.
        """
        container, stream = self._container, self._stream
        if self._can_seek() or container.format.name in (*_PCM, "mp3"):
            base = stream.time_base or 0
            late = Fraction(0)
            if self._zero is not None:
                late = max((stream.start_time or 0) * base - self._zero, Fraction(0))
            if stream.duration and stream.duration > 0 and base:
                return float(late + stream.duration * base)
            if container.duration and container.duration > 0 and not container.streams.video:
                return container.duration / 1e6
        first, last = None, None
        for packet in container.demux(stream):
            if packet.size and packet.pts is not None:
                time = packet.pts * packet.time_base
                first = time if first is None else min(first, time)
                end = time + (packet.duration or 0) * packet.time_base
                last = end if last is None else max(last, end)
        if first is None or last is None or last <= first:
            raise UserError(f"{self.path}: its header doesn't say how long its sound is; convert it to WAV.")
        return float(last - (self._zero if self._zero is not None else first))


def _time_of(frame: Any) -> Fraction | None:
    """Return a frame's time on its container's timeline, in seconds."""
    return frame.pts * frame.time_base if frame.pts is not None and frame.time_base is not None else None


def _kind(frame: Any) -> tuple[str, str, int]:
    """Return what has to be the same for frames that are mixed by one mixer."""
    return frame.layout.name, frame.format.name, frame.sample_rate


def broken_packets(count: int) -> str:
    """Return what a note says of packets that could not be decoded."""
    if count == 1:
        return "a packet of its sound can't be decoded; there is silence in its place"
    return f"{count} packets of its sound can't be decoded; there is silence in their place"


class Mixer:
    """Mixes the channels of frames into one, each full-scale: float32 ``[n]`` at the frame's own rate.

    As FFmpeg mixes them when it writes 16 bits; where it has no rule for a layout (FL+LFE), the mean of all channels
    but those for low frequencies.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, str, int], tuple[Any, np.float32 | None]] = {}

    def mixable(self, frame: Any) -> Any:
        """Return a frame that FFmpeg can mix by itself: the same, or where it has no rule, its mix."""
        if self._of(frame)[1] is not None:
            frame.pts = None
            return frame
        mixed = import_av().AudioFrame.from_ndarray(self.mono(frame)[np.newaxis], "fltp", "mono")
        mixed.sample_rate = frame.sample_rate
        return mixed

    def mono(self, frame: Any) -> Samples:
        """Return a frame's mix."""
        mixer, gain = self._of(frame)
        frame.pts = None
        parts = [part.to_ndarray() for part in mixer.resample(frame)]
        mixed = np.concatenate(parts, axis=1) if parts else np.zeros((1, 0), dtype=np.float32)
        if gain is not None:
            return mixed[0] / gain
        heard = [place for place, channel in enumerate(frame.layout.channels) if "LFE" not in channel.name]
        return (mixed[heard] if heard else mixed).mean(axis=0, dtype=np.float32)

    def _of(self, frame: Any) -> tuple[Any, np.float32 | None]:
        """Return FFmpeg's mixer for frames like this one, and its gain; None where it leaves channels apart."""
        layout, key = frame.layout, _kind(frame)
        if key not in self._known:
            few = layout.nb_channels < 3  # FFmpeg's own name of unusual layouts is none that it understands
            name = "+".join(channel.name for channel in layout.channels) if few else layout.name
            gain = _gain(name, layout.nb_channels)
            target = "mono" if gain is not None else layout
            mixer = import_av().AudioResampler(format="fltp", layout=target, rate=frame.sample_rate)
            self._known[key] = mixer, gain
        return self._known[key]


@lru_cache(maxsize=64)
def _gain(name: str, channels: int) -> np.float32 | None:
    """Return what FFmpeg's mix of full-scale channels gives: above 1 in floating point, 1 when it writes 16 bits.

    None where it has no rule.
    """
    av = import_av()
    try:
        mixer = av.AudioResampler(format="fltp", layout="mono", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.ones((1, 64 * channels), dtype=np.float32), "flt", name)
        frame.sample_rate = 16000
        gain = np.float32(mixer.resample(frame)[0].to_ndarray()[0, 0])
    except (av.FFmpegError, ValueError):
        return None
    return gain if gain > 0 else None
