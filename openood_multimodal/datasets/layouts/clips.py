"""What every layout of clips says of itself: where a clip's files lie below the data set's folder.

Cells of a manifest of clips are paths relative to that folder, with forward slashes:

* a file, ``video/catch/x.avi``; optical flow names its x video, ``..._flow_x.mp4``, and the y video beside it
  is ``..._flow_y.mp4``;
* a folder of JPEG frames, with a slash at its end and the span meant, ``rgb/train/D3/P22_01/#frames=12,90``:
  frames ``frame_0000000012.jpg`` to ``frame_0000000090.jpg``, the last one included (optical flow has them in
  the folders ``u`` and ``v`` below).

``start`` and ``stop`` of a manifest row are seconds; they cut files, and never a span of frames.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

_FRAMES = re.compile(r"#frames=([0-9]+),([0-9]+)$")


@dataclass(frozen=True)
class ClipKey:
    """One clip of a data set, as the split lists name it.

    Attributes:
        clip: its name: ``catch/x.avi`` (HMDB51), ``v_Archery_g01_c01.avi`` (UCF101), ``archery/<id>_<from>_<to>.mp4``
            (Kinetics-600), ``human/<name>.mp4`` (HAC, with its domain), ``P22_01/12-90`` (EPIC-Kitchens: recording,
            first and last frame).
        class_name: its class.
        start: where in its recording it begins, in seconds; NaN for the file's beginning.
        stop: where it ends; NaN for the file's end.
    """

    clip: str
    class_name: str
    start: float = math.nan
    stop: float = math.nan


@dataclass(frozen=True)
class Archive:
    """One thing to download: what it holds, where it is published, and the folder to unpack it into."""

    what: str
    published: str
    file_names: tuple[str, ...]
    unpack_into: str


@dataclass(frozen=True)
class ClipLayout:
    """One data set's files.

    Attributes:
        name: ``hmdb51``, ``ucf101``, ``epic_kitchens``, ``hac`` or ``kinetics600``.
        modalities: those it has, in the order of the paper's tables: ``video, audio, flow``.
        cells: clip → modality → manifest cell, whether or not the file is there.
        recording: clip → its source recording, or "" where it can't be told.
        archives: what a user has to download.
        tree: the folders as they have to lie, for people.
    """

    name: str
    modalities: tuple[str, ...]
    cells: Callable[[ClipKey], Mapping[str, str]]
    recording: Callable[[ClipKey], str]
    archives: tuple[Archive, ...]
    tree: str


def split_frames(cell: str) -> tuple[str, tuple[int, int] | None]:
    """Return a cell's path, and ``(first, last)`` frame where it is a span of a folder of frames."""
    found = _FRAMES.search(cell)
    if found is None:
        return cell, None
    return cell[: found.start()], (int(found[1]), int(found[2]))


def flow_y(cell: str) -> str:
    """Return the path of the y video that belongs to the x video ``cell``."""
    head, _, tail = cell.rpartition("_flow_x")
    return f"{head}_flow_y{tail}"
