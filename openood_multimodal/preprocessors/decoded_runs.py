"""A run of a video's frames: decoded from a keyframe on, every frame held against the index."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .frame_index import FrameIndex
from .video_container import IndexLiesError, VideoContainer
from .video_pixels import PixelStore

_SKIPS_EXACTLY = frozenset({"mpeg4"})
"""Decoders that may leave out pictures which no other needs.  H.264's patches damaged streams with whatever it
decoded last, so there the result would depend on what was left out; it would gain 2 to 10 % only."""


def decode_run(
    file: VideoContainer, index: FrameIndex, key: int, targets: list[int], store: PixelStore
) -> None:
    """Decode one run, from the index's keyframe ``key`` on, or from the beginning with -1.

    Raises:
        IndexLiesError: when what comes out is not what the index says.
    """
    base = int(index.key_frames[key]) if key >= 0 else 0
    sought = base > 0
    if sought:
        if index.stamps is None and not file.has_decoded:
            _show_first_packet(file, index)
        packets = file.packets_from(index.key_marks[key])
    else:
        packets = file.packets_from_start(index.first)
    file.has_decoded = True
    if index.stamps is None:
        frames = _counted(packets, base, sought)
    else:
        frames = _timed(file.stream.codec_context, index.stamps, packets, base, targets, sought)
    wanted = set(targets)
    left = len(wanted)
    for number, frame in frames:
        if number in wanted:
            if sought and frame.is_corrupt:
                raise IndexLiesError
            store.put(frame)
            left -= 1
        if number >= targets[-1]:
            break
    if left:
        raise IndexLiesError


def _timed(
    context: Any,
    stamps: NDArray[np.int64],
    packets: Iterator[Any],
    base: int,
    targets: list[int],
    sought: bool,
) -> Iterator[tuple[int, Any]]:
    """Yield frames from ``base`` on, with their numbers, knowing them by their times.

    Where the decoder allows it, pictures that no other needs and nobody asked for are left out; once the last
    packet asked for is in, the decoder is made to hand out what it holds.
    """
    known = stamps[base : targets[-1] + 1].tolist()
    numbers = {stamp: base + place for place, stamp in enumerate(known)}
    wanted = set(stamps[targets].tolist())
    may_skip, skipping = context.name in _SKIPS_EXACTLY and context.has_b_frames, False
    due: set[int] = set()  # frames that must come out
    expected, coming = base, len(wanted)
    for packet in packets:
        number = numbers.get(packet.pts)
        if packet.pts in wanted:
            coming -= 1
        skip = may_skip and number is not None and number != base and packet.pts not in wanted
        if number is not None and not skip:
            due.add(number)
        if skip != skipping:
            context.skip_frame = "NONREF" if skip else "DEFAULT"
            skipping = skip
        decoded = packet.decode()
        if not coming and packet.size:
            decoded += context.decode(None)
        for frame in decoded:
            number = numbers.get(frame.pts)
            if number is None:
                # Only frames before a keyframe that was sought, and after the last one asked for, may pass.
                if (
                    frame.pts is None
                    or (frame.pts < known[0] and not sought)
                    or known[0] < frame.pts < known[-1]
                ):
                    raise IndexLiesError
                continue
            if number != expected and (number < expected or not due.isdisjoint(range(expected, number))):
                raise IndexLiesError
            if sought and number == base and not frame.key_frame:
                raise IndexLiesError
            expected = number + 1
            yield number, frame
        if not coming:
            return


def _counted(packets: Iterator[Any], base: int, sought: bool) -> Iterator[tuple[int, Any]]:
    """Yield frames from ``base`` on, with their numbers, counting; a sought keyframe is the first one counted."""
    number = base
    for packet in packets:
        for frame in packet.decode():
            if sought and number == base and not frame.key_frame:
                continue  # pictures shown before the keyframe, without the frames that they need
            yield number, frame
            number += 1


def _show_first_packet(file: VideoContainer, index: FrameIndex) -> None:
    """Let the decoder see the first packet, which may hold what the header lacks (as Xvid's does)."""
    packet = next(file.packets_from_start(index.first), None)
    if packet is not None:
        packet.decode()
