"""Decoding whole files, to know before a training which of them can't be read."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..datasets.clip_files import ClipFiles, ModalityFiles, files_of
from ..datasets.manifest import Manifest
from ..errors import MissingPackageError, UserError
from ..files.atomic import PathLike, write_csv
from ..files.paths import remove
from ..progress import progress_bar
from ..workers import end_with_parent, worker_count
from .audio import audio_duration, read_audio
from .clip import ClipPreprocessor
from .frame_folder import read_frames
from .video import Video

_SECONDS = 60.0  # of sound in memory at a time


class Fault(NamedTuple):
    """A file that can't be read.

    Attributes:
        clip: the first clip that names it.
        modality: of the clip.
        file: its path.
        fault: what is wrong.
    """

    clip: str
    modality: str
    file: str
    fault: str


def check_clips(
    manifests: Iterable[Manifest],
    root: PathLike,
    modalities: Iterable[str] = (),
    *,
    workers: int = 1,
    follow_links: bool = False,
) -> Iterator[Fault | None]:
    """Decode every file of these clips once, from beginning to end; yield a fault, or None, for each file.

    Args:
        manifests: the clips.
        root: folder that their cells are relative to.
        modalities: those to look at; empty for all of each manifest.
        workers: processes.  A script that asks for several needs ``if __name__ == "__main__":``.
        follow_links: whether links may lead out of ``root``.

    Raises:
        UserError: when a manifest lacks a modality, or a cell leads out of ``root``.
        MissingPackageError: when PyAV or OpenCV is not installed.
    """
    wanted = tuple(modalities)
    companion = ClipPreprocessor({}, "test").companion
    tasks: dict[tuple[str, Path, tuple[int, int] | None], tuple[str, str, ModalityFiles]] = {}
    for manifest in manifests:
        chosen = manifest.select(wanted) if wanted else manifest
        for row, clip in enumerate(chosen.clips):
            for modality, place in files_of(chosen, row, root, companion, follow_links).modalities.items():
                kind = "sound" if modality == "audio" else "frames"
                tasks.setdefault((kind, place.path, place.frames), (clip, modality, place))
    if workers == 1:
        yield from map(_checked, tasks.values())
        return
    with ProcessPoolExecutor(workers, get_context("spawn"), end_with_parent) as pool:
        try:
            yield from pool.map(_checked, tasks.values(), chunksize=4)
        except BrokenProcessPool as error:
            raise UserError(
                "a process that decoded files was killed, or crashed in a codec library; with one worker, the file "
                "after the last one told is it."
            ) from error


@dataclass(frozen=True)
class Checked:
    """What `check_files` found.

    Attributes:
        count: files decoded.
        faults: those that can't be read.
    """

    count: int
    faults: list[Fault]


def check_files(
    manifests: Iterable[Manifest],
    root: PathLike,
    out: PathLike,
    modalities: Iterable[str] = (),
    *,
    workers: int = 1,
    follow_links: bool = False,
    progress: bool = False,
) -> Checked:
    """Decode every file of these clips once, and list those that fail in the CSV file ``out``.

    Where none fails, a list of an earlier call is removed.  Arguments and errors are those of `check_clips`;
    ``progress`` shows a bar on a terminal.
    """
    found = check_clips(manifests, root, modalities, workers=worker_count(workers), follow_links=follow_links)
    shown = progress_bar(
        found,
        desc="Decoding",
        unit=" files",
        leave=False,
        quiet=not progress,
        file=sys.stderr,
    )
    checked = list(shown)
    faults = [fault for fault in checked if fault is not None]
    path = Path(out)
    if faults:
        write_csv(path, Fault._fields, (fault._asdict() for fault in faults))
    else:
        remove(path.parent, path.name)
    return Checked(len(checked), faults)


def _checked(task: tuple[str, str, ModalityFiles]) -> Fault | None:
    clip, modality, place = task
    try:
        decode_whole(modality, place)
    except MissingPackageError:
        raise
    except (UserError, OSError) as error:
        return Fault(clip, modality, str(place.path), str(error))
    return None


def decode_whole(modality: str, place: ModalityFiles) -> None:
    """Decode a modality's files from beginning to end; one that is no video, flow or sound is read by its reader.

    Raises:
        UserError: when one is missing, or can't be decoded as a whole.
    """
    if modality == "audio":
        length = audio_duration(place.path)
        heard = 0
        for start in np.arange(0.0, length, _SECONDS):
            heard += len(read_audio(place.path, float(start), min(float(start) + _SECONDS, length)))
        if not heard:
            raise UserError(f"{place.path} holds no sound.")
    elif modality not in ("video", "flow"):
        ClipPreprocessor({}, "test").look(ClipFiles("", {modality: place}), 0, 0, 0, (modality,))
    elif place.frames is not None:
        first, last = place.frames
        folders = [place.path] if modality == "video" else [place.path / "u", place.path / "v"]
        for folder in folders:
            for number in range(first, last + 1):
                read_frames(folder, np.array([number]), "gray")
    else:
        for path in (place.path, *([place.y] if place.y else [])):
            with Video(path) as video:
                video.decode_whole()
