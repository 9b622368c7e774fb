"""Which frame of a video is which, told from its packets without decoding them.

Frame number n of a video is the n-th frame that a full decode from the beginning puts out.  A container lists
packets in decoding order, so with B-frames, edit lists or a variable frame rate neither a packet's place nor a
time tells the number.  Four ways find it, the first that holds is taken:

* MPEG-4 without B-frames in AVI, whose own index accounts for every byte of its packets: believe it (`by_packets`);
* every packet has a time of its own and its codec gives one frame a packet: sort the times (`by_packets`);
* MPEG-4 part 2 in the "packed bitstream" of DivX and Xvid, whose times are wrong: read the picture types from
  the packets and replay the decoder's reordering (`by_packets` too);
* anything else: decode everything once and count (`by_decoding`).

All but the last are claims, which `video.py` checks against every frame that it decodes.
"""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from mmap import ACCESS_READ, mmap
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .shared_indices import SharedIndices

Mark = tuple[int | None, int | None, int]
"""What a packet is known by: presentation time, decoding time, bytes."""

# fmt: off
ONE_FRAME_A_PACKET = frozenset((
    "h264", "hevc", "mpeg4", "vp9", "av1", "libdav1d", "libaom-av1", "h263", "flv", "msmpeg4v1",
    "msmpeg4v2", "msmpeg4", "mjpeg", "png", "ffv1", "prores", "huffyuv", "ffvhuff", "rawvideo", "dnxhd",
))
# fmt: on
"""Decoders for which a whole, displayed packet is one frame.  Not so VP8 (hidden frames), Theora (empty packets) or
MPEG-2 (fields)."""

_VOP = b"\x00\x00\x01\xb6"
_EMPTY_VOP = 19
"""Bytes of the longest packet that may hold an MPEG-4 picture "not coded", which yields no frame; a coded one
is rarely as short."""

_I, _P, _B, _SHORT = 0, 1, 2, -1


@dataclass(frozen=True)
class FrameIndex:
    """A video's frames.

    Attributes:
        frames: how many a full decode yields.
        stamps: int64 ``[frames]``, each frame's time in units of ``time_base``, ascending; None where frames are
            told apart by counting from a keyframe.
        time_base: seconds a unit.
        key_frames: int64 ``[K]``, the numbers of the keyframes that can be sought, ascending.
        key_marks: each one's packet.
        first: the first packet, to know it again after a seek; None without packets.
        fault: why a full decode stopped early, or "".
    """

    frames: int
    stamps: NDArray[np.int64] | None
    time_base: Fraction
    key_frames: NDArray[np.int64]
    key_marks: tuple[Mark, ...]
    first: Mark | None = None
    fault: str = ""

    def without_keys(self) -> FrameIndex:
        """Return the same for a file in which seeking failed."""
        return replace(self, key_frames=self.key_frames[:0], key_marks=())

    def keys_before(self, frames: ArrayLike) -> NDArray[np.intp]:
        """Return the places in ``key_frames`` of the last keyframe at or before each frame; -1 for none."""
        return np.searchsorted(self.key_frames, frames, side="right") - 1


class _Packets(NamedTuple):
    """What the index needs of all packets of a stream, in decoding order."""

    pts: tuple[int | None, ...]
    dts: tuple[int | None, ...]
    size: tuple[int, ...]
    key: tuple[bool, ...]
    discard: tuple[bool, ...]
    corrupt: tuple[bool, ...]

    def mark(self, place: int) -> Mark:
        return self.pts[place], self.dts[place], self.size[place]


class IndexCache:
    """Keeps the indices used last.

    Args:
        most_frames: how many frames they may have together; eight bytes a frame.
    """

    def __init__(self, most_frames: int) -> None:
        self._most = most_frames
        self._frames = 0
        self._indices: dict[Hashable, FrameIndex] = {}
        self._shared: SharedIndices | None = None

    def share(self) -> None:
        """Let the loaders' workers that are forked from now on share what they index."""
        if self._shared is None:
            with suppress(OSError, ImportError):  # without it, each worker makes its own
                self._shared = SharedIndices()

    def get(self, key: Hashable) -> FrameIndex | None:
        """Return an index, now the one used last, or None."""
        index = self._indices.pop(key, None)
        if index is None and self._shared is not None and _in_worker():
            index = self._shared.get(key)
            return None if index is None else self._keep(key, index)
        if index is not None:
            self._indices[key] = index
        return index

    def put(self, key: Hashable, index: FrameIndex) -> FrameIndex:
        """Keep an index, at the cost of those used longest ago, and return it."""
        if self._shared is not None and _in_worker():
            self._shared.put(key, index)
        return self._keep(key, index)

    def _keep(self, key: Hashable, index: FrameIndex) -> FrameIndex:
        old = self._indices.pop(key, None)
        self._frames += index.frames - (old.frames if old is not None else 0)
        self._indices[key] = index
        while self._frames > self._most and len(self._indices) > 1:
            self._frames -= self._indices.pop(next(iter(self._indices))).frames
        return index

    def clear(self) -> None:
        """Forget all."""
        self._indices.clear()
        self._frames = 0


