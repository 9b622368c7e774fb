"""Small real video files for tests, in every shape that makes frame numbers hard."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

SIZE = (48, 64)
"""Height, width."""


def picture(number: int, size: tuple[int, int] = SIZE) -> NDArray[np.uint8]:
    """Return a textured picture that no other number has, uint8 ``[H, W, 3]``."""
    height, width = size
    y, x = np.mgrid[:height, :width]
    waves = [
        np.sin(x / 5 + number * 0.31),
        np.cos(y / 4 - number * 0.23),
        np.sin((x + y) / 9 + number * 0.17),
    ]
    image = np.stack(waves, axis=-1) * 90 + 128
    at = (number * 3) % (width - 8)
    image[height // 3 : height // 3 + 8, at : at + 8] = (250, 30, (number * 40) % 256)
    return image.clip(0, 255).astype(np.uint8)


def write_video(
    path: Path,
    codec: str = "libx264",
    frames: int = 40,
    gop: int = 12,
    b_frames: int = 0,
    times: Sequence[int] | None = None,
    size: tuple[int, int] = SIZE,
    options: dict[str, str] | None = None,
    muxer: dict[str, str] | None = None,
    sound: bool = False,
    pixels: str = "yuv420p",
    container: str | None = None,
) -> Path:
    """Encode numbered pictures; ``times`` are ticks of 1/30 s, one a frame."""
    with av.open(str(path), "w", format=container, options=muxer or {}) as output:
        stream = output.add_stream(codec, rate=30)
        stream.height, stream.width = size
        stream.pix_fmt = pixels
        stream.codec_context.gop_size = gop
        stream.codec_context.max_b_frames = b_frames
        stream.codec_context.time_base = Fraction(1, 30)
        stream.codec_context.thread_count = 1
        settings = dict(options or {})
        if codec == "libx264":
            settings = {"preset": "fast", "bf": str(b_frames), "sc_threshold": "0", **settings}
        stream.options = settings
        audio = output.add_stream("aac", rate=16000, layout="mono") if sound else None
        if audio is not None:
            tone = (np.sin(np.arange(1024 * (frames * 16000 // 30 // 1024 + 1)) / 9) * 0.3).astype(np.float32)
            for at in range(0, len(tone), 1024):
                chunk = av.AudioFrame.from_ndarray(tone[None, at : at + 1024], format="fltp", layout="mono")
                chunk.sample_rate, chunk.pts = 16000, at
                output.mux(audio.encode(chunk))
            output.mux(audio.encode(None))
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(picture(number, size), format="rgb24")
            frame.pts = number if times is None else times[number]
            frame.time_base = Fraction(1, 30)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def copy_video(
    source: Path,
    target: Path,
    change: Callable[[int, Any], bool | None] = lambda number, packet: None,
    setup: Callable[[Any], None] = lambda stream: None,
    muxer: dict[str, str] | None = None,
) -> Path:
    """Copy a video's packets into another file; ``change`` may edit a packet, and drops it by returning False."""
    with av.open(str(source)) as input_, av.open(str(target), "w", options=muxer or {}) as output:
        stream = input_.streams.video[0]
        copy = output.add_stream_from_template(stream)
        setup(copy)
        for number, packet in enumerate(input_.demux(stream)):
            if packet.dts is None or change(number, packet) is False:
                continue
            packet.stream = copy
            output.mux(packet)
    return target


def shifted(ticks: Fraction) -> Callable[[int, Any], None]:
    """Return a change that shows every frame this many seconds later."""

    def change(number: int, packet: Any) -> None:
        offset = int(ticks / packet.time_base)
        packet.pts += offset
        packet.dts += offset

    return change


def write_packed_avi(path: Path, frames: int = 40, gop: int = 12, size: tuple[int, int] = SIZE) -> Path:
    """Write an MPEG-4 AVI as DivX and Xvid do: a B-frame travels with the frame before, then comes an empty one."""
    plain = write_video(path.with_suffix(".plain.avi"), "mpeg4", frames, gop, b_frames=1, size=size)
    vop = b"\x00\x00\x01\xb6"
    with av.open(str(plain)) as source, av.open(str(path), "w") as output:
        stream = source.streams.video[0]
        copy = output.add_stream_from_template(stream)
        pictures = [bytes(packet) for packet in source.demux(stream) if packet.size]
        kinds = [data[data.rfind(vop) + 4] >> 6 for data in pictures]
        packets: list[tuple[bytes, bool]] = []
        while pictures:
            if len(kinds) > 1 and kinds[0] != 2 and kinds[1] == 2:
                packets += [(pictures[0] + pictures[1], kinds[0] == 0), (vop + b"\x51\x00\x7f", False)]
                del pictures[:2], kinds[:2]
            else:
                packets.append((pictures.pop(0), kinds.pop(0) == 0))
        head = packets[0][0]
        at = min(place for place in (head.find(b"\x00\x00\x01\xb3"), head.find(vop)) if place >= 0)
        packets[0] = (head[:at] + b"\x00\x00\x01\xb2DivX503b1393p" + head[at:], True)
        for number, (data, key) in enumerate(packets):
            packet = av.Packet(data)
            packet.stream, packet.time_base = copy, stream.time_base
            packet.pts = packet.dts = number
            packet.is_keyframe = key
            output.mux(packet)
    os.unlink(plain)
    return path


def full_decode(path: Path) -> NDArray[np.uint8]:
    """Return all frames, uint8 ``[T, H, W, 3]``: PyAV, from the beginning, nothing left out."""
    with av.open(str(path)) as container:
        container.streams.video[0].codec_context.thread_count = 1
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
