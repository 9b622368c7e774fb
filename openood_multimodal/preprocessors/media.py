"""A media file opened with PyAV: which of its streams are read, what its clock is, and what can go wrong with it.

**Which stream.**  As ``ffmpeg -i`` chooses (``map_auto_video`` and ``map_auto_audio`` of fftools): of the pictures the
stream with the most pixels, of the sound the one with the most channels; a stream that the file marks as default goes
before any that it does not, one whose parameters are known before one whose are not.  Unlike ``ffmpeg``, cover pictures
and thumbnails are never taken, streams that can't be decoded neither, a still picture only where there is nothing
else; and of equals, a commentary or a description comes last.

**The clock.**  Pictures and sound of one file share the container's timeline, whose zero is the container's start time
(what ``ffmpeg -ss`` counts from, and a player shows as 0:00): where one of them begins later, its first time is that
much above zero.  With pictures alone, or sound alone, zero is the first frame or sample.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import Any

from ..errors import UserError
from ..files.atomic import PathLike
from ..files.limits import beyond, limit
from .packages import import_av
from .stored_indices import FileKey

VIDEO_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,avi,matroska,webm,mpegts,mpeg,mpegvideo,m4v,h264,hevc,h263,obu,ivf,vc1,flv,asf,ogg,"
    "nut,gif,mxf,rm,wtv,dv,yuv4mpegpipe,mjpeg"
)
"""Containers of pictures that are opened.  Others would read text as pictures, or follow a play list out of the
dataset's folder."""
SOUND_FORMATS = (
    "wav,w64,aiff,au,caf,flac,mp3,aac,ac3,eac3,dts,amr,mov,mp4,m4a,3gp,3g2,mj2,avi,matroska,webm,mpegts,mpeg,flv,asf,"
    "ogg,nut,mxf,rm,wtv"
)
"""Containers of sound that are opened."""

FLOW_MARK = "openood-multimodal optical flow"
"""How the comment of a flow video made here begins."""

LEAST_RATE = 100
"""The fewest samples of sound a second: of fewer, each would become hundreds when they are resampled."""

_ASKED = {
    "frame_pixels": "pixels in a frame",
    "video_frames": "frames",
    "window_bytes": "bytes for the frames that are wanted",
    "sound_seconds": "seconds of sound",
    "sound_rate": "samples of sound a second",
}
_DEFAULT = 5_000_000  # as many pixels, or channels, is the mark "default" worth to ffmpeg
_COVER = ("attached_pic", "timed_thumbnails")
_ASIDE = ("comment", "descriptions", "hearing_impaired", "visual_impaired", "dub", "karaoke", "lyrics")


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
        raise UserError(f"{path}: it is a folder, not a media file.")
    if not stat.S_ISREG(status.st_mode):  # opening a FIFO would wait for ever
        raise UserError(f"{path}: it is not a regular file, so not a media file.")
    if not status.st_size:
        raise UserError(f"{path}: the file is empty (0 bytes).")
    return os.path.abspath(os.fspath(path)), status.st_mtime_ns, status.st_ctime_ns, status.st_size


def check_limit(name: str, asked: float, path: PathLike) -> None:
    """Refuse what is above a limit of `files.limits`, before anything is allocated for it.

    Raises:
        UserError: with the file, the limit, and how to raise it.
    """
    if not asked <= limit(name):
        raise beyond(os.fspath(path), f"{asked:.12g} {_ASKED[name]}", name)


@contextmanager
def decoding(path: PathLike, what: str) -> Iterator[None]:
    """Turn whatever PyAV, FFmpeg, OpenCV or the parsing of their answers raises in the block into one error.

    A damaged file can make a codec library raise anything; none of that may end a run that skips broken clips.

    Args:
        path: the file, for the message.
        what: what is read of it, such as ``video``.

    Raises:
        UserError: for any exception but UserErrors, which pass.
    """
    try:
        yield
    except (UserError, NameError):  # a name that Python doesn't know is our mistake
        raise
    except MemoryError as error:
        raise UserError(f"{path}: there is not enough memory to read its {what}.") from error
    except Exception as error:
        raise UserError(f"{path}: its {what} can't be read: {reason(error)}.") from error


