"""The index that an AVI file brings along, and whether a file is as long as it says."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from mmap import ACCESS_READ, mmap
from typing import Any

import numpy as np

from .frame_index import FrameIndex, mark
from .mpeg4_pictures import EMPTY_VOP


def from_avi_index(container: Any, stream: Any, first: Any) -> FrameIndex | None:
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
    if not in_turn or min(sizes) <= EMPTY_VOP or mark(first) != (times[0], times[0], sizes[0]):
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
        end = due + 8 + int.from_bytes(data[due + 4 : due + 8], "little")
        return data[due : due + 4] == b"idx1" and data.find(b"RIFF", end) < 0  # another may be joined to it


def _path_of(container: Any) -> str:
    return os.fsdecode(container.name).removeprefix("file:")


def _bytes_at(container: Any, position: int, count: int) -> bytes:
    with open(_path_of(container), "rb") as file:
        file.seek(position)
        return file.read(count)


def ends_early(container: Any, stream: Any) -> bool:
    """Whether an MP4 or AVI file is shorter than its own index or header says."""
    size = container.size
    if container.format.name == "avi":
        return int.from_bytes(_bytes_at(container, 4, 4), "little") + 8 > size
    return any(entry.pos + entry.size > size for entry in stream.index_entries)
