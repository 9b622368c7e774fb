"""The files of one recording: which they are, and how they are made.  What workers do."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..datasets.cells import flow_y, split_frames
from ..files.atomic import is_temporary_of, replacing, temporary_beside
from ..files.paths import remove_tree
from ..making.derive import Job
from ..making.encoding import MPEG4, h264, pcm, wave_file, write_video
from ..preprocessors.packages import import_opencv
from ..registry import CLIP_LAYOUTS
from .places import place_of
from .plan import PlannedClip, plan
from .scenes import Clip, encode_flow, render_clip
from .settings import Size

FRAME_QUALITY, FLOW_FRAME_QUALITY = 92, 97  # of JPEG
VIDEO_KINDS = {".avi": MPEG4, ".mp4": h264(20)}
FLOW_KIND = h264(12)


@dataclass(frozen=True)
class Request:
    """What decides the files' content, and which there are.

    Attributes:
        layout: whose folders and names.
        size: the numbers.
        seed: of everything.
        flow: whether optical flow is written.
        audio: whether WAV files are written; sound is in the video files in any case.
    """

    layout: str
    size: Size
    seed: int
    flow: bool = True
    audio: bool = True


def jobs_of(root: Path, request: Request) -> list[Job]:
    """Return a job for each recording; its source is the recipe in ``root``."""
    return [
        Job(clips[0].key.clip, root, tuple(path for _, _, path in _files_of(root, request, clips)))
        for clips in _recordings(request).values()
    ]


@dataclass(frozen=True)
class MakeRecording:
    """Writes those files of a recording that are missing, each atomically."""

    root: Path
    request: Request

    def __call__(self, job: Job) -> None:
        """Write them.

        Raises:
            MissingPackageError: when PyAV or OpenCV is not installed.
            OSError: when a file can't be written.
        """
        size, seed, clips = self.request.size, self.request.seed, _recordings(self.request)[job.clip]
        missing = [each for each in _files_of(self.root, self.request, clips) if not each[2].exists()]
        of_frames = self.request.layout == "epic_kitchens"
        place = place_of(size, seed, clips[0].recording)

        def rendered(chosen: Iterable[PlannedClip]) -> list[Clip]:
            span = 2 if of_frames else 1
            return [
                render_clip(size, seed, each.action, each.recording, each.number, span, place)
                for each in chosen
            ]

        for number, files in groupby(missing, key=lambda each: each[0]):
            made = rendered(clips if of_frames else clips[number : number + 1])
            for _, kind, path in files:
                _write(kind, path, made, size.fps, of_frames)


def is_finished(job: Job) -> bool:
    """Tell whether all files and folders of a recording are there."""
    return all(target.exists() for target in job.targets)


@lru_cache(maxsize=4)
def _recordings(request: Request) -> dict[str, tuple[PlannedClip, ...]]:
    """Return the first clip's name → the clips of its recording."""
    grouped = groupby(plan(request.size, request.layout), key=lambda clip: clip.recording)
    recordings = [tuple(clips) for _, clips in grouped]
    return {clips[0].key.clip: clips for clips in recordings}


def _files_of(
    root: Path, request: Request, clips: tuple[PlannedClip, ...]
) -> Iterator[tuple[int, str, Path]]:
    """Yield (place of the clip, kind, path) of the files of a recording."""
    of_frames = request.layout == "epic_kitchens"
    for number, clip in enumerate(clips[:1] if of_frames else clips):
        cells = CLIP_LAYOUTS[request.layout].cells(clip.key)
        yield number, "video", root / split_frames(cells["video"])[0]
        if request.audio or of_frames:
            yield number, "audio", root / cells["audio"]
        if request.flow and of_frames:
            folder = root / split_frames(cells["flow"])[0]
            yield from (
                (number, f"flow_{axis}", folder / name) for axis, name in zip("xy", "uv", strict=True)
            )
        elif request.flow:
            yield number, "flow_x", root / cells["flow"]
            yield number, "flow_y", root / flow_y(cells["flow"])


def _write(kind: str, path: Path, clips: list[Clip], fps: int, of_frames: bool) -> None:
    """Write a file of one clip, or what EPIC-Kitchens has of a recording, in which clips follow each other."""
    if kind == "audio":
        with replacing(path) as file, wave_file(file) as out:
            out.writeframes(pcm(np.concatenate([clip.sound for clip in clips])).astype("<i2").tobytes())
    elif of_frames and kind == "video":
        _write_frames(path, (frame for clip in clips for frame in clip.frames), FRAME_QUALITY)
    elif of_frames:  # at half the frame rate
        levels = (each for clip in clips for each in encode_flow(clip.flow[::2, ..., "xy".index(kind[-1])]))
        _write_frames(path, levels, FLOW_FRAME_QUALITY)
    else:
        (clip,) = clips
        with replacing(path) as file:
            if kind == "video":
                write_video(file, VIDEO_KINDS[path.suffix], clip.frames, fps, clip.sound)
            else:  # one frame less than the video, as an estimate from pairs of frames has
                write_video(file, FLOW_KIND, encode_flow(clip.flow[:-1, ..., "xy".index(kind[-1])]), fps)


def _write_frames(folder: Path, frames: Iterable[NDArray[np.uint8]], quality: int) -> None:
    """Write ``frame_0000000000.jpg``, ... (RGB or grey) into a new folder, which appears when all are written."""
    cv2 = import_opencv("Writing JPEG frames")
    folder.parent.mkdir(parents=True, exist_ok=True)
    if os.name == "posix":  # elsewhere there is no lock that says that none is at work
        for entry in os.scandir(folder.parent):  # what killed processes have left
            if entry.is_dir() and is_temporary_of(entry.name, folder.name):
                remove_tree(folder.parent, entry.name)
    temporary = temporary_beside(folder)
    temporary.mkdir()
    try:
        for number, frame in enumerate(frames):
            image = frame if frame.ndim == 2 else np.ascontiguousarray(frame[..., ::-1])
            _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
            (temporary / f"frame_{number:010d}.jpg").write_bytes(data.tobytes())
        os.replace(temporary, folder)
    except BaseException:
        remove_tree(temporary.parent, temporary.name)
        raise
