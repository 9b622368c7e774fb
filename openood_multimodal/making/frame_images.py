"""Frames of a clip as PNG files: what an image network is trained and tested on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..datasets.clip_files import ClipFiles
from ..errors import UserError
from ..files.atomic import write_bytes
from ..preprocessors.clip import ClipPreprocessor
from ..preprocessors.optical_flow import shrunk_size
from ..preprocessors.packages import import_opencv
from ..preprocessors.sources import OpenClip, taken
from .derive import Job

ENDING = ".png"


@dataclass(frozen=True)
class FrameJob(Job):
    """A clip, and the PNG files to be made of it: one a frame, in the order of time.

    Attributes:
        files: where the clip lies, and between which instants.
        short_side: frames with a longer short side are shrunk to it; None takes them as they are.
    """

    files: ClipFiles
    short_side: int | None = None


def spread(count: int, wanted: int) -> NDArray[np.int64]:
    """Return the frames in the middle of ``wanted`` equal parts of a clip of ``count`` frames; int64 ``[wanted]``.

    One frame is the clip's middle.  A clip of fewer frames than wanted gives some of them twice.

    >>> spread(40, 1).tolist(), spread(40, 4).tolist(), spread(2, 4).tolist()
    ([20], [5, 15, 25, 35], [0, 0, 1, 1])
    """
    return (2 * np.arange(wanted, dtype=np.int64) + 1) * count // (2 * wanted)


def write_frames(job: Job) -> None:
    """Write the frames of a `FrameJob`; each file appears whole, the last one last.

    Raises:
        UserError: when the video is missing or broken; the message names it.
        MissingPackageError: where PyAV or OpenCV is missing.
    """
    assert isinstance(job, FrameJob)

    def chosen(clip: OpenClip) -> NDArray[np.uint8]:
        source = clip.frames["video"]
        return source.read(spread(source.count, len(job.targets)))

    frames = taken(job.files, ClipPreprocessor({}, "test").readers(("video",)), chosen)
    cv2 = import_opencv()
    for target, frame in zip(job.targets, frames, strict=True):
        size = shrunk_size(frame.shape[1], frame.shape[0], job.short_side)
        if size != (frame.shape[1], frame.shape[0]):
            frame = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
        done, data = cv2.imencode(ENDING, cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
        if not done:
            raise UserError(f"{job.source}: a frame of {size[0]}x{size[1]} pixels can't be written as PNG.")
        write_bytes(target, data.tobytes())
