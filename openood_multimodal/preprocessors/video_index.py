"""Which frame of a video is which, told from its packets without decoding them.

Frame number n of a video is the n-th frame that a full decode from the beginning puts out.  A container lists
packets in decoding order, so with B-frames, edit lists or a variable frame rate neither a packet's place nor a
time tells the number.  Two ways find it:

* every packet has a time of its own, and its codec gives one frame a packet (of H.264, where no packet holds one field
  of a frame alone; of MPEG-4, where none may be empty, as in the "packed bitstream" of DivX and Xvid): sort the times
  (`by_packets`);
* anything else: decode everything once and count (`by_decoding`); the times are those of the decoded frames.

The first is a claim, which `video.py` checks against every frame that it decodes.  Either is made once, and kept on
disk (`stored_indices`).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from fractions import Fraction
from itertools import islice, pairwise
from typing import Any

import numpy as np

from ..files.limits import limit
from .frame_index import FrameIndex, Mark, Packets, ascending, mark, step_of
from .h264_fields import field_finder
from .media import check_limit
from .packages import import_av

# fmt: off
ONE_FRAME_A_PACKET = frozenset((
    "h264", "hevc", "mpeg4", "vp9", "av1", "libdav1d", "libaom-av1", "h263", "flv", "msmpeg4v1",
    "msmpeg4v2", "msmpeg4", "mjpeg", "png", "ffv1", "prores", "huffyuv", "ffvhuff", "rawvideo", "dnxhd",
))
# fmt: on
"""Decoders for which a whole, displayed packet is one frame.  Not so VP8 (hidden frames), Theora (empty packets) or
MPEG-2 (fields)."""

_EMPTY_VOP = 19
"""Bytes of the longest packet that may hold an MPEG-4 picture "not coded", which yields no frame; a coded one is rarely
as short."""


def by_packets(container: Any, stream: Any) -> FrameIndex | None:
    """Index an opened video by reading, but not decoding, all packets of a stream.

    Returns:
        The index, or None where packets don't tell the frames.

    Raises:
        av.FFmpegError: when reading fails.
    """
    codec = stream.codec_context.name
    if codec not in ONE_FRAME_A_PACKET:
        return None
    packets = container.demux(stream)
    first = next(packets, None)
    if first is None or not first.is_keyframe:
        return None
    if codec == "mpeg4" and any(map(_says_packed, (stream.codec_context.extradata, bytes(first)))):
        return None
    packets = islice(packets, limit("video_frames"))
    if codec == "h264" and (is_field := _field_finder(stream, first)) is not None:
        rows = [_row(first)]
        for packet in packets:
            if packet.size:
                rows.append(_row(packet))
                if is_field(bytes(packet)):
                    return None
    else:  # in one expression, which takes half the time
        rows = [
            (each.pts, each.dts, each.size, each.is_keyframe, each.is_discard, each.is_corrupt)
            for each in packets
        ]
        rows = [_row(first), *(row for row in rows if row[2])]  # the stream ends with a packet without bytes
    check_limit("video_frames", len(rows), container.name.removeprefix("file:"))
    found = Packets(*zip(*rows, strict=True))
    if any(found.corrupt) or (len(rows) < stream.frames and _ends_early(container, stream)):
        return None
    if codec == "mpeg4" and min(found.size) <= _EMPTY_VOP:
        return None
    return _from_times(found, stream)


def _says_packed(header: bytes | None) -> bool:
    """Whether MPEG-4 user data says that B-frames come in the packet of the frame before (``DivX503b1393p``)."""
    data = header or b""
    at = data.find(b"DivX")
    return at >= 0 and data[at : at + 32].split(b"\x00")[0].endswith(b"p")


def _ends_early(container: Any, stream: Any) -> bool:
    """Whether an MP4 or AVI file is shorter than its own index or header says."""
    if container.format.name == "avi":
        with open(os.fsdecode(container.name).removeprefix("file:"), "rb") as file:
            head = file.read(8)
        return int.from_bytes(head[4:], "little") + 8 > container.size
    return any(entry.pos + entry.size > container.size for entry in stream.index_entries)


def _field_finder(stream: Any, first: Any) -> Callable[[bytes], bool] | None:
    """Return what tells an H.264 field; where even the headers can't be read, everything is taken for one."""
    data = bytes(first)
    try:
        is_field = field_finder(stream.codec_context.extradata, data)
        if is_field is not None and is_field(data):
            return lambda packet: True
    except IndexError:
        return lambda packet: True
    return is_field


def _row(packet: Any) -> tuple[int | None, int | None, int, bool, bool, bool]:
    return (*mark(packet), packet.is_keyframe, packet.is_discard, packet.is_corrupt)


def _from_times(found: Packets, stream: Any) -> FrameIndex | None:
    """Number the packets that are shown by their presentation times."""
    if None in found.pts:
        return None
    pts = np.array(found.pts, dtype=np.int64)
    shown = ~np.array(found.discard)
    if pts.min() < pts[0] or len(np.unique(pts)) < len(pts) or not shown.any():
        return None  # pictures before the first keyframe are dropped by some decoders, and kept by others
    dts = [time for time in found.dts if time is not None]
    if any(later < earlier for earlier, later in pairwise(dts)):
        return None  # files that were joined
    stamps = np.sort(pts[shown])
    keys = np.flatnonzero(np.array(found.key) & shown)
    keys = keys[np.argsort(pts[keys])]
    return FrameIndex(
        frames=len(stamps),
        stamps=stamps,
        time_base=stream.time_base,
        key_frames=np.searchsorted(stamps, pts[keys]),
        key_marks=tuple(found.mark(key) for key in keys.tolist()),
        first=found.mark(0),
    )


def by_decoding(container: Any, stream: Any) -> FrameIndex:
    """Index an opened video by decoding all of it, without converting a frame.

    A broken file is no error here: the index holds the frames before the fault, and says what the fault is.
    """
    base = stream.time_base or Fraction(1)
    fault, most = "", limit("video_frames")
    times: list[int | None] = []
    keys: list[int] = []
    marks: list[Mark] = []
    first: Mark | None = None
    try:
        for packet in container.demux(stream):
            if packet.size:
                first = first or mark(packet)
                if packet.is_keyframe:
                    marks.append(mark(packet))
            for frame in packet.decode():
                if frame.key_frame:
                    keys.append(len(times))
                times.append(_ticks(frame, base))
            if len(times) > most:
                check_limit("video_frames", len(times), container.name.removeprefix("file:"))
    except import_av().FFmpegError as error:
        fault = str(error.strerror or type(error).__name__)
    frames = len(times)
    if not fault and frames < stream.frames and _ends_early(container, stream):
        fault = f"the file ends early; its header promises {stream.frames} frames"
    # Keyframes can be sought only where container and decoder agree on which packets they are.
    usable = len(keys) == len(marks) == len(set(marks)) and all(found[:2] != (None, None) for found in marks)
    return FrameIndex(
        frames=frames,
        stamps=None,
        time_base=base,
        key_frames=np.array(keys if usable else [], dtype=np.int64),
        key_marks=tuple(marks) if usable else (),
        first=first,
        fault=fault,
        counted_at=ascending(times, max(1, round(step_of(stream) / base)), max(1, round(1 / base))),
    )


def _ticks(frame: Any, base: Fraction) -> int | None:
    if frame.pts is None or frame.time_base is None or frame.time_base == base:
        return frame.pts
    return round(frame.pts * frame.time_base / base)
