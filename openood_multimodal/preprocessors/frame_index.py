"""Which frame of a video is which: the index, and a memory for indices."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..files.limits import limit
from . import stored_indices
from .stored_indices import FileKey

Mark = tuple[int | None, int | None, int]
"""What a packet is known by: presentation time, decoding time, bytes."""

_JUMP = 0.5
"""Seconds by which times go back where files were joined; a smaller step back is frames out of order."""


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
        counted_at: int64 ``[frames]``, as ``stamps``, of frames that are told apart by counting; None where the
            file gives them no times.
    """

    frames: int
    stamps: NDArray[np.int64] | None
    time_base: Fraction
    key_frames: NDArray[np.int64]
    key_marks: tuple[Mark, ...]
    first: Mark | None = None
    fault: str = ""
    counted_at: NDArray[np.int64] | None = None

    @property
    def ticks(self) -> NDArray[np.int64] | None:
        """When frames are shown, in units of ``time_base``, ascending; None where nothing tells."""
        return self.stamps if self.stamps is not None else self.counted_at

    def without_keys(self) -> FrameIndex:
        """Return the same for a file in which seeking failed."""
        return replace(self, key_frames=self.key_frames[:0], key_marks=())

    def keys_before(self, frames: ArrayLike) -> NDArray[np.intp]:
        """Return the places in ``key_frames`` of the last keyframe at or before each frame; -1 for none."""
        return np.searchsorted(self.key_frames, frames, side="right") - 1

    def to_text(self) -> str:
        """Return all of it as JSON."""
        numbers = {
            name: None if values is None else values.tolist()
            for name in ("stamps", "key_frames", "counted_at")
            for values in [getattr(self, name)]
        }
        base = self.time_base.numerator, self.time_base.denominator
        return json.dumps({**vars(self), **numbers, "time_base": base}, separators=(",", ":"))

    @classmethod
    def from_text(cls, text: str) -> FrameIndex | None:
        """Return the index that `to_text` gave, or None where the text is no such index, or beyond the limits."""
        try:
            said = json.loads(text)
            for name in ("stamps", "key_frames", "counted_at"):
                if said[name] is not None:
                    said[name] = np.array(said[name], dtype=np.int64)
            said["time_base"] = Fraction(*said["time_base"])
            said["key_marks"] = tuple(tuple(found) for found in said["key_marks"])
            said["first"] = said["first"] and tuple(said["first"])
            index = cls(**said)
        except (ValueError, TypeError, KeyError, ArithmeticError):
            return None
        lengths = {len(ticks) for ticks in (index.stamps, index.counted_at) if ticks is not None}
        whole = lengths <= {index.frames} and len(index.key_marks) == len(index.key_frames)
        return index if whole and 0 < index.frames <= limit("video_frames") else None


class Packets(NamedTuple):
    """What the index needs of all packets of a stream, in decoding order."""

    pts: tuple[int | None, ...]
    dts: tuple[int | None, ...]
    size: tuple[int, ...]
    key: tuple[bool, ...]
    discard: tuple[bool, ...]
    corrupt: tuple[bool, ...]

    def mark(self, place: int) -> Mark:
        """Return what a packet is known by."""
        return self.pts[place], self.dts[place], self.size[place]


class IndexCache:
    """Keeps the indices used last, and all of them on disk (`stored_indices`).

    Args:
        most_frames: how many frames those in memory may have together; eight bytes a frame.
    """

    def __init__(self, most_frames: int) -> None:
        self._most = most_frames
        self._frames = 0
        self._indices: dict[FileKey, FrameIndex] = {}

    def get(self, key: FileKey) -> FrameIndex | None:
        """Return an index, now the one used last, or None."""
        index = self._indices.pop(key, None)
        if index is None:
            text = stored_indices.get(key)
            index = FrameIndex.from_text(text) if text is not None else None
            return None if index is None else self._keep(key, index)
        self._indices[key] = index
        return index

    def put(self, key: FileKey, index: FrameIndex) -> FrameIndex:
        """Keep an index, at the cost of those used longest ago, and return it."""
        if not index.fault:  # which may be the disk's, and pass
            stored_indices.put(key, index.to_text())
        return self._keep(key, index)

    def _keep(self, key: FileKey, index: FrameIndex) -> FrameIndex:
        old = self._indices.pop(key, None)
        self._frames += index.frames - (old.frames if old is not None else 0)
        self._indices[key] = index
        while self._frames > self._most and len(self._indices) > 1:
            self._frames -= self._indices.pop(next(iter(self._indices))).frames
        return index

    def clear(self) -> None:
        """Forget all, those on disk too."""
        stored_indices.clear()
        self._indices.clear()
        self._frames = 0


def mark(packet: Any) -> Mark:
    """Return what a packet is known by."""
    return packet.pts, packet.dts, packet.size


def step_of(stream: Any) -> Fraction:
    """Return the seconds from a stream's frame to the next, by its header; a 25th where that doesn't tell."""
    return 1 / Fraction(stream.average_rate or stream.guessed_rate or 25)


def ascending(found: Sequence[int | None], step: int, second: int) -> NDArray[np.int64] | None:
    """Return the times of decoded frames, in the order in which they are shown.

    Frames without a time come one step after the frame before.  Where times go back by more than half a second, as
    where files were joined, they go on from there.  Times out of order (some old files) are put into order.

    Args:
        found: each frame's time, as decoded; None for none.
        step: units from a frame to the next.
        second: units a second.

    Returns:
        int64 ``[len(found)]``; None where no frame has a time.
    """
    known = next((place for place, tick in enumerate(found) if tick is not None), None)
    if known is None:
        return None
    first = found[known]
    assert first is not None
    ticks: list[int] = []
    latest, offset, jump = first - known * step, 0, max(round(_JUMP * second), 3 * step)
    for tick in found:
        if tick is None:
            now = latest + step if ticks else latest
        else:
            now = tick + offset
            if now < latest - jump:
                offset += latest + step - now
                now = latest + step
        ticks.append(now)
        latest = max(latest, now)
    return np.sort(np.array(ticks, dtype=np.int64))
