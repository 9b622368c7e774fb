"""A video file opened with PyAV: what can go wrong with it, and finding a packet again."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from ..atomic import PathLike
from ..errors import UserError
from .packages import import_av
from .video_index import Mark, mark

FileKey = tuple[str, int, int]
"""What tells one state of a file from another: path, modification time, bytes."""

_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,avi,matroska,webm,mpegts,mpeg,mpegvideo,m4v,h264,hevc,h263,obu,ivf,vc1,flv,asf,ogg,"
    "nut,gif,mxf,rm,wtv,dv,yuv4mpegpipe,mjpeg"
)
"""Containers that are opened.  Others would read text as pictures, or follow a play list out of the data set."""


class IndexLiesError(Exception):
    """Packets or frames are not those that the index foretold."""


class VideoContainer:
    """An opened file and its first video stream.

    Args:
        path: a file.
        threads: decoding threads.

    Attributes:
        key: the file's state.
        container: PyAV's.
        stream: PyAV's.
        has_decoded: whether the decoder has seen the file's first packet.

    Raises:
        UserError: when it is missing, no video, or has no pictures.
        MissingPackageError: when PyAV is not installed.
    """

    def __init__(self, path: str, threads: int) -> None:
        self.path = path
        self.key = file_key(path)
        self._threads = threads
        self._av = import_av()
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
        try:
            # "file:" keeps a name like "concat:a" from being taken for an address
            container = self._av.open(
                "file:" + self.path, options={"format_whitelist": _FORMATS, "protocol_whitelist": "file"}
            )
        except UnicodeError:
            raise UserError(
                f"{self.path!r}: the file's name is not valid in this system's encoding."
            ) from None
        except PermissionError:
            raise UserError(f"{self.path}: the file may not be read (permission denied).") from None
        except (self._av.FFmpegError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise UserError(
                f"{self.path}: it is not a video that can be read, or its end is missing ({self.key[2]} bytes; "
                f"{reason})."
            ) from None
        self.container = container
        why = ""
        if not container.streams.video:
            why = "there is no video stream in it"
            why += " (it has sound only)" if container.streams.audio else "; its end may be missing"
        elif container.streams.video[0].codec_context is None:
            why = "its video is of a kind that this PyAV can't decode"
        if why:
            self.close()
            raise UserError(f"{self.path}: {why}.")
        self.stream = container.streams.video[0]
        self.stream.codec_context.thread_count = self._threads
        self.has_decoded = False
        self._at_start = True

    def packets(self) -> Iterator[Any]:
        """Return the packets from here on."""
        self._at_start = False
        return iter(self.container.demux(self.stream))

    def packets_from_start(self, first: Mark | None) -> Iterator[Any]:
        """Return all packets; ``first`` is the first one, where known."""
        if not self._at_start:
            with suppress(IndexLiesError, self._av.FFmpegError):
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


def file_key(path: PathLike) -> FileKey:
    """Return a file's state.

    Raises:
        UserError: when it is not a file with something in it.
    """
    try:
        status = os.stat(path)
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file.") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path!r}: the file can't be read ({error}).") from None
    if stat.S_ISDIR(status.st_mode):
        raise UserError(f"{path}: it is a folder, not a video.")
    if not stat.S_ISREG(status.st_mode):
        raise UserError(f"{path}: it is not a regular file, so not a video.")
    if not status.st_size:
        raise UserError(f"{path}: the file is empty (0 bytes).")
    return os.path.abspath(os.fspath(path)), status.st_mtime_ns, status.st_size
