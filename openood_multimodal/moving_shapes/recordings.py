"""The files of one recording: which they are, and how they are made.  What workers do."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from pathlib import Path

import numpy as np

from ..datasets.cells import flow_y, split_frames
from ..files.atomic import is_temporary_of
from ..files.paths import remove_tree
from ..making.derive import Job
from ..registry import CLIP_LAYOUTS
from . import media
from .places import place_of
from .plan import PlannedClip, plan
from .scenes import Clip, encode_flow, render_clip
from .settings import Size

FRAME_QUALITY, FLOW_FRAME_QUALITY = 92, 97  # of JPEG
FLOW_RATE_FACTOR = 12


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
        request, clips = self.request, _recordings(self.request)[job.clip]
        missing = [each for each in _files_of(self.root, request, clips) if not each[2].exists()]
        of_frames = request.layout == "epic_kitchens"
        place = place_of(request.size, request.seed, clips[0].recording)

        def render(clip: PlannedClip) -> Clip:
            span = 2 if of_frames else 1
            return render_clip(
                request.size, request.seed, clip.action, clip.recording, clip.number, span, place
            )

        if of_frames:
            rendered = [render(clip) for clip in clips]
            for _, kind, path in missing:
                _write_of_recording(kind, path, rendered)
            return
        for number, files in groupby(missing, key=lambda each: each[0]):
            clip = render(clips[number])
            for _, kind, path in files:
                _write_of_clip(kind, path, clip, request.size.fps)


def is_finished(job: Job) -> bool:
    """Tell whether all files and folders of a recording are there."""
    return all(target.exists() for target in job.targets)


def remove_unfinished(folder: Path) -> None:
    """Remove the folders of frames that killed processes have left half-written beside ``folder``."""
    for entry in os.scandir(folder.parent):
        if entry.is_dir() and is_temporary_of(entry.name, folder.name):
            remove_tree(folder.parent, entry.name)


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


def _write_of_clip(kind: str, path: Path, clip: Clip, fps: int) -> None:
    if kind == "video":
        media.write_video(path, clip.frames, fps, clip.sound)
    elif kind == "audio":
        media.write_sound(path, clip.sound)
    else:
        # one frame less than the video, as an estimate from pairs of frames has
        levels = encode_flow(clip.flow[:-1, ..., "xy".index(kind[-1])])
        media.write_video(path, levels, fps, quality=FLOW_RATE_FACTOR)


def _write_of_recording(kind: str, path: Path, clips: list[Clip]) -> None:
    """Write what EPIC-Kitchens has of a recording: its clips follow each other, flow has half the frame rate."""
    if kind == "audio":
        media.write_sound(path, np.concatenate([clip.sound for clip in clips]))
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    if os.name == "posix":  # elsewhere there is no lock that says that none is at work
        remove_unfinished(path)
    if kind == "video":
        media.write_frames(path, (frame for clip in clips for frame in clip.frames), FRAME_QUALITY)
    else:
        axis = "xy".index(kind[-1])
        levels = (frame for clip in clips for frame in encode_flow(clip.flow[::2, ..., axis]))
        media.write_frames(path, levels, FLOW_FRAME_QUALITY)
