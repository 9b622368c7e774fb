"""One clip's files, as its manifest row names them: what a clip preprocessor is given to read."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..files.paths import resolve_inside
from .cells import split_frames
from .inventory import what_is_there
from .manifest import Manifest


@dataclass(frozen=True)
class ModalityFiles:
    """Where one modality of a clip is.

    Attributes:
        path: a file, or a folder of frames.
        y: the video of optical flow's vertical component; None for other modalities, for folders, and for flow that is
            to be computed from the video ``path``.
        frames: first and last frame of a folder, both included; None for a file.
    """

    path: Path
    y: Path | None = None
    frames: tuple[int, int] | None = None


@dataclass(frozen=True)
class ClipFiles:
    """Where a clip's modalities are.

    Attributes:
        clip: its name.
        modalities: modality → its files; without those whose cell is empty.
        start: seconds at which the clip begins in its files; NaN for their beginning.
        stop: seconds at which it ends; NaN for their end.  They don't cut a folder's span of frames.
    """

    clip: str
    modalities: Mapping[str, ModalityFiles] = field(default_factory=dict)
    start: float = math.nan
    stop: float = math.nan


class ClipLoader(Protocol):
    """What a preprocessor needs for `MultimodalClipDataset`, beside the base class: shapes, and one clip's values."""

    seed: int

    def clip_shapes(self, modalities: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
        """Return modality → shape of one clip's float32 array."""

    def load_clip(
        self, files: ClipFiles, seed: int, epoch: int, index: int, out: Mapping[str, NDArray[np.float32]]
    ) -> Sequence[str] | None:
        """Read a clip, write its values into ``out`` (modality → array of that shape), and return remarks, if any.

        A remark is a sentence about what was tolerated in its files; result records count clips that have some.

        Raises:
            UserError: when a file can't be read; the message names it.
        """


Companion = Callable[[str, str], str | None]
"""(modality, a cell's path) → the path of the second file that belongs to it, or None."""


def is_clip_loader(preprocessor: Any) -> bool:
    """Tell whether a preprocessor reads clips, as `ClipLoader` says."""
    return callable(getattr(preprocessor, "load_clip", None)) and callable(
        getattr(preprocessor, "clip_shapes", None)
    )


def files_of(
    manifest: Manifest,
    row: int,
    root: str | os.PathLike[str],
    companion: Companion | None = None,
    follow_links: bool = False,
) -> ClipFiles:
    """Return where the files of a manifest's row are below ``root``, without checking that they exist.

    Args:
        manifest: with the modalities wanted.
        row: of the clip.
        root: the data folder.
        companion: (modality, cell) → the second file of that cell, or None; of the preprocessor that reads the clip.
        follow_links: whether symbolic links may lead out of ``root``.

    Raises:
        UserError: when a cell leads out of ``root``, or ``companion`` refuses it.
    """
    inside = partial(resolve_inside, root, remember=True, follow_links=follow_links)
    found = {}
    for modality, cells in manifest.files.items():
        if not cells[row]:
            continue
        path, frames = split_frames(cells[row])
        second = companion(modality, path) if companion is not None and frames is None else None
        found[modality] = ModalityFiles(inside(path), None if second is None else inside(second), frames)
    return ClipFiles(manifest.clips[row], found, float(manifest.starts[row]), float(manifest.stops[row]))


def explain_absent(files: ClipFiles, root: str | os.PathLike[str]) -> str:
    """Return a sentence about what is there instead of the first of a clip's files that is missing; "" for none.

    It lists folders: meant for the one error that ends a run.
    """
    for place in files.modalities.values():
        for path in (place.path, place.y):
            if path is not None and not os.path.lexists(path):
                return what_is_there(root, Path(os.path.relpath(path, root)).as_posix())
    return ""