def reason(error: BaseException) -> str:
    """Return what went wrong, in a few words, without a full stop."""
    said = str(getattr(error, "strerror", None) or error).rstrip(".")
    if not said or said.startswith("Error number"):  # a codec's own code, for which FFmpeg has no words
        said = "the data is damaged"
    return f"{said} ({type(error).__name__})" if isinstance(error, (ArithmeticError, LookupError)) else said


def open_media(path: PathLike, what: str, formats: str) -> Any:
    """Return PyAV's container of a file, with decoders that refuse frames beyond the limits.

    Args:
        path: a file, known to be a regular one (`file_key`).
        what: ``video`` or ``sound file``, for messages.
        formats: names of FFmpeg's demuxers that are allowed.

    Raises:
        UserError: when it can't be opened.
        MissingPackageError: when PyAV is not installed.
    """
    av = import_av()
    name = os.fspath(path)
    try:
        # "file:" keeps a name like "concat:a" from being taken for an address
        container = av.open(
            f"file:{name}",
            options={"format_whitelist": formats, "protocol_whitelist": "file"},
            metadata_errors="replace",
        )
    except UnicodeError:
        raise UserError(f"{name!r}: the file's name is not valid in this system's encoding.") from None
    except PermissionError:
        raise UserError(f"{name}: the file may not be read (permission denied).") from None
    except Exception as error:
        size = os.stat(name).st_size
        raise UserError(
            f"{name}: it is not a {what} that can be read, or its end is missing ({size} bytes; {reason(error)})."
        ) from error
    for stream in container.streams.video:
        if stream.codec_context is not None:
            stream.codec_context.options = {"max_pixels": str(limit("frame_pixels"))}
    return container


def choose_video(container: Any) -> Any | None:
    """Return the stream of pictures that is read, or None; see the module."""
    usable = [
        stream
        for stream in container.streams.video
        if stream.codec_context is not None and not _is(stream, *_COVER)
    ]
    return max(usable, key=_video_rank, default=None)


def _video_rank(stream: Any) -> tuple[bool, bool, int, bool, int]:
    context = stream.codec_context
    pixels = context.width * context.height
    still = stream.frames == 1 or _is(stream, "still_image", "dependent", "metadata")
    default = _DEFAULT * _is(stream, "default")
    return not still, pixels > 0, default + pixels, not _is(stream, *_ASIDE), -stream.index


def choose_sound(container: Any) -> Any | None:
    """Return the stream of sound that is read, or None; see the module."""
    usable = [stream for stream in container.streams.audio if stream.codec_context is not None]
    return max(usable, key=_sound_rank, default=None)


def _sound_rank(stream: Any) -> tuple[bool, int, bool, int]:
    context = stream.codec_context
    channels = context.layout.nb_channels if context.layout is not None else 0
    default = _DEFAULT * _is(stream, "default")
    return (
        context.sample_rate > 0 and channels > 0,
        default + channels,
        not _is(stream, *_ASIDE),
        -stream.index,
    )


def _is(stream: Any, *names: str) -> bool:
    """Whether the file gives a stream one of these dispositions."""
    found = stream.disposition
    return any(bool(found & type(found)[name]) for name in names)


def clock_zero(container: Any) -> Fraction | None:
    """Return the instant 0 of a file on its container's timeline, in seconds.

    None where the file has pictures alone, or sound alone: then its first frame or sample is at 0.  Only optical flow
    made here keeps the times of its video.
    """
    if str(container.metadata.get("comment", "")).startswith(FLOW_MARK):
        return Fraction(0)
    if choose_video(container) is None or choose_sound(container) is None or container.start_time is None:
        return None
    return Fraction(container.start_time, 1_000_000)