def _in_worker() -> bool:
    from torch.utils.data import get_worker_info

    return get_worker_info() is not None


def mark(packet: Any) -> Mark:
    """Return what a packet is known by."""
    return packet.pts, packet.dts, packet.size


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
    packed = codec == "mpeg4" and any(map(_says_packed, (stream.codec_context.extradata, bytes(first))))
    if codec == "mpeg4" and not packed and (index := _from_avi_index(container, stream, first)) is not None:
        return index
    pictures = [picture_types(bytes(first))] if packed else []
    rows = [_row(first)]
    if packed:
        for packet in packets:
            if packet.size:
                pictures.append(picture_types(bytes(packet)))
                rows.append(_row(packet))
    else:  # in one expression, which takes half the time
        rows += [
            (each.pts, each.dts, each.size, each.is_keyframe, each.is_discard, each.is_corrupt)
            for each in packets
        ]
        rows = [row for row in rows if row[2]]  # the end of the stream is a packet without bytes
    found = _Packets(*zip(*rows, strict=True))
    if any(found.corrupt) or (len(rows) < stream.frames and _ends_early(container, stream)):
        return None
    if packed:
        return _from_pictures(found, pictures, stream)
    if codec == "mpeg4" and min(found.size) <= _EMPTY_VOP:
        return None
    return _from_times(found, stream)


def _row(packet: Any) -> tuple[int | None, int | None, int, bool, bool, bool]:
    return (*mark(packet), packet.is_keyframe, packet.is_discard, packet.is_corrupt)


def _from_times(found: _Packets, stream: Any) -> FrameIndex | None:
    """Number the packets that are shown by their presentation times."""
    if None in found.pts:
        return None
    pts = np.array(found.pts, dtype=np.int64)
    shown = ~np.array(found.discard)
    if pts.min() < pts[0] or len(np.unique(pts)) < len(pts) or not shown.any():
        return None  # pictures before the first keyframe are dropped by some decoders, and kept by others
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


def _from_avi_index(container: Any, stream: Any, first: Any) -> FrameIndex | None:
    """Number the packets by an AVI file's own index, if that names every chunk, as the chunk itself does.

    It is read when the file is opened; going through the packets takes several times as long.
    """
    if container.format.name != "avi" or stream.codec_context.has_b_frames:
        return None
    entries = {
        one.index: [(each.pos, each.size, each.timestamp, each.is_keyframe) for each in one.index_entries]
        for one in container.streams
    }
    own = entries[stream.index]
    if len(own) != stream.frames or not own or not _are_all_chunks(container, entries):
        return None
    _, sizes, times, keys = (np.array(column) for column in zip(*own, strict=True))
    in_turn = np.array_equal(times, times[0] + np.arange(len(times)))
    if not in_turn or min(sizes) <= _EMPTY_VOP or mark(first) != (times[0], times[0], sizes[0]):
        return None
    return FrameIndex(
        frames=len(times),
        stamps=times,
        time_base=stream.time_base,
        key_frames=np.flatnonzero(keys),
        key_marks=tuple(zip(*(column[keys].tolist() for column in (times, times, sizes)), strict=True)),
        first=mark(first),
    )


