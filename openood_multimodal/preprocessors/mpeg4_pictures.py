"""MPEG-4 part 2 in the "packed bitstream" of DivX and Xvid, told apart by the types of its pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .frame_index import FrameIndex, Packets

_VOP = b"\x00\x00\x01\xb6"
EMPTY_VOP = 19
"""Bytes of the longest packet that may hold an MPEG-4 picture "not coded", which yields no frame; a coded one
is rarely as short."""

_I, _P, _B, _SHORT = 0, 1, 2, -1


def from_pictures(found: Packets, pictures: list[list[int]], stream: Any) -> FrameIndex | None:
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
        counted_at=_in_turn(found),
    )


def _in_turn(found: Packets) -> NDArray[np.int64] | None:
    """Return the packets' own times: there is one packet a picture, though not each holds the picture of its time."""
    if None in found.dts:
        return None
    return np.sort(np.array(found.dts, dtype=np.int64))


def says_packed(header: bytes | None) -> bool:
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
        types.append(_SHORT if end - at <= EMPTY_VOP else data[at + 4] >> 6)
        at = after
    return types
