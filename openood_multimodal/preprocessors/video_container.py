"""A video file opened with PyAV: what can go wrong with it, and finding a packet again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from typing import Any

from ..errors import UserError
from .frame_index import Mark, mark
from .media import (
    VIDEO_FORMATS,
    check_limit,
    choose_sound,
    choose_video,
    clock_zero,
    file_key,
    open_media,
)
from .packages import import_av


class IndexLiesError(Exception):
    """Packets or frames are not those that the index foretold."""


class VideoContainer:
    """An opened file and the stream of pictures that `media.choose_video` takes.

    Args:
        path: a file.
        threads: decoding threads.

    Attributes:
        key: the file's state.
        container: PyAV's.
        stream: PyAV's.
        zero: the instant 0 of the file's clock, in seconds of the container's timeline; None for the first frame.
        has_sound: whether there is sound that can be decoded.
        has_decoded: whether the decoder has seen the file's first packet.

    Raises:
        UserError: when it is missing, no video, or has no pictures.
        MissingPackageError: when PyAV is not installed.
    """

    def __init__(self, path: str, threads: int) -> None:
        self.path = path
        self.key = file_key(path)
        self._threads = threads
        self.container: Any = None
        self.stream: Any = None
        self.reopen()

    def close(self) -> None:
        """Close the file."""
        if self.container is not None:
            self.container.close()
            self.container = None

    def reopen(self) -> None:
        """Start again, at the beginning and with a fresh decoder."""
        self.close()
        container = open_media(self.path, "video", VIDEO_FORMATS)
        stream = choose_video(container)
        if stream is None:
            why = _why_no_video(container)
            container.close()
            raise UserError(f"{self.path}: {why}.")
        self.container, self.stream = container, stream
        self.zero: Fraction | None = clock_zero(container)
        self.has_sound = choose_sound(container) is not None
        check_limit("frame_pixels", stream.codec_context.width * stream.codec_context.height, self.path)
        stream.codec_context.thread_count = self._threads
        self.has_decoded = False
        self._at_start = True

    def packets(self) -> Iterator[Any]:
        """Return the packets from here on."""
        self._at_start = False
        return iter(self.container.demux(self.stream))

    def packets_from_start(self, first: Mark | None) -> Iterator[Any]:
        """Return all packets; ``first`` is the first one, where known."""
        if not self._at_start:
            with suppress(IndexLiesError, import_av().FFmpegError):
                if first is not None:
                    return self.packets_from(first, at_once=True)
            self.reopen()
        return self.packets()

    def packets_from(self, target: Mark, at_once: bool = False) -> Iterator[Any]:
        """Return the packets from one on; ``at_once``: the seek has to land on it.

        Raises:
            IndexLiesError: when it can't be found.
        """
        pts, dts, _ = target
        time = dts if dts is not None else pts
        if time is None:
            raise IndexLiesError
        self.container.seek(time, stream=self.stream, backward=True)
        packets = self.packets()
        for packet in packets:
            if mark(packet) == target:
                return _chain(packet, packets)
            if at_once or (dts is not None and packet.dts is not None and packet.dts > dts):
                break
        raise IndexLiesError


def _chain(packet: Any, packets: Iterator[Any]) -> Iterator[Any]:
    yield packet
    yield from packets


def _why_no_video(container: Any) -> str:
    if any(stream.codec_context is not None for stream in container.streams.video):
        return "there is no video stream in it, only a cover picture"
    if container.streams.video:
        return "its video is of a kind that this PyAV can't decode"
    sound = " (it has sound only)" if container.streams.audio else "; its end may be missing"
    return f"there is no video stream in it{sound}"