def _are_all_chunks(container: Any, entries: Mapping[int, Sequence[tuple[int, int, int, bool]]]) -> bool:
    """Whether the index of an AVI file (stream → place, bytes, time, key) lists all chunks that lie before it."""
    tags = {number: {b"%02d%s" % (number, kind) for kind in (b"dc", b"db", b"wb")} for number in entries}
    chunks = sorted((each[0], each[1], number) for number, found in entries.items() for each in found)
    due = chunks[0][0]
    with open(_path_of(container), "rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
        for begin, size, number in chunks:
            head = data[begin : begin + 8]
            if begin != due or head[:4] not in tags[number] or head[4:] != size.to_bytes(4, "little"):
                return False
            due = begin + 8 + size + size % 2
        return data[due : due + 4] == b"idx1"


def _path_of(container: Any) -> str:
    return os.fsdecode(container.name).removeprefix("file:")


def _bytes_at(container: Any, position: int, count: int) -> bytes:
    with open(_path_of(container), "rb") as file:
        file.seek(position)
        return file.read(count)


def _from_pictures(found: _Packets, pictures: list[list[int]], stream: Any) -> FrameIndex | None:
    """Number the pictures of a packed bitstream: an I or P is put out when the next one has been decoded."""
    order: list[tuple[int, int]] = []  # (type, packet), in decoding order
    waiting = False
    for place, types in enumerate(pictures):
        if waiting != (types == [_SHORT]):
            return None  # the B-frame that came in the packet before is paid for by an empty packet
        if waiting:
            waiting = False
        elif len(types) == 1:
            order.append((types[0], place))
        elif len(types) == 2 and types[0] != _B and types[1] == _B:
            order += [(types[0], place), (_B, place)]
            waiting = True
        else:
            return None
    kinds = [kind for kind, _ in order]
    if waiting or any(found.discard) or kinds[0] != _I or kinds[1:2] == [_B] or _B not in kinds:
        return None
    held: tuple[int, int] | None = None
    numbers: dict[int, int] = {}  # frame → the packet of its keyframe
    frames = 0
    for kind, place in [*order, (_P, -1)]:  # the last one only lets go of the one before
        if kind == _B:
            frames += 1
            continue
        if held is not None:
            if held[0] == _I and found.key[held[1]]:
                numbers[frames] = held[1]
            frames += 1
        held = kind, place
    return FrameIndex(
        frames=frames,
        stamps=None,
        time_base=stream.time_base,
        key_frames=np.array(list(numbers), dtype=np.int64),
        key_marks=tuple(found.mark(place) for place in numbers.values()),
        first=found.mark(0),
    )


def _says_packed(header: bytes | None) -> bool:
    """Whether MPEG-4 user data says that B-frames come in the packet of the frame before (``DivX503b1393p``)."""
    data = header or b""
    at = data.find(b"DivX")
    text = data[at : at + 32].split(b"\x00")[0] if at >= 0 else b""
    return text.endswith(b"p")


def picture_types(data: bytes) -> list[int]:
    """Return the pictures of an MPEG-4 part 2 packet (ISO/IEC 14496-2, 6.2.5): 0 I, 1 P, 2 B, 3 S.

    -1 stands for one so short that it may be "not coded".
    """
    types = []
    at = data.find(_VOP)
    while at >= 0 and at + 4 < len(data):
        after = data.find(_VOP, at + 4)
        end = after if after >= 0 else len(data)
        types.append(_SHORT if end - at <= _EMPTY_VOP else data[at + 4] >> 6)
        at = after
    return types


def by_decoding(container: Any, stream: Any) -> FrameIndex:
    """Index an opened video by decoding all of it, without converting a frame.

    A broken file is no error here: the index holds the frames before the fault, and says what the fault is.
    """
    import av

    frames, fault = 0, ""
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
                    keys.append(frames)
                frames += 1
    except av.FFmpegError as error:
        fault = str(error.strerror or type(error).__name__)
    if not fault and frames < stream.frames and _ends_early(container, stream):
        fault = f"the file ends early; its header promises {stream.frames} frames"
    # Keyframes can be sought only where container and decoder agree on which packets they are.
    usable = len(keys) == len(marks) == len(set(marks)) and all(found[:2] != (None, None) for found in marks)
    return FrameIndex(
        frames=frames,
        stamps=None,
        time_base=stream.time_base or Fraction(1),
        key_frames=np.array(keys if usable else [], dtype=np.int64),
        key_marks=tuple(marks) if usable else (),
        first=first,
        fault=fault,
    )


def _ends_early(container: Any, stream: Any) -> bool:
    """Whether an MP4 or AVI file is shorter than its own index or header says."""
    size = container.size
    if container.format.name == "avi":
        return int.from_bytes(_bytes_at(container, 4, 4), "little") + 8 > size
    return any(entry.pos + entry.size > size for entry in stream.index_entries)
