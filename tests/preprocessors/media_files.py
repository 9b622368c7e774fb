"""Small films for tests: pictures and sound tracks of known content, in any container, order and timing."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.stream import Disposition
from numpy.typing import NDArray
from scipy.signal import butter, lfilter, resample_poly
from video_files import picture

RATE = 48000
FPS = 25


def noise(seconds: float, rate: int = RATE, channels: int = 1, seed: int = 0) -> NDArray[np.float32]:
    """Return float32 ``[channels, n]``: noise below 3 kHz, the same at every rate, in which each instant is known."""
    white = np.random.default_rng(seed).normal(size=(channels, round(seconds * 16000))) * 0.12
    smooth = lfilter(*butter(4, 3000, fs=16000), white)
    return (resample_poly(smooth, rate, 16000, axis=1) if rate != 16000 else smooth).astype(np.float32)


@dataclass(frozen=True)
class Track:
    """A sound track: float32 ``[channels, n]`` samples that begin ``late`` seconds after the film's zero."""

    samples: NDArray[np.float32]
    layout: str = "mono"
    codec: str = "aac"
    rate: int = RATE
    late: float = 0.0
    disposition: Disposition | None = None


@dataclass(frozen=True)
class Pictures:
    """A video track: numbered pictures that begin ``late`` seconds after the film's zero."""

    frames: int = 75
    codec: str = "libx264"
    late: float = 0.0
    size: tuple[int, int] = (48, 64)
    first: int = 0
    b_frames: int = 0
    disposition: Disposition | None = None
    options: dict[str, str] = field(default_factory=dict)


def film(path: Path, *tracks: Track | Pictures, container: str | None = None) -> Path:
    """Write tracks in this order, packets in the order of their times."""
    with av.open(str(path), "w", format=container) as out:
        streams = [_stream(out, track) for track in tracks]
        packets = [
            packet
            for stream, track in zip(streams, tracks, strict=True)
            for packet in (_sound(stream, track) if isinstance(track, Track) else _pictures(stream, track))
        ]
        for packet in sorted(packets, key=lambda p: float((p.dts if p.dts is not None else 0) * p.time_base)):
            out.mux(packet)
    return path


def _stream(out: Any, track: Track | Pictures) -> Any:
    if isinstance(track, Track):
        stream = out.add_stream(track.codec, rate=track.rate, layout=track.layout)
        if track.codec in ("aac", "mp3", "wmav2"):
            stream.bit_rate = 128_000 * (1 + (track.layout != "mono"))
        if not stream.codec_context.is_open:
            stream.codec_context.time_base = Fraction(1, track.rate)
            stream.codec_context.open()
    else:
        options = {"g": "12", "bf": str(track.b_frames), **track.options}
        if track.codec == "libx264":
            options = {"preset": "veryfast", **options}
        stream = out.add_stream(track.codec, rate=FPS, options=options)
        stream.height, stream.width = track.size
        stream.pix_fmt = "yuvj420p" if track.codec == "mjpeg" else "yuv420p"
        stream.codec_context.thread_count = 1
    if track.disposition is not None:
        stream.disposition = track.disposition
    return stream


def _pictures(stream: Any, track: Pictures) -> Iterator[Any]:
    for number in range(track.frames):
        frame = av.VideoFrame.from_ndarray(picture(track.first + number, track.size), format="rgb24")
        frame.pts, frame.time_base = round(track.late * FPS) + number, Fraction(1, FPS)
        yield from stream.encode(frame)
    yield from stream.encode(None)


def _sound(stream: Any, track: Track) -> Iterator[Any]:
    context = stream.codec_context
    step = context.frame_size or 1024
    shape = av.AudioResampler(format=context.format.name, layout=track.layout, rate=track.rate)
    first = round(track.late * track.rate)
    for begin in range(0, track.samples.shape[1] - step + 1, step):
        part = np.ascontiguousarray(track.samples[:, begin : begin + step])
        frame = av.AudioFrame.from_ndarray(part, format="fltp", layout=track.layout)
        frame.sample_rate, frame.pts, frame.time_base = track.rate, first + begin, Fraction(1, track.rate)
        for each in shape.resample(frame):
            each.pts, each.time_base = first + begin, Fraction(1, track.rate)
            yield from stream.encode(each)
    yield from stream.encode(None)


def offset_of(part: NDArray[Any], whole: NDArray[Any]) -> int:
    """Return at which sample of ``whole`` the sound ``part`` begins, by correlation; below 0 where it begins before."""
    size = 1 << int(np.ceil(np.log2(len(part) + len(whole))))
    spectrum = np.fft.rfft(whole, size) * np.conj(np.fft.rfft(part, size))
    best = int(np.argmax(np.fft.irfft(spectrum, size)))
    return best if best < len(whole) else best - size


def atoms(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield (kind, atom) of MP4 data."""
    place = 0
    while place < len(data):
        size, kind = struct.unpack(">I4s", data[place : place + 8])
        yield kind, data[place : place + size]
        place += size


def atom(kind: bytes, *parts: bytes) -> bytes:
    """Return an atom of MP4."""
    data = b"".join(parts)
    return struct.pack(">I4s", len(data) + 8, kind) + data


def with_cover(source: Path, target: Path, jpeg: bytes, first: bool = True) -> Path:
    """Write an MP4 with a cover picture, before its tracks or after them."""
    tag = atom(b"covr", atom(b"data", struct.pack(">II", 13, 0), jpeg))
    handler = atom(b"hdlr", bytes(8), b"mdirappl", bytes(9))
    cover = atom(b"udta", atom(b"meta", bytes(4), handler, atom(b"ilst", tag)))
    out = b""
    for kind, data in atoms(source.read_bytes()):
        if kind == b"moov":
            inside = [each for name, each in atoms(data[8:]) if name != b"udta"]
            order = [inside[0], cover, *inside[1:]] if first else [*inside, cover]
            data = atom(b"moov", *order)
        out += data
    target.write_bytes(out)
    return target


def unknown_sound(source: Path, target: Path, track: int) -> Path:
    """Write an MP4 or MOV with the kind of a sound track changed to one that nobody can decode."""
    data = bytearray(source.read_bytes())
    entries = []
    place = data.find(b"mp4a")
    while place >= 0:
        if b"stsd" in data[place - 24 : place]:
            entries.append(place)
        place = data.find(b"mp4a", place + 4)
    data[entries[track] : entries[track] + 4] = b"apac"
    setup = data.find(b"esds", entries[track])
    data[setup : setup + 4] = b"xsds"
    target.write_bytes(bytes(data))
    return target
